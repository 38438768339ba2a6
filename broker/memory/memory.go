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
// The broker has no goroutine of its own. The goroutine that makes a call passes it to
// a callee that waits in Take. The goroutine that calls Reply delivers the results, and
// the one that calls Publish the events, before the method returns. So payloads of
// events are not copied, and a slow subscriber slows its publishers down.
//
// There are four exceptions. The cancelled callback of a callee, which may wait, runs
// on a goroutine that exists while there are cancellations to report. And when the
// grace of a queue is over, the goroutine of a timer answers the calls in it. The others
// are under Calls with keys and History.
//
// All connections but those of callees are [broker.Immediate], and so is the
// Broker itself: deliver callbacks must not wait. The methods of those
// connections, Reply too, take no notice of their context. Nor do SendPart and Grant,
// which run the callbacks parts and granted before they return: these must not wait.
//
// Calls with a Window of a node that closes are cancelled, those in queues as well.
//
// An event that is published from within a deliver callback is delivered
// before the callback returns, so other subscribers may see it before the
// event that caused it.
//
// # Calls with keys
//
// The broker is a [broker.KeyedCaller]. The goroutine that calls Reply or SendPart stores
// what it brings and tells news of it before the method returns, so the callback news must
// not wait. That a call was stopped or never taken the goroutine of a timer tells; there is
// one for all calls.
//
// [WithMaxKeyedBytes] bounds what is kept of all calls with keys. Beyond it no call with a
// new key is made, and of the parts of a call the oldest go when more come; outcomes are
// stored all the same.
//
// # History
//
// With [WithHistory] the broker keeps the newest events of channels, in memory, and is a
// [broker.History]: whoever has the position of an event gets those after it, or is told
// that they are not all there.
//
// All who publish on such a channel at the same time have one order. Publish may then
// return before its event is delivered, as another goroutine that publishes on the channel
// delivers it; so does one that is published on its own channel from within a callback.
// Publishers who go on and on leave the delivering to a goroutine that exists while there
// is something to deliver. Subscribers that are 4,096 events or 8 MiB behind get a Gap in
// place of these.
//
// [WithMaxHistoryBytes] bounds what is kept of all channels together. Beyond it the events
// of the channel go whose last event is the oldest. Then it can still be proved that
// nothing came after that one, for a day or until room is needed for that, too. An event
// that is larger than the bound by itself is not kept.
//
// # Who is there
//
// The broker is a [broker.Presence] of as many nodes as there are connections. What is put
// is there at once: Flush has nothing to do. Changes are told from a goroutine of each
// connection, which exists while there are some, so that changed may wait. The changes that wait
// for it are 4,096 at most, of 16,384 members; beyond that those of the channels that
// are watched become Lost. Slices of changes are shared by all who are told: nobody may change what
// is in them. When a connection closes, its changes are those of one that watches the channel, or
// of another one that there is.
//
// Nothing bounds how many members there are but what nodes put.
//
// # Limits
//
// A URI has one queue. It holds at most [WithQueueCapacity] calls, and all
// queues together at most [WithQueueBytes] bytes. Calls whose time is over
// leave the queues when room is needed or when a callee comes across them.
//
// Up to 100,000 names may be registered ([broker.Registry]) in all tables together; beyond
// that Register returns [broker.ErrUnavailable].
//
// The time to find the exact topics of an event does not depend on how many there
// are. An event is compared with every pattern that has a subscriber, which takes at
// most the product of both lengths.
package memory

import (
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/kept"
	"github.com/juggler-go/juggler/internal/option"
)

// A Broker is an embedded broker. It plays all three roles and is
// safe for concurrent use. Make one with [New].
type Broker struct {
	// Calls have nothing in common with the others: neither's lock is taken under the
	// other.
	rpc     rpc
	topics  topics
	history history

	registry registry
	presence presence
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
	cfg.rules = kept.Compile(&problems, cfg.history)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	b := new(Broker)
	b.rpc.init(cfg)
	b.topics.init()
	b.history.init(cfg)
	b.registry.init()
	b.presence.channels = make(map[string]*attendance)
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
	b.history.close()
	b.registry.close()
	b.presence.close()
	return nil
}
