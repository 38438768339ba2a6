package brokertest_test

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
)

// hooks say how a broker is bent. Each replaces a method or callback and gets
// what it replaces as next; what is nil stays straight.
type hooks struct {
	openCaller func(node broker.ID, deliver func([]broker.Result)) func([]broker.Result)
	call       func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error
	cancel     func(uri string, to broker.Address, next func() error) error
	results    func(results []broker.Result, next func([]broker.Result))
	closeNode  func(next func() error) error
	ended      func(next <-chan struct{}) <-chan struct{}

	callBatch func(calls []broker.Call, errs []error, next func())

	readQueues func(ctx context.Context, queues []broker.Queue) ([]broker.Queue, bool, error)

	openCallee  func(ctx context.Context, hasCallback bool, next func() (broker.CalleeConn, error)) (broker.CalleeConn, error)
	take        func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error)
	reply       func(results []broker.Result, next func([]broker.Result) error) error
	cancelled   func(to []broker.Address, next func([]broker.Address))
	closeCallee func(next func() error) error

	grant    func(grants []broker.Grant, next func([]broker.Grant) error) error
	parts    func(parts []broker.Part, next func([]broker.Part))
	sendPart func(p *broker.Part, next func(*broker.Part) error) error
	granted  func(grants []broker.Grant, next func([]broker.Grant))

	openStreamCallee func(granted func([]broker.Grant))

	attach    func(c broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error
	readCalls func(reads []broker.CallRead, records []broker.CallRecord, next func([]broker.CallRead))
	stop      func(next func() error) error
	news      func(keys []broker.CallKey, next func([]broker.CallKey))

	openKeyedCaller func(news func([]broker.CallKey))

	beforePublish   func(ctx context.Context) error
	publishBatch    func(events []broker.Event, next func([]broker.Event))
	publish         func(e *broker.Event, next func(*broker.Event) error) error
	deliver         func(batch []broker.Delivery, next func([]broker.Delivery))
	subscribe       func(c broker.SubscriberConn, t broker.Topic) error
	unsubscribe     func(c broker.SubscriberConn, t broker.Topic) error
	closeSubscriber func(next func() error) error

	register   func(ctx context.Context, table string, value []byte, life time.Duration, next func(string, []byte, time.Duration) error) error
	unregister func(table string, next func(string) error) error
	registered func([]broker.Entry) []broker.Entry

	openPresence   func(ctx context.Context, changed func([]broker.HereChange)) func([]broker.HereChange)
	openedPresence func(broker.PresenceConn)
	put            func(c broker.PresenceConn, channel string, users []broker.Member)
	flush          func(ctx context.Context, next func(context.Context) error) error
	unwatch        func() bool
	readHere       func(c broker.PresenceConn, channel string, most int) (broker.Here, error)
	closePresence  func(broker.PresenceConn) error

	publishKept   func(events []broker.Publication, done []broker.Published, next func())
	readKept      func(h broker.History, reads []broker.Read, pages []broker.Page, next func())
	subscribeKept func(h broker.History, channel string, next func() (broker.Position, error)) (broker.Position, error)
}

// bend returns the roles of r with hooks in them.
func bend(r brokertest.Roles, h *hooks) brokertest.Roles {
	return brokertest.Roles{
		Caller: bentCaller{r.Caller, h},
		Callee: bentCallee{r.Callee, h},
		PubSub: bentPubSub{r.PubSub, h},
	}
}

type bentCaller struct {
	next broker.Caller
	h    *hooks
}

func (b bentCaller) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	conn, err := b.next.OpenCaller(ctx, node, b.bendResults(node, deliver))
	return bentCallerConn{conn, b.h}, err
}

func (b bentCaller) bendResults(node broker.ID, deliver func([]broker.Result)) func([]broker.Result) {
	if b.h.openCaller != nil {
		deliver = b.h.openCaller(node, deliver)
	}
	return func(results []broker.Result) {
		if b.h.results != nil {
			b.h.results(results, deliver)
		} else {
			deliver(results)
		}
	}
}

type bentCallerConn struct {
	next broker.CallerConn
	h    *hooks
}

func (b bentCallerConn) Call(ctx context.Context, c *broker.Call) error {
	if b.h.call != nil {
		return b.h.call(ctx, c, b.next.Call)
	}
	return b.next.Call(ctx, c)
}

func (b bentCallerConn) Cancel(ctx context.Context, uri string, to broker.Address) error {
	next := func() error { return b.next.Cancel(ctx, uri, to) }
	if b.h.cancel != nil {
		return b.h.cancel(uri, to, next)
	}
	return next()
}

func (b bentCallerConn) Close() error {
	if b.h.closeNode != nil {
		return b.h.closeNode(b.next.Close)
	}
	return b.next.Close()
}

func (b bentCallerConn) Ended() <-chan struct{} {
	next := b.next.(broker.Ender).Ended()
	if b.h.ended != nil {
		return b.h.ended(next)
	}
	return next
}

func (b bentCallerConn) CallBatch(ctx context.Context, calls []broker.Call, errs []error) {
	next := func() { b.next.(broker.BatchCaller).CallBatch(ctx, calls, errs) }
	if b.h.callBatch != nil {
		b.h.callBatch(calls, errs, next)
	} else {
		next()
	}
}

type bentCallee struct {
	next broker.Callee
	h    *hooks
}

func (b bentCallee) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	next := func() (broker.CalleeConn, error) { return b.next.OpenCallee(ctx, uris, b.bendCancelled(cancelled)) }
	if b.h.openCallee == nil {
		conn, err := next()
		return bentCalleeConn{conn, b.h}, err
	}
	conn, err := b.h.openCallee(ctx, cancelled != nil, next)
	return bentCalleeConn{conn, b.h}, err
}

func (b bentCallee) bendCancelled(cancelled func([]broker.Address)) func([]broker.Address) {
	if b.h.cancelled == nil || cancelled == nil {
		return cancelled
	}
	return func(to []broker.Address) { b.h.cancelled(to, cancelled) }
}

type bentCalleeConn struct {
	next broker.CalleeConn
	h    *hooks
}

func (b bentCalleeConn) Take(ctx context.Context, dst []broker.Call) (int, error) {
	if b.h.take != nil {
		return b.h.take(b.next, ctx, dst)
	}
	return b.next.Take(ctx, dst)
}

func (b bentCalleeConn) Reply(ctx context.Context, results []broker.Result) error {
	next := func(results []broker.Result) error { return b.next.Reply(ctx, results) }
	if b.h.reply != nil {
		return b.h.reply(results, next)
	}
	return next(results)
}

func (b bentCalleeConn) Close() error {
	if b.h.closeCallee != nil {
		return b.h.closeCallee(b.next.Close)
	}
	return b.next.Close()
}

type bentPubSub struct {
	next broker.PubSub
	h    *hooks
}

func (b bentPubSub) Publish(ctx context.Context, e *broker.Event) error {
	if b.h.beforePublish != nil {
		if err := b.h.beforePublish(ctx); err != nil {
			return err
		}
	}
	next := func(e *broker.Event) error { return b.next.Publish(ctx, e) }
	if b.h.publish != nil {
		return b.h.publish(e, next)
	}
	return next(e)
}

func (b bentPubSub) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	conn, err := b.next.OpenSubscriber(ctx, func(batch []broker.Delivery) {
		if b.h.deliver != nil {
			b.h.deliver(batch, deliver)
		} else {
			deliver(batch)
		}
	})
	return bentSubscriberConn{conn, b.next.(broker.History), b.h}, err
}

func (b bentPubSub) Kept(channel string) bool { return b.next.(broker.History).Kept(channel) }

func (b bentPubSub) PublishKept(ctx context.Context, events []broker.Publication, done []broker.Published) {
	next := func() { b.next.(broker.History).PublishKept(ctx, events, done) }
	if b.h.publishKept != nil {
		b.h.publishKept(events, done, next)
	} else {
		next()
	}
}

func (b bentPubSub) ReadKept(ctx context.Context, reads []broker.Read, pages []broker.Page) {
	next := func() { b.next.(broker.History).ReadKept(ctx, reads, pages) }
	if b.h.readKept != nil {
		b.h.readKept(b.next.(broker.History), reads, pages, next)
	} else {
		next()
	}
}

func (b bentPubSub) PublishBatch(ctx context.Context, events []broker.Event, errs []error) {
	next := func(events []broker.Event) {
		b.next.(broker.BatchPublisher).PublishBatch(ctx, events, errs[:len(events)])
	}
	if b.h.publishBatch != nil {
		b.h.publishBatch(events, next)
	} else {
		next(events)
	}
}

type bentSubscriberConn struct {
	next    broker.SubscriberConn
	history broker.History
	h       *hooks
}

func (b bentSubscriberConn) SubscribeKept(ctx context.Context, channel string) (broker.Position, error) {
	next := func() (broker.Position, error) {
		return b.next.(broker.HistorySubscriber).SubscribeKept(ctx, channel)
	}
	if b.h.subscribeKept != nil {
		return b.h.subscribeKept(b.history, channel, next)
	}
	return next()
}

func (b bentSubscriberConn) Subscribe(ctx context.Context, t broker.Topic) error {
	if b.h.subscribe != nil {
		return b.h.subscribe(b.next, t)
	}
	return b.next.Subscribe(ctx, t)
}

func (b bentSubscriberConn) Unsubscribe(ctx context.Context, t broker.Topic) error {
	if b.h.unsubscribe != nil {
		return b.h.unsubscribe(b.next, t)
	}
	return b.next.Unsubscribe(ctx, t)
}

func (b bentSubscriberConn) Close() error {
	if b.h.closeSubscriber != nil {
		return b.h.closeSubscriber(b.next.Close)
	}
	return b.next.Close()
}
