package pushpop

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"
)

func startRedis(t *testing.T) (*miniredis.Miniredis, *goredis.Client) {
	t.Helper()
	server := miniredis.RunT(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, client
}

// A run that is interrupted ends early, without an error, and leaves nothing.
func TestRunInterrupted(t *testing.T) {
	server, client := startRedis(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends when something was pushed
		for len(server.Keys()) == 0 {
			runtime.Gosched()
		}
		cancel()
	}()
	r, err := Run(ctx, client, Config{Pairs: 3, Payload: 10, Duration: time.Hour})
	if err != nil || r.Pushed == 0 || r.Popped > r.Pushed || r.Max < r.P99 || r.P99 < r.P50 || r.P50 <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if keys := server.Keys(); len(keys) != 0 {
		t.Errorf("it left %v", keys)
	}
}

// What goes wrong is an error, not a low rate; that the time is over is none.
func TestErrors(t *testing.T) {
	server, client := startRedis(t)
	if err := server.Set("k", "no list"); err != nil {
		t.Fatal(err)
	}
	p := &pair{client: client, key: "k", latency: hdrhistogram.New(1, 60_000_000, 3)}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, do := range map[string]func(context.Context) error{"push": p.push, "pop": p.pop} {
		if err := do(t.Context()); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("%s: %v", name, err)
		}
		if err := do(over); err != nil {
			t.Errorf("%s when the time is over: %v", name, err)
		}
	}
	server.SetError("LOADING")
	if _, err := Run(t.Context(), client, Config{Pairs: 1, Payload: 1, Duration: time.Hour}); err == nil {
		t.Error("Run without Redis: no error")
	}
}

// Pushing waits for popping: memory of the server is not what is measured.
func TestBacklogIsBounded(t *testing.T) {
	server, client := startRedis(t)
	ctx, cancel := context.WithCancel(t.Context())
	p := &pair{client: client, key: "k", value: "xyz", latency: hdrhistogram.New(1, 60_000_000, 3)}
	done := make(chan error, 1)
	go func() { done <- p.push(ctx) }() // ends with ctx
	for p.pushed.Load() <= maxBacklog {
		runtime.Gosched()
	}
	p.popped.Store(10) // as many more may be pushed
	for p.pushed.Load() <= maxBacklog+10 {
		runtime.Gosched()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	values, err := server.List("k")
	if err != nil || len(values) != maxBacklog+11 || values[0] != "xyz" {
		t.Errorf("%d values, %v", len(values), err)
	}
}
