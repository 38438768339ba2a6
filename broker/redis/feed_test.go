package redis_test

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A connection that can be made but is lost each time when subscriptions are
// asked for is made anew after a pause: it was made again at once, hundreds of
// times a second.
func TestFeedBackoff(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	b := newBroker(t, calm(withAddr(proxy.Addr), redis.WithBackoff(time.Minute, time.Minute))...)
	listen(t, b, broker.Topic{Name: "news"})
	var lost atomic.Int64
	proxy.Swallow(func(reply []byte) bool {
		if bytes.Contains(reply, []byte("subscribe")) {
			lost.Add(1)
			return true
		}
		return false
	})
	proxy.CutOnce()
	await(t, "the connection was lost again", func() bool { return lost.Load() > 0 })
	other := newBroker(t, calm(withAddr(server.Addr))...)
	for range 2000 { // which takes longer than to connect once more
		if err := other.Publish(t.Context(), &broker.Event{Channel: "c"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := lost.Load(); n > 2 {
		t.Errorf("the connection was made %d times", n)
	}
}
