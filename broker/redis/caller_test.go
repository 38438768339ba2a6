package redis

import (
	"errors"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
)

// Calls that come while the broker closes, for URIs of lanes that it has not
// used yet, are refused. Reapers looked at those lanes, which do not exist, and the
// process died.
func TestCallsWhileClosing(t *testing.T) {
	server := redistest.Start(t)
	b, err := New(WithServer(&goredis.Options{Addr: server.Addr}), WithLanes(16))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	node := broker.ID{'n'}
	c, err := b.openCaller(t.Context(), node, func([]broker.Result) {}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.closed = true // as Close does, before it comes to c
	b.mu.Unlock()
	for _, uri := range []string{"a", "b", "c", "d"} {
		call := broker.Call{URI: uri, ReplyTo: broker.Address{Node: node}, Timeout: time.Second}
		if err := c.Call(t.Context(), &call); !errors.Is(err, broker.ErrClosed) && !errors.Is(err, broker.ErrNoCallee) {
			t.Errorf("Call: %v", err)
		}
	}
}

// The callee hears of each cancellation, whatever bytes the node's id begins with: some look
// like those of an event that is kept.
func TestCancelFromAnyNode(t *testing.T) {
	server := redistest.Start(t)
	b, err := New(WithServer(&goredis.Options{Addr: server.Addr}))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	told := make(chan broker.Address, 1000)
	callee, err := b.OpenCallee(t.Context(), []string{"f"}, func(calls []broker.Address) {
		for _, to := range calls {
			told <- to
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer callee.Close()
	for _, first := range []byte{0, formatKept, 0xFF} {
		node := broker.ID{first}
		c, err := b.OpenCaller(t.Context(), node, func([]broker.Result) {})
		if err != nil {
			t.Fatal(err)
		}
		call := broker.Call{URI: "f", ReplyTo: broker.Address{Node: node}, Timeout: time.Minute}
		if err := c.Call(t.Context(), &call); err != nil {
			t.Fatal(err)
		}
		if _, err := callee.Take(t.Context(), make([]broker.Call, 1)); err != nil {
			t.Fatal(err)
		}
		waiting.Until(t, "the callee is told", func() bool {
			if err := c.Cancel(t.Context(), "f", call.ReplyTo); err != nil {
				t.Fatal(err)
			}
			select {
			case to := <-told:
				return to == call.ReplyTo
			default:
				return false
			}
		})
		c.Close()
	}
}
