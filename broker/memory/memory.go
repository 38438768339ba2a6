// Package memory is the embedded broker: calls, results and events of one
// process, in its memory. It is the default of a juggler.Handler and needs
// nothing installed; what it holds is gone when the process ends.
//
//	b, err := memory.New(memory.WithQueueCapacity(4096))
//	if err != nil {
//		return err
//	}
//	defer b.Close()
//
// # Where callbacks run
//
// The broker has no goroutine of its own. A call is handed to a callee that waits in
// Take by the goroutine that makes the call; results are delivered by the goroutine
// that calls Reply, events by the one that calls Publish, both before that method
// returns. What a publisher hands over is thus never copied, and a subscriber that is
// slow slows its publishers down.
// Only the cancelled callback of a callee, which may wait, runs on a goroutine
// that exists while there are cancellations to report; and calls that wait in a queue
// when its grace is over are answered by that of a timer, which runs for the grace.
//
// All connections but those of callees are [broker.Immediate], and so is the
// Broker itself: deliver callbacks must not wait. The methods of those
// connections, Reply too, take no notice of their context.
//
// An event that is published from within a deliver callback is delivered
// before the callback returns, so other subscribers may see it before the
// event that caused it.
//
// # Limits
//
// A URI has one queue. It holds at most [WithQueueCapacity] calls, and all
// queues together at most [WithQueueBytes] bytes. Calls whose time is over
// leave the queues when room is needed or when a callee comes across them.
//
// To find the exact topics of an event takes the same time however many there
// are. It is compared with each pattern, wherever that is subscribed to, which
// takes at most the product of both lengths.
package memory

import (
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/option"
)

// A Broker is an embedded broker. It plays all three roles and is
// safe for concurrent use. Make one with [New].
type Broker struct {
	// The two have nothing in common: each has a lock, and neither is taken
	// under the other.
	rpc    rpc
	topics topics
}

var (
	_ broker.Caller    = (*Broker)(nil)
	_ broker.Callee    = (*Broker)(nil)
	_ broker.PubSub    = (*Broker)(nil)
	_ broker.Immediate = (*Broker)(nil)

	_ broker.BatchPublisher = (*Broker)(nil)
)

// New returns an empty broker. The error tells of all options with a value
// out of bounds and wraps [ErrInvalidOption] for each.
func New(opts ...Option) (*Broker, error) {
	cfg := defaultConfig()
	problems := option.Problems{Package: "memory"}
	option.Apply(&problems, opts, func(o Option) { o.apply(&cfg) })
	option.Check(&problems, cfg.settings())
	if err := problems.Err(); err != nil {
		return nil, err
	}
	b := new(Broker)
	b.rpc.init(cfg)
	b.topics.init()
	return b, nil
}

// Immediate states that publishing never waits, see [broker.Immediate].
func (b *Broker) Immediate() {}

// Close closes all connections, drops what is queued, and returns when no
// callback runs any more. After it every method of the broker and of its
// connections returns [broker.ErrClosed]. It always returns nil, may be called
// twice, and must not be called from a callback.
func (b *Broker) Close() error {
	b.rpc.close()
	b.topics.close()
	return nil
}
