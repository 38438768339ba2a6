package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestLinesForPeople(t *testing.T) {
	at := time.Date(2026, 11, 24, 13, 4, 5, 6_000_000, time.Local)
	for _, tt := range []struct {
		level slog.Level
		text  string
		with  func(slog.Handler) slog.Handler
		attrs []slog.Attr
		want  string
	}{
		{slog.LevelInfo, "serving", nil, nil, "13:04:05.006 INFO  serving\n"},
		{slog.LevelWarn, "two\nlines", nil, nil, "13:04:05.006 WARN  two lines\n"},
		{slog.LevelError, "x", nil, []slog.Attr{slog.Any("error", errors.New("a\nb"))}, `13:04:05.006 ERROR x error="a\nb"` + "\n"},
		{slog.LevelDebug, "x", nil, []slog.Attr{slog.Int("n", 1), slog.String("empty", ""), slog.String("quoted", `"`)}, `13:04:05.006 DEBUG x n=1 empty="" quoted="\""` + "\n"},
		{slog.LevelWarn, "lost", func(h slog.Handler) slog.Handler {
			return h.WithAttrs([]slog.Attr{slog.String("component", "redis"), slog.Int("lane", 1)})
		}, nil, "13:04:05.006 WARN  redis: lost lane=1\n"},
		{slog.LevelInfo, "x", func(h slog.Handler) slog.Handler {
			return h.WithAttrs([]slog.Attr{slog.String("a", "1")}).WithGroup("g").WithAttrs([]slog.Attr{slog.String("b", "2")})
		}, []slog.Attr{slog.Group("h", slog.String("c", "3"))}, "13:04:05.006 INFO  x a=1 g.b=2 g.h.c=3\n"},
	} {
		var b bytes.Buffer
		h := slog.Handler(&people{w: &b, mu: new(sync.Mutex), level: slog.LevelDebug})
		if tt.with != nil {
			h = tt.with(h)
		}
		r := slog.NewRecord(at, tt.level, tt.text, 0)
		r.AddAttrs(tt.attrs...)
		if err := h.Handle(t.Context(), r); err != nil || b.String() != tt.want {
			t.Errorf("got %q, %v; want %q", b.String(), err, tt.want)
		}
	}
}

// Where the output is no terminal, auto means JSON; the level may change while
// the logger is used.
func TestFormats(t *testing.T) {
	for _, format := range []string{"auto", "json"} {
		var f Flags
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.Bind(flags)
		if err := flags.Parse([]string{"--log-format", format, "--log-level", "warn"}); err != nil {
			t.Fatal(err)
		}
		level := new(slog.LevelVar)
		level.Set(f.Level())
		var b bytes.Buffer
		log := f.New(&b, level)
		log.Info("not this")
		if b.Len() != 0 {
			t.Errorf("%s: below its level it wrote %q", format, b.String())
		}
		level.Set(slog.LevelInfo)
		log.Info("this")
		if _, ok := parse(b.Bytes())["msg"]; !ok {
			t.Errorf("%s: %q", format, b.String())
		}
	}
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var f Flags
	f.Bind(pflag.NewFlagSet("", pflag.ContinueOnError))
	f.New(file, slog.LevelInfo).Info("to a file")
	if text, err := os.ReadFile(file.Name()); err != nil || parse(text)["msg"] != "to a file" {
		t.Errorf("%q, %v", text, err)
	}
}

// parse returns the attributes of a line of JSON, or nil.
func parse(line []byte) (attrs map[string]any) {
	if json.Unmarshal(line, &attrs) != nil {
		return nil
	}
	return attrs
}
