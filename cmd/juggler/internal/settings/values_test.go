package settings_test

import (
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

func TestValues(t *testing.T) {
	var n, bytes int
	var x float64
	var d time.Duration
	choice := settings.Choice{Value: "a", Choices: []string{"a", "b"}}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	settings.IntVar(flags, &n, "number", 5, 1, 10, "")
	settings.FloatVar(flags, &x, "float", 0.5, 0, 10, "")
	settings.BytesVar(flags, &bytes, "bytes", 64<<10, 256, 1<<30, "")
	settings.DurationVar(flags, &d, "time", time.Hour, time.Millisecond, 24*time.Hour, "")
	flags.Var(&choice, "choice", "")
	for _, tt := range []struct {
		flag, text, want string // want "": it is refused
	}{
		{"number", "1", "1"}, {"number", "10", "10"}, {"number", "0", ""}, {"number", "11", ""}, {"number", "x", ""}, {"number", "1.5", ""},
		{"float", "0", "0"}, {"float", "2.5", "2.5"}, {"float", "1e1", "10"}, {"float", "10.1", ""}, {"float", "-1", ""}, {"float", "NaN", ""}, {"float", "Inf", ""},
		{"bytes", "256", "256"}, {"bytes", "1KiB", "1KiB"}, {"bytes", "1 MiB", "1MiB"}, {"bytes", "1025", "1025"}, {"bytes", "300B", "300"},
		{"bytes", "1GiB", "1GiB"}, {"bytes", "2GiB", ""}, {"bytes", "9999999999GiB", ""}, {"bytes", "255", ""}, {"bytes", "-1KiB", ""}, {"bytes", "1KB", ""}, {"bytes", "", ""},
		{"time", "90s", "1m30s"}, {"time", "1h", "1h"}, {"time", "1h30m", "1h30m"}, {"time", "20h", "20h"}, {"time", "10s", "10s"}, {"time", "24h", "24h"}, {"time", "10m", "10m"}, {"time", "5", ""}, {"time", "25h", ""}, {"time", "0s", ""},
		{"choice", "b", "b"}, {"choice", "c", ""}, {"choice", "B", ""},
	} {
		f := flags.Lookup(tt.flag)
		before := f.Value.String()
		err := f.Value.Set(tt.text)
		got := f.Value.String()
		if tt.want == "" && (err == nil || got != before) || tt.want != "" && (err != nil || got != tt.want) {
			t.Errorf("%s %q: %q, %v; want %q", tt.flag, tt.text, got, err, tt.want)
		}
	}
}

// What a source earlier in the order says is never overwritten by a later one.
func TestSources(t *testing.T) {
	for _, tt := range []struct {
		line, environ []string
		want          int
	}{
		{nil, nil, 1},
		{nil, []string{"JUGGLER_MAX_CALLS=2"}, 2},
		{nil, []string{"JUGGLER_MAX_CALLS="}, 1},
		{nil, []string{"JUGGLER_MAX_CALLS_X=2", "XJUGGLER_MAX_CALLS=2"}, 1},
		{[]string{"--max-calls=3"}, []string{"JUGGLER_MAX_CALLS=2"}, 3},
		{[]string{"--max-calls=3"}, []string{"JUGGLER_MAX_CALLS=nonsense"}, 3},
	} {
		var n int
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.String(settings.FileFlag, "", "")
		settings.IntVar(flags, &n, "max-calls", 1, 0, 10, "")
		if err := flags.Parse(tt.line); err != nil {
			t.Fatal(err)
		}
		err := settings.Schema{"serve": flags}.Apply("serve", tt.environ)
		if err != nil || n != tt.want {
			t.Errorf("%q, %q: %d, %v; want %d", tt.line, tt.environ, n, err, tt.want)
		}
	}
}
