package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// Results that are kept for a server that is out of reach hold up nobody, and are
// reported as lost when the broker closes.
func TestReplyWhileClosing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	b := newBroker(t, quick(withAddr(proxy.Addr), redis.WithReplyTimeout(time.Minute))...)
	callee, err := b.OpenCallee(t.Context(), []string{"u"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	node := broker.ID{'n'}
	caller, err := b.OpenCaller(t.Context(), node, func([]broker.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	c := broker.Call{URI: "u", ReplyTo: broker.Address{Node: node}, Timeout: time.Hour}
	if err := caller.Call(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	if _, err := callee.Take(t.Context(), make([]broker.Call, 1)); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	if err := callee.Reply(t.Context(), []broker.Result{{To: c.ReplyTo}}); err != nil {
		t.Fatal(err)
	}
	keeper := callee.(broker.ResultKeeper)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := keeper.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Flush: %v", err)
	}
	// Whoever has waited in vain does not wait once more.
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		b.Close()
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close waits for what Flush has waited for")
	}
	if n := keeper.Unstored(); n != 1 {
		t.Errorf("%d results were lost, want 1", n)
	}
	if err := keeper.Flush(t.Context()); err != nil {
		t.Errorf("Flush after Close: %v", err)
	}
	if err := callee.Reply(t.Context(), []broker.Result{{To: c.ReplyTo}}); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Reply: %v", err)
	}
}
