package redis

import (
	"context"
	"math/rand/v2"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
)

// Ping connects to a master and reports whether that answers and lets the broker
// in. In a cluster one that does is enough. It is for those who wait for a server
// at the start: it takes a connection of its own, and up to the reply timeout for
// each lane whose master is silent, unless ctx ends before.
func (b *Broker) Ping(ctx context.Context) error {
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		return broker.ErrClosed
	}
	var first error
	for _, i := range rand.Perm(len(b.keys.tags)) {
		l, err := b.view.Dial(ctx, b.keys.slotOf(i), conn.Server{}, b.config.replyTimeout, nil)
		if err == nil {
			l.Close()
			b.survey.start()
			return nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}
