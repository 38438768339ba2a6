package main

import (
	"errors"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

// limits are the settings of serve that are options of the handler, and what
// else their ends of the range need.
var limits = map[string]struct {
	option func(int64) juggler.Option
	with   []juggler.Option
	auto   bool // 0 stands for what the machine can do, and is no value of the option
}{
	"max-message-bytes": {option: number(juggler.WithMaxMessageBytes), with: []juggler.Option{juggler.WithMaxQueueBytes(1 << 30)}},
	"max-args-bytes":    {option: number(juggler.WithMaxArgsBytes)},
	"max-headers-bytes": {option: number(juggler.WithMaxHeadersBytes)},
	"max-name-bytes":    {option: number(juggler.WithMaxNameBytes)},
	"max-queue-bytes":   {option: number(juggler.WithMaxQueueBytes), with: []juggler.Option{juggler.WithMaxMessageBytes(256)}},
	"max-subscriptions": {option: number(juggler.WithMaxSubscriptions)},
	"max-calls":         {option: number(juggler.WithMaxCalls)},
	"max-requests":      {option: number(juggler.WithMaxRequests)},
	"max-sessions":      {option: number(juggler.WithMaxSessions), auto: true},
	"event-loops":       {option: number(juggler.WithEventLoops)},
	"drain-rate":        {option: number(juggler.WithDrainRate)},
	"call-timeout":      {option: duration(juggler.WithCallTimeout), with: []juggler.Option{juggler.WithMaxCallTimeout(24 * time.Hour)}},
	"max-call-timeout":  {option: duration(juggler.WithMaxCallTimeout), with: []juggler.Option{juggler.WithCallTimeout(time.Millisecond)}},
	"ping":              {option: duration(juggler.WithPing)},
	"read-timeout":      {option: duration(juggler.WithReadTimeout)},
	"write-timeout":     {option: duration(juggler.WithWriteTimeout)},
	"broker-timeout":    {option: duration(juggler.WithBrokerTimeout)},
}

func number(option func(int) juggler.Option) func(int64) juggler.Option {
	return func(n int64) juggler.Option { return option(int(n)) }
}

func duration(option func(time.Duration) juggler.Option) func(int64) juggler.Option {
	return func(n int64) juggler.Option { return option(time.Duration(n)) }
}

// The range of each setting is exactly that of its option, so that everything
// wrong is found before anything starts, and nothing right is refused.
func TestLimitsAreTheHandlers(t *testing.T) {
	var f limitFlags
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.bind(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		least, most, ok := settings.Bounds(f)
		limit, known := limits[f.Name]
		if ok != known {
			t.Errorf("--%s has a range: %v, is in the table: %v", f.Name, ok, known)
		}
		if !ok || !known {
			return
		}
		if limit.auto {
			least++
		}
		for _, tt := range []struct {
			value int64
			want  error
		}{{least, nil}, {most, nil}, {least - 1, juggler.ErrInvalidOption}, {most + 1, juggler.ErrInvalidOption}} {
			h, err := juggler.New(append(limit.with, limit.option(tt.value))...)
			if !errors.Is(err, tt.want) {
				t.Errorf("--%s, option with %d: %v, want %v", f.Name, tt.value, err, tt.want)
			}
			if h != nil {
				if err := h.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// A limit can be set alone: what it needs follows, wherever it was set.
func TestLimitsThatAreSetAlone(t *testing.T) {
	for name, value := range map[string]string{
		"max-message-bytes": "2MiB", "max-call-timeout": "30s", "max-queue-bytes": "128KiB", "call-timeout": "5m", "max-sessions": "0", "event-loops": "0",
	} {
		var f limitFlags
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.bind(flags)
		if n := len(f.options()); n != 0 {
			t.Fatalf("%d options where nothing was set", n)
		}
		if err := flags.Set(name, value); err != nil {
			t.Fatal(err)
		}
		h, err := juggler.New(f.options()...)
		if err != nil {
			t.Errorf("--%s %s: %v", name, value, err)
			continue
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
