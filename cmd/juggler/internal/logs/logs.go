// Package logs writes logs: for people on a terminal, JSON lines otherwise.
package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

// Flags are the settings of logs.
type Flags struct {
	level, format settings.Choice
}

// Bind adds the flags.
func (f *Flags) Bind(flags *pflag.FlagSet) {
	f.level = settings.Choice{Value: "info", Choices: []string{"debug", "info", "warn", "error"}}
	f.format = settings.Choice{Value: "auto", Choices: []string{"auto", "text", "json"}}
	flags.Var(&f.level, "log-level", "log what is at least so important")
	flags.Var(&f.format, "log-format", "auto: text on a terminal, JSON lines otherwise")
}

// Level returns the level that the flags say.
func (f *Flags) Level() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.level.Value)) // one of the choices
	return level
}

// New returns a logger on w. level may change while it is used.
func (f *Flags) New(w io.Writer, level slog.Leveler) *slog.Logger {
	file, isFile := w.(*os.File)
	onTerminal := isFile && term.IsTerminal(int(file.Fd()))
	if f.format.Value == "json" || f.format.Value == "auto" && !onTerminal {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	colour := onTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return slog.New(&people{w: w, mu: new(sync.Mutex), level: level, colour: colour})
}

// people is a handler whose lines are short and in colour, with the component before
// the message.
type people struct {
	mu     *sync.Mutex // of w, shared by all that With makes
	w      io.Writer
	level  slog.Leveler
	colour bool
	source string // the component, with a colon
	attrs  string // of With, formatted
	group  string // prefix of names, of WithGroup
}

func (h *people) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

func (h *people) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b bytes.Buffer
	with := *h
	for _, a := range attrs {
		if a.Key == "component" && h.group == "" {
			with.source = a.Value.String() + ": "
			continue
		}
		h.attr(&b, h.group, a)
	}
	with.attrs += b.String()
	return &with
}

func (h *people) WithGroup(name string) slog.Handler {
	with := *h
	if name != "" {
		with.group += name + "."
	}
	return &with
}

// levels are the words and the colours (ECMA-48, 8.3.117) of levels.
func levelText(l slog.Level) (word, colour string) {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG", "2"
	case l < slog.LevelWarn:
		return "INFO ", "32"
	case l < slog.LevelError:
		return "WARN ", "33"
	}
	return "ERROR", "31"
}

// Handle implements slog.Handler.
func (h *people) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	if !r.Time.IsZero() {
		h.styled(&b, "2", r.Time.Format("15:04:05.000"))
		b.WriteByte(' ')
	}
	word, colour := levelText(r.Level)
	h.styled(&b, colour, word)
	b.WriteByte(' ')
	b.WriteString(h.source)
	b.WriteString(strings.ReplaceAll(r.Message, "\n", " "))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		h.attr(&b, h.group, a)
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(b.Bytes())
	return err
}

func (h *people) attr(b *bytes.Buffer, group string, a slog.Attr) {
	value := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range value.Group() {
			h.attr(b, group, inner)
		}
		return
	}
	b.WriteByte(' ')
	h.styled(b, "2", group+a.Key+"=")
	text := value.String()
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
		text = fmt.Sprintf("%q", text)
	}
	b.WriteString(text)
}

func (h *people) styled(b *bytes.Buffer, style, text string) {
	if !h.colour {
		b.WriteString(text)
		return
	}
	b.WriteString("\x1b[" + style + "m" + text + "\x1b[0m")
}
