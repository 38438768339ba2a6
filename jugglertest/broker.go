package jugglertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/juggler-go/juggler/broker"
)

// Broker is in front of another broker and can be made unreachable, and to lose events,
// parts of answers, and what is kept of calls. It plays the same roles, but takes batches of
// publications only where these are kept. It is a [broker.History], which keeps nothing if the
// other one is none, and carries answers in parts if the other one does. Its Server keeps calls
// with keys if the other one does.
type Broker struct {
	roles Roles
	down  atomic.Bool

	lostParts, lostGrants, lostNews atomic.Int64 // how many are yet to be lost

	mu          sync.Mutex // guards the following
	subscribers map[*subscriberConn]struct{}
	presences   map[*presenceConn]struct{}
	made        map[broker.CallKey]string // the URIs of calls with keys
}

// Down makes the broker unreachable: calls, publications, subscriptions and
// what opens a connection fail with broker.ErrUnavailable. Calls that were
// queued before are still answered; the parts of their answers wait for Up, and so do users
// who come to channels or leave them.
func (b *Broker) Down() { b.down.Store(true) }

// Up ends Down. As after a real outage, all subscriptions learn that they may have missed
// events, other than those by the name of a channel whose events are kept: for these a
// broker reads what they have missed.
func (b *Broker) Up() {
	if !b.down.Swap(false) {
		return
	}
	b.mu.Lock()
	conns := make([]*subscriberConn, 0, len(b.subscribers))
	for c := range b.subscribers {
		conns = append(conns, c)
	}
	presences := slices.Collect(maps.Keys(b.presences))
	b.mu.Unlock()
	for _, c := range conns {
		c.gap()
	}
	for _, c := range presences {
		c.up()
	}
}

// err is what op fails with while the broker is down.
func (b *Broker) err(op string) error {
	if b.down.Load() {
		return fmt.Errorf("jugglertest: %s: %w", op, broker.ErrUnavailable)
	}
	return nil
}

// Health implements broker.HealthChecker.
func (b *Broker) Health() error { return b.err("health") }

// front returns b as a broker.Immediate and a broker.KeyedCaller if the broker behind it is one.
func (b *Broker) front() Roles {
	_, immediate := b.roles.(broker.Immediate)
	_, keyed := b.roles.(broker.KeyedCaller)
	switch {
	case immediate && keyed:
		return struct {
			immediateBroker
			keyedBroker
		}{immediateBroker{b}, keyedBroker{b}}
	case immediate:
		return immediateBroker{b}
	case keyed:
		return struct {
			*Broker
			keyedBroker
		}{b, keyedBroker{b}}
	}
	return b
}

// immediateBroker and the like are their embedded ones and never wait.
type immediateBroker struct{ *Broker }

func (immediateBroker) Immediate() {}

type immediateCaller struct{ *callerConn }

func (immediateCaller) Immediate() {}

type immediateSubscriber struct{ *subscriberConn }

func (immediateSubscriber) Immediate() {}

// OpenCaller implements broker.Caller.
func (b *Broker) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	return b.openCaller(func() (broker.CallerConn, error) { return b.roles.OpenCaller(ctx, node, deliver) })
}

// openCaller puts b in front of the connection that open opens.
func (b *Broker) openCaller(open func() (broker.CallerConn, error)) (broker.KeyedCallerConn, error) {
	if err := b.err("open caller"); err != nil {
		return nil, err
	}
	conn, err := open()
	if err != nil {
		return nil, err
	}
	c := &callerConn{conn, b}
	_, immediate := conn.(broker.Immediate)
	batches, ok := conn.(broker.BatchCaller)
	switch {
	case immediate && ok:
		return struct {
			immediateCaller
			batchCaller
		}{immediateCaller{c}, batchCaller{batches, c}}, nil
	case immediate:
		return immediateCaller{c}, nil
	case ok:
		return struct {
			*callerConn
			batchCaller
		}{c, batchCaller{batches, c}}, nil
	}
	return c, nil
}

type callerConn struct {
	broker.CallerConn
	b *Broker
}

// Ended implements broker.Ender.
func (c *callerConn) Ended() <-chan struct{} {
	if e, ok := c.CallerConn.(broker.Ender); ok {
		return e.Ended()
	}
	return nil
}

func (c *callerConn) Call(ctx context.Context, call *broker.Call) error {
	if err := c.b.err("call " + call.URI); err != nil {
		return err
	}
	return c.CallerConn.Call(ctx, call)
}

// batchCaller is what a callerConn has beyond that if it takes batches.
type batchCaller struct {
	batches broker.BatchCaller
	conn    *callerConn
}

func (c batchCaller) CallBatch(ctx context.Context, calls []broker.Call, errs []error) {
	if err := c.conn.b.err("call"); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return
	}
	c.batches.CallBatch(ctx, calls, errs)
}

// Part implements broker.Divided.
func (c batchCaller) Part(uri string) int {
	if d, ok := c.batches.(broker.Divided); ok {
		return d.Part(uri)
	}
	return 0
}

func (c *callerConn) Cancel(ctx context.Context, uri string, to broker.Address) error {
	if err := c.b.err("cancel"); err != nil {
		return err
	}
	return c.CallerConn.Cancel(ctx, uri, to)
}

// OpenCallee implements broker.Callee.
func (b *Broker) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	if err := b.err("open callee"); err != nil {
		return nil, err
	}
	return b.roles.OpenCallee(ctx, uris, cancelled)
}

// Publish implements broker.PubSub.
func (b *Broker) Publish(ctx context.Context, e *broker.Event) error {
	if err := b.err("publish"); err != nil {
		return err
	}
	return b.roles.Publish(ctx, e)
}

// OpenSubscriber implements broker.PubSub.
func (b *Broker) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	if err := b.err("open subscriber"); err != nil {
		return nil, err
	}
	s := &subscriberConn{b: b, deliver: deliver, topics: make(map[broker.Topic]struct{})}
	conn, err := b.roles.OpenSubscriber(ctx, s.receive)
	if err != nil {
		return nil, err
	}
	s.SubscriberConn = conn
	b.mu.Lock()
	if b.subscribers == nil {
		b.subscribers = make(map[*subscriberConn]struct{})
	}
	b.subscribers[s] = struct{}{}
	b.mu.Unlock()
	if _, ok := conn.(broker.Immediate); ok {
		return immediateSubscriber{s}, nil
	}
	return s, nil
}

type subscriberConn struct {
	broker.SubscriberConn
	b       *Broker
	deliver func([]broker.Delivery)

	telling sync.Mutex // held while gaps are delivered; guards closed
	closed  bool

	missing atomic.Bool // missed has channels

	mu     sync.Mutex // guards the following
	topics map[broker.Topic]struct{}
	missed map[string]int // of a channel: how many events are yet to be missed
}

func (s *subscriberConn) Subscribe(ctx context.Context, t broker.Topic) error {
	if err := s.b.err("subscribe " + t.Name); err != nil {
		return err
	}
	if err := s.SubscriberConn.Subscribe(ctx, t); err != nil {
		return err
	}
	s.note(t)
	return nil
}

// note notes that t was subscribed to.
func (s *subscriberConn) note(t broker.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics[t] = struct{}{}
}

func (s *subscriberConn) Unsubscribe(ctx context.Context, t broker.Topic) error {
	s.mu.Lock()
	delete(s.topics, t)
	if !t.Pattern {
		delete(s.missed, t.Name)
	}
	s.mu.Unlock()
	return s.SubscriberConn.Unsubscribe(ctx, t)
}

func (s *subscriberConn) Close() error {
	s.b.mu.Lock()
	delete(s.b.subscribers, s)
	s.b.mu.Unlock()
	s.telling.Lock()
	s.closed = true
	s.telling.Unlock()
	return s.SubscriberConn.Close()
}

// gap tells the subscriber of each topic that it may have missed events, unless they are kept.
func (s *subscriberConn) gap() {
	s.mu.Lock()
	gaps := make([]broker.Delivery, 0, len(s.topics))
	for t := range s.topics {
		if t.Pattern || !s.b.Kept(t.Name) {
			gaps = append(gaps, broker.Delivery{Topic: t, Gap: true})
		}
	}
	s.mu.Unlock()
	s.telling.Lock()
	defer s.telling.Unlock()
	if len(gaps) > 0 && !s.closed {
		s.deliver(gaps)
	}
}
