package juggler

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/worker"
)

// brokerSide is the node's side of the broker: the connections to it, which the first
// session opens and Shutdown closes. What it may wait for ends with the broker's time.
type brokerSide struct {
	callers broker.Caller
	pubsub  broker.PubSub
	history broker.History // pubsub, if it is one
	timeout time.Duration  // WithBrokerTimeout

	opening     chan struct{} // holds a value while someone opens or closes the connections
	opened      atomic.Bool
	mayOpen     context.Context // ended by stopOpening: nothing is opened any more
	stopOpening context.CancelFunc

	// The following is set once it is opened.

	caller         broker.CallerConn
	subscriber     broker.SubscriberConn
	streamCaller   broker.StreamCallerConn // caller, if answers may come in parts
	keyedCaller    broker.KeyedCallerConn  // caller, if it keeps the outcomes of calls with keys
	batchCaller    broker.BatchCaller      // caller, if it is one
	batchPublisher broker.BatchPublisher   // pubsub, if it is one

	presence broker.PresenceConn // nil: nobody asks who is in channels

	keptSubscriber broker.HistorySubscriber // subscriber, if it is one and there is history

	callParts, publishParts broker.Divided // caller and pubsub, if they are

	callsNeverWait, topicsNeverWait, publishesNeverWait bool

	grants     grantQueue
	later      worker.Backlog  // what is yet to be asked for no session in particular
	asking     context.Context // of later: outlives the sessions
	stopAsking context.CancelFunc
}

// init prepares b, which counts its goroutines in running. It opens nothing.
func (b *brokerSide) init(cfg *config, running *sync.WaitGroup) {
	b.callers, b.pubsub, b.timeout = cfg.caller, cfg.pubsub, cfg.brokerTimeout
	b.history, _ = b.pubsub.(broker.History)
	b.opening = make(chan struct{}, 1)
	b.mayOpen, b.stopOpening = context.WithCancel(context.Background())
	b.asking, b.stopAsking = context.WithCancel(context.Background())
	b.later.Running = running
	b.publishesNeverWait = neverWaits(b.pubsub)
}

// open opens the connections, once.
func (b *brokerSide) open(ctx context.Context, h *Handler) error {
	if b.opened.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	defer context.AfterFunc(b.mayOpen, cancel)() // Shutdown does not wait for the broker
	select {
	case b.opening <- struct{}{}:
		defer func() { <-b.opening }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.opened.Load() {
		return nil
	}
	if b.mayOpen.Err() != nil {
		return broker.ErrClosed
	}
	caller, err := b.openCaller(ctx, h)
	if err != nil {
		return err
	}
	subscriber, err := b.pubsub.OpenSubscriber(ctx, h.deliverEvents)
	if err != nil {
		return errors.Join(err, caller.Close())
	}
	if err := b.openPresence(ctx, h); err != nil {
		return errors.Join(err, subscriber.Close(), caller.Close())
	}
	if err := h.userSessions.open(ctx); err != nil {
		return errors.Join(err, b.closePresence(), subscriber.Close(), caller.Close())
	}
	if err := h.clusterSide.open(ctx); err != nil {
		return errors.Join(err, h.userSessions.close(), b.closePresence(), subscriber.Close(), caller.Close())
	}
	b.streamCaller, _ = caller.(broker.StreamCallerConn)
	b.caller, b.subscriber = caller, subscriber
	b.batchCaller, _ = caller.(broker.BatchCaller)
	b.callParts, _ = caller.(broker.Divided)
	b.batchPublisher, _ = b.pubsub.(broker.BatchPublisher)
	b.publishParts, _ = b.pubsub.(broker.Divided)
	if b.history != nil {
		b.keptSubscriber, _ = subscriber.(broker.HistorySubscriber)
	}
	b.callsNeverWait, b.topicsNeverWait = neverWaits(caller), neverWaits(subscriber)
	b.opened.Store(true)
	return nil
}

// openCaller opens the connection for calls: one that can do as much as there is.
func (b *brokerSide) openCaller(ctx context.Context, h *Handler) (broker.CallerConn, error) {
	switch callers := b.callers.(type) {
	case broker.KeyedCaller:
		conn, err := callers.OpenKeyedCaller(ctx, h.node, h.deliverResults, h.deliverParts, h.keyed.News)
		if err != nil {
			return nil, err
		}
		b.keyedCaller = conn
		h.keyed.Start(conn)
		return conn, nil
	case broker.StreamCaller:
		return callers.OpenStreamCaller(ctx, h.node, h.deliverResults, h.deliverParts)
	}
	return b.callers.OpenCaller(ctx, h.node, h.deliverResults)
}

// close closes the connections, if they were opened. It follows stopOpening.
func (b *brokerSide) close() error {
	b.opening <- struct{}{} // what was being opened is, or has failed, and nothing is any more
	defer func() { <-b.opening }()
	if !b.opened.Load() {
		return nil
	}
	return errors.Join(b.closePresence(), b.subscriber.Close(), b.caller.Close())
}

// neverWaits reports whether v declares that its methods do not wait.
func neverWaits(v any) bool {
	_, ok := v.(broker.Immediate)
	return ok
}

// neverWaits reports whether no request waits for the broker.
func (b *brokerSide) neverWaits() bool {
	return b.callsNeverWait && b.topicsNeverWait && b.publishesNeverWait
}

// bound gives ctx the end of the broker's time, unless it never waits. The end of a
// session does not interrupt the broker half-way.
func (b *brokerSide) bound(ctx context.Context, never bool) (context.Context, context.CancelFunc) {
	if never {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), b.timeout)
}

// call queues a call.
func (b *brokerSide) call(ctx context.Context, c *broker.Call) error {
	ctx, cancel := b.bound(ctx, b.callsNeverWait)
	defer cancel()
	return b.caller.Call(ctx, c)
}

// callBatch queues calls, for a broker that takes batches of them.
func (b *brokerSide) callBatch(ctx context.Context, calls []broker.Call, errs []error) {
	ctx, cancel := b.bound(ctx, b.callsNeverWait)
	defer cancel()
	b.batchCaller.CallBatch(ctx, calls, errs)
}

// publishBatch publishes events, for a broker that takes batches of them.
func (b *brokerSide) publishBatch(ctx context.Context, events []broker.Event, errs []error) {
	ctx, cancel := b.bound(ctx, b.publishesNeverWait)
	defer cancel()
	b.batchPublisher.PublishBatch(ctx, events, errs)
}

// subscribe has the events of a topic come.
func (b *brokerSide) subscribe(ctx context.Context, t broker.Topic) error {
	ctx, cancel := b.bound(ctx, b.topicsNeverWait)
	defer cancel()
	return b.subscriber.Subscribe(ctx, t)
}

// subscribeKept has the events of a channel come that a rule keeps, and returns where the
// channel stood before.
func (b *brokerSide) subscribeKept(ctx context.Context, channel string) (broker.Position, error) {
	ctx, cancel := b.bound(ctx, b.topicsNeverWait)
	defer cancel()
	return b.keptSubscriber.SubscribeKept(ctx, channel)
}

// keeps reports whether the broker keeps the events of a topic. It does not wait.
func (b *brokerSide) keeps(t broker.Topic) bool {
	return b.keptSubscriber != nil && !t.Pattern && b.history.Kept(t.Name)
}

// askLater has f ask the broker soon, within the broker's time, what no session waits
// for.
func (b *brokerSide) askLater(f func(context.Context)) {
	b.later.Do(func() {
		ctx, cancel := context.WithTimeout(b.asking, b.timeout)
		defer cancel()
		f(ctx)
	})
}

// endAsking waits until the broker was asked what askLater was called for:
// cancellations of ended sessions above all. A broker that does not answer has no more
// than a moment beyond ctx.
func (b *brokerSide) endAsking(ctx context.Context) {
	defer b.stopAsking()
	asked := b.later.Idle()
	select {
	case <-asked:
		return
	case <-ctx.Done():
	}
	select {
	case <-asked:
	case <-time.After(lastMoment):
	}
}

// part returns the part of the broker that a call or publication goes to.
func (b *brokerSide) part(r *Request) int {
	switch {
	case r.typ == frame.Call && b.callParts != nil:
		return b.callParts.Part(r.uri)
	case r.typ == frame.Pub && b.publishParts != nil:
		return b.publishParts.Part(r.channel)
	}
	return 0
}

// partOf returns the part of the broker that has the kept events of a channel.
func (b *brokerSide) partOf(channel string) int {
	if b.publishParts == nil {
		return 0
	}
	return b.publishParts.Part(channel)
}

// health asks a broker that can tell whether it does its work.
func (b *brokerSide) health() error {
	for _, role := range []any{b.callers, b.pubsub} {
		if c, ok := role.(broker.HealthChecker); ok {
			if err := c.Health(); err != nil {
				return err
			}
		}
	}
	return nil
}
