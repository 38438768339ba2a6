package jugglertest

import (
	"context"
	"fmt"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/kept"
)

var (
	_ broker.History           = (*Broker)(nil)
	_ broker.HistorySubscriber = (*subscriberConn)(nil)
)

// Kept implements broker.History.
func (b *Broker) Kept(channel string) bool {
	h, ok := b.roles.(broker.History)
	return ok && h.Kept(channel)
}

// PublishKept implements broker.History.
func (b *Broker) PublishKept(ctx context.Context, events []broker.Publication, done []broker.Published) {
	h, ok := b.roles.(broker.History)
	err := b.err("publish")
	if ok && err == nil {
		h.PublishKept(ctx, events, done)
		return
	}
	for i := range events {
		done[i] = broker.Published{Err: err}
		if err == nil {
			done[i].Err = b.roles.Publish(ctx, &events[i].Event)
		}
	}
}

// ReadKept implements broker.History.
func (b *Broker) ReadKept(ctx context.Context, reads []broker.Read, pages []broker.Page) {
	h, ok := b.roles.(broker.History)
	err := b.err("read history")
	if ok && err == nil {
		h.ReadKept(ctx, reads, pages)
		return
	}
	for i := range pages {
		pages[i] = broker.Page{Err: err}
	}
}

// SubscribeKept implements broker.HistorySubscriber.
func (s *subscriberConn) SubscribeKept(ctx context.Context, channel string) (broker.Position, error) {
	t := broker.Topic{Name: channel}
	h, ok := s.SubscriberConn.(broker.HistorySubscriber)
	if !ok {
		return broker.Position{}, s.Subscribe(ctx, t)
	}
	if err := s.b.err("subscribe " + channel); err != nil {
		return broker.Position{}, err
	}
	pos, err := h.SubscribeKept(ctx, channel)
	if err == nil {
		s.note(t)
	}
	return pos, err
}

// Miss makes the next n events of a channel reach nobody who is subscribed to it by its
// name now: these learn afterwards, by a gap, that they have missed something. The events
// are kept all the same if the channel has a rule.
func (b *Broker) Miss(channel string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subscribers {
		s.miss(channel, n)
	}
}

func (s *subscriberConn) miss(channel string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.topics[broker.Topic{Name: channel}]; !ok || n <= 0 {
		return
	}
	if s.missed == nil {
		s.missed = make(map[string]int)
	}
	s.missed[channel] = n
	s.missing.Store(true)
}

// receive delivers what is not to be missed.
func (s *subscriberConn) receive(batch []broker.Delivery) {
	if s.missing.Load() {
		if batch = s.withoutMissed(batch); len(batch) == 0 {
			return
		}
	}
	s.deliver(batch)
}

// withoutMissed returns the deliveries that are not to be missed, and a gap in place of the
// last one that is.
func (s *subscriberConn) withoutMissed(batch []broker.Delivery) []broker.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rest []broker.Delivery
	for _, d := range batch {
		left := s.missed[d.Topic.Name]
		switch {
		case d.Topic.Pattern || d.Gap || left == 0:
			rest = append(rest, d)
		case left > 1:
			s.missed[d.Topic.Name] = left - 1
		default:
			delete(s.missed, d.Topic.Name)
			rest = append(rest, broker.Delivery{Topic: d.Topic, Gap: true, Pos: d.Pos})
		}
	}
	s.missing.Store(len(s.missed) > 0)
	return rest
}

// Forget drops what is kept of a channel, as if its time were over: who comes back with a
// position from before the last event is told that it cannot be recovered.
//
// It panics if the broker is not an embedded one; so does [Broker.Rollback].
func (b *Broker) Forget(channel string) {
	b.loser("Forget").LoseKept(kept.Loss{Channel: channel})
}

// Rollback loses the newest n events that are kept of a channel, whoever has received them,
// as happens when a replica of Redis takes over that did not have them yet: their numbers
// are given out again, to other events. Who is subscribed learns by a gap that something is
// lost.
func (b *Broker) Rollback(channel string, n int) {
	if n > 0 {
		b.loser("Rollback").LoseKept(kept.Loss{Channel: channel, Newest: n})
	}
}

func (b *Broker) loser(fault string) kept.Loser {
	l, ok := b.roles.(kept.Loser)
	if !ok {
		panic(fmt.Sprintf("jugglertest: %s: the broker %T is not an embedded one", fault, b.roles))
	}
	return l
}
