package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/broker"
)

// opened is an engine on the Redis at an address, with the defaults of the flags.
func opened(t *testing.T, address string) *Engine {
	t.Helper()
	var f Flags
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.Bind(flags)
	if err := flags.Parse([]string{"--redis", address}); err != nil {
		t.Fatal(err)
	}
	e, err := f.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// A Redis that takes connections and says nothing holds up nobody for longer than
// they want to wait: whoever asks for /readyz does not wait for go-redis.
func TestPingEndsInTime(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	patient, hasty := opened(t, mute.Addr().String()), opened(t, mute.Addr().String())
	var over atomic.Bool
	var waiting sync.WaitGroup
	waiting.Go(func() {
		_ = patient.Ping(t.Context()) // fails sooner or later
		over.Store(true)
	})
	for range 3 { // together far shorter, or far longer, than without a limit
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := hasty.Ping(ctx); err == nil {
			t.Error("a Redis answers that is none")
		}
		cancel()
	}
	if over.Load() {
		t.Error("waiting without a limit ended first")
	}
	mute.Close() // ends what waits
	waiting.Wait()
}

// The broker gets the options whose flags were set, and no other: what they do not
// say is its own business.
func TestOnlyWhatWasGiven(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want int
	}{
		{nil, 0},
		{[]string{"--redis-lanes=0", "--redis-queue-unserved=false"}, 0},
		{[]string{"--redis-lanes=4", "--redis-callee-grace=1s", "--redis-prefix=shop", "--redis-sharded-pubsub"}, 4},
	} {
		var f Flags
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.Bind(flags)
		f.BindServer(flags)
		if err := flags.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		if n := len(f.options.List()); n != tt.want {
			t.Errorf("%q: %d options, want %d", tt.args, n, tt.want)
		}
	}
}

// The embedded broker bounds what it keeps of calls with keys as the flag says.
func TestMaxKeyedBytes(t *testing.T) {
	e, err := withArgs(t, "--max-keyed-bytes=64KiB")
	if err != nil {
		t.Fatal(err)
	}
	callee, err := e.Callee.OpenCallee(t.Context(), []string{"f"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer callee.Close()
	node, err := e.Caller.(broker.KeyedCaller).OpenKeyedCaller(t.Context(), broker.NewID(), func([]broker.Result) {}, func([]broker.Part) {}, func([]broker.CallKey) {})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	for i := range 1000 {
		err = node.Attach(t.Context(), &broker.Attachment{
			Call:     &broker.Call{URI: "f", Key: broker.NewCallKey("f", "", fmt.Sprint(i)), Timeout: time.Minute},
			MaxOwned: 1000, Keep: time.Minute,
		})
		if err != nil {
			break
		}
	}
	if !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("the broker keeps 1000 calls in 64 KiB: %v", err)
	}
}
