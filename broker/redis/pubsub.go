package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/juggler-go/juggler/broker"
)

// deliveryBytes bounds what waits for a subscriber's callback. When it is
// full, the feed waits, then the server, which drops the connection at its
// own bound (client-output-buffer-limit pubsub): the subscribers get a Gap.
const deliveryBytes = 16 << 20

// Publish implements [broker.PubSub].
func (b *Broker) Publish(ctx context.Context, e *broker.Event) error {
	var errs [1]error
	b.PublishBatch(ctx, []broker.Event{*e}, errs[:])
	return errs[0]
}

// PublishBatch implements [broker.BatchPublisher].
func (b *Broker) PublishBatch(ctx context.Context, events []broker.Event, errs []error) {
	b.publishAll(ctx, events, nil, errs)
}

// publishAll publishes events. pubs is what they have besides; nil: none has anything.
func (b *Broker) publishAll(ctx context.Context, events []broker.Event, pubs []*publication, errs []error) {
	lanes := b.publish(ctx, events, pubs, errs)
	b.detour(ctx, events, errs, lanes)
	for i, err := range errs {
		if err == nil {
			b.stats.published.Add(1)
		}
		errs[i] = wrap("publish on", events[i].Channel, err)
	}
}

// Part implements [broker.Divided]: lanes.
func (b *Broker) Part(channel string) int { return b.keys.laneOf(channel) }

// publish publishes events, and returns through which lanes.
func (b *Broker) publish(ctx context.Context, events []broker.Event, pubs []*publication, errs []error) []*lane {
	w := newWaiter(len(events))
	ops := make([]op, len(events))
	lanes := make([]*lane, len(events))
	bundle := bundle{size: len(events)}
	for i := range events {
		ops[i].waiter = w
		if pubs != nil {
			ops[i].publication = pubs[i]
		}
		if lanes[i] = b.prepareEvent(&ops[i], &events[i]); lanes[i] != nil {
			bundle.add(lanes[i], &ops[i])
		}
	}
	bundle.submit()
	if len(events) == 0 {
		return nil
	}
	waited := w.wait(ctx)
	for i := range events {
		errs[i] = waited
		if waited == nil {
			errs[i] = ops[i].err
		}
	}
	return lanes
}

// detour publishes through another master what was certainly not published, if there is
// one.
func (b *Broker) detour(ctx context.Context, events []broker.Event, errs []error, lanes []*lane) {
	var again []int
	var left []broker.Event
	for i, err := range errs {
		if errors.Is(err, broker.ErrUnavailable) && !b.Kept(events[i].Channel) && b.eventLane(events[i].Channel) != lanes[i] {
			again, left = append(again, i), append(left, events[i])
		}
	}
	if len(left) == 0 {
		return
	}
	outcomes := make([]error, len(left))
	b.publish(ctx, left, nil, outcomes)
	for k, i := range again {
		errs[i] = outcomes[k]
	}
}

// prepareEvent makes o publish e and returns through which lane: for a channel
// always the same connection, which keeps the order. nil: o is finished.
func (b *Broker) prepareEvent(o *op, e *broker.Event) *lane {
	l := b.eventLane(e.Channel)
	switch {
	case e.Channel == "":
		o.Finish(errors.New("the channel is empty"))
		return nil
	case l == nil:
		o.Finish(broker.ErrClosed)
		return nil
	}
	o.kind, o.uri, o.value = opEvent, b.keys.eventChannel(e.Channel), encodeEvent(e)
	return l
}

// eventLane returns the lane through which an event goes; nil: the broker is
// closed. Classic channels of a cluster need no master in particular, unless their
// events are kept: while the usual one is out of reach another one takes its place, the
// same for all, until it is stable again: then all events that went the other way have
// arrived, and none is overtaken.
func (b *Broker) eventLane(channel string) *lane {
	index := b.keys.laneOf(channel)
	usual := b.lane(index)
	if usual == nil || usual.writer.Stable() || b.keys.sharded || !b.config.cluster || b.Kept(channel) {
		return usual
	}
	for i := range b.keys.tags {
		other := b.lane((index + i) % len(b.keys.tags))
		if other != nil && !b.view.SameMaster(usual.slot, other.slot) && other.writer.Stable() {
			return other
		}
	}
	return usual
}

// subscriberConn is a subscriber's hold on the broker.
type subscriberConn struct {
	broker *Broker
	box    *mailbox[addressed]
	wanted []broker.Delivery // scratch of deliver

	mu     sync.Mutex // guards the following
	topics map[broker.Topic]*subscription
	closed bool

	closeOnce sync.Once
}

// A subscription is a topic of a subscriber. It listens to that of a channel; for those
// of patterns others listen.
type subscription struct {
	conn  *subscriberConn
	topic broker.Topic
}

// addressed is a delivery on its way to a subscription.
type addressed struct {
	to *subscription
	delivery
}

// OpenSubscriber implements [broker.PubSub].
func (b *Broker) OpenSubscriber(_ context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	s := &subscriberConn{broker: b, topics: map[broker.Topic]*subscription{}}
	s.box = newMailbox(deliveryBytes, func(batch []addressed) { s.deliver(batch, deliver) })
	if err := b.register(s); err != nil {
		return nil, wrap("open", "subscriber", err)
	}
	s.box.start()
	return s, nil
}

// check says what is wrong with a topic.
func (b *Broker) check(t broker.Topic) error {
	switch {
	case t.Name == "":
		return errors.New("the name is empty")
	case t.Pattern && b.keys.sharded:
		return fmt.Errorf("a pattern, and the broker uses sharded channels: %w", errors.ErrUnsupported)
	}
	return nil
}

// Subscribe implements [broker.SubscriberConn].
func (s *subscriberConn) Subscribe(ctx context.Context, t broker.Topic) error {
	_, err := s.subscribe(ctx, t)
	return wrap("subscribe", t.Name, err)
}

// SubscribeKept implements [broker.HistorySubscriber].
func (s *subscriberConn) SubscribeKept(ctx context.Context, channel string) (broker.Position, error) {
	start, err := s.subscribe(ctx, broker.Topic{Name: channel})
	return start, wrap("subscribe", channel, err)
}

// subscribe returns where a channel stood whose events are kept, else zero.
func (s *subscriberConn) subscribe(ctx context.Context, t broker.Topic) (start broker.Position, err error) {
	if err = s.broker.check(t); err != nil {
		return start, err
	}
	n := &subscription{s, t}
	s.mu.Lock()
	closed, known := s.closed, s.topics[t]
	if !closed && known == nil {
		s.topics[t] = n
	}
	s.mu.Unlock()
	if closed {
		return start, broker.ErrClosed
	}
	if known != nil {
		return known.stands(), nil
	}
	if start, err = n.begin(ctx); err != nil {
		s.remove(t)
		return start, err
	}
	s.mu.Lock()
	closed = s.closed
	s.mu.Unlock()
	if closed { // meanwhile, and Close did not know of it
		n.end()
		return start, broker.ErrClosed
	}
	return start, nil
}

// Unsubscribe implements [broker.SubscriberConn].
func (s *subscriberConn) Unsubscribe(_ context.Context, t broker.Topic) error {
	if err := s.broker.check(t); err != nil {
		return wrap("unsubscribe", t.Name, err)
	}
	gone, closed := s.remove(t)
	if closed {
		return wrap("unsubscribe", t.Name, broker.ErrClosed)
	}
	if gone != nil {
		gone.end()
	}
	return nil
}

func (s *subscriberConn) remove(t broker.Topic) (gone *subscription, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone = s.topics[t]
	delete(s.topics, t)
	return gone, s.closed
}

// subject returns what the server knows the channel of n by.
func (n *subscription) subject() subject {
	keys := n.conn.broker.keys
	return subject{keys.kind(), keys.eventChannel(n.topic.Name)}
}

// begin returns nil once the server has confirmed that n gets events, and where the channel
// stood before, if its events are kept.
func (n *subscription) begin(ctx context.Context) (start broker.Position, err error) {
	switch b := n.conn.broker; {
	case n.topic.Pattern:
		err = b.patterns.subscribe(ctx, n)
	case b.Kept(n.topic.Name):
		return b.hub.subscribeKept(ctx, n.subject(), n)
	default:
		err = b.hub.subscribe(ctx, n.subject(), n)
	}
	return start, err
}

// stands returns where the channel of n stands, if its events are kept.
func (n *subscription) stands() broker.Position {
	if n.topic.Pattern {
		return broker.Position{}
	}
	return n.conn.broker.hub.stands(n.subject())
}

func (n *subscription) end() {
	if n.topic.Pattern {
		n.conn.broker.patterns.unsubscribe(n)
	} else {
		n.conn.broker.hub.unsubscribe(n.subject(), n)
	}
}

// message implements [listener].
func (n *subscription) message(_ subject, name, payload string) {
	e, err := decodeEvent([]byte(payload))
	if err != nil {
		n.conn.broker.corrupt(name, err)
		return
	}
	e.Channel = n.topic.Name
	n.put(delivery{event: e})
}

// put hands a delivery to the callback of n's subscriber. It waits while that has too much.
func (n *subscription) put(d delivery) {
	n.conn.box.put(addressed{n, d}, 21+len(d.event.Headers)+len(d.event.Args)+len(n.topic.Name))
}

// gap implements [listener].
func (n *subscription) gap(subject) {
	n.put(delivery{gap: true})
}

// deliver calls the callback with what is for subscriptions that have not ended.
func (s *subscriberConn) deliver(batch []addressed, deliver func([]broker.Delivery)) {
	s.mu.Lock()
	s.wanted = s.wanted[:0]
	for i := range batch {
		a := &batch[i]
		if s.topics[a.to.topic] != a.to {
			continue
		}
		s.wanted = append(s.wanted, broker.Delivery{Topic: a.to.topic, Gap: a.gap, Pos: a.pos, Event: a.event})
	}
	closed := s.closed
	s.mu.Unlock()
	if len(s.wanted) > 0 && !closed {
		deliver(s.wanted)
		clear(s.wanted)
	}
}

// Close implements [broker.SubscriberConn].
func (s *subscriberConn) Close() error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		topics := s.topics
		s.topics = map[broker.Topic]*subscription{}
		s.mu.Unlock()
		for _, n := range topics {
			n.end()
		}
		s.box.stop()
		s.broker.unregister(s)
	})
	return nil
}
