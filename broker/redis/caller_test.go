package redis

import (
	"errors"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
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
