package redis

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/oklog/ulid/v2"
)

// subscribeKept is subscribe for a channel whose events are kept. It returns where the
// channel stood before, which is read before the server is asked to subscribe; a channel
// that others listen to stands where its deliveries do.
func (h *hub) subscribeKept(ctx context.Context, s subject, l *subscription) (broker.Position, error) {
	start, err := h.awaitKept(ctx, s, l)
	if err != nil {
		h.unsubscribe(s, l)
	}
	return start, err
}

func (h *hub) awaitKept(ctx context.Context, s subject, l *subscription) (start broker.Position, err error) {
	h.mu.Lock()
	t, err := h.topic(s)
	if err != nil {
		h.mu.Unlock()
		return start, err
	}
	if t.chain == nil && t.state != subscribed && t.state != subscribing && !t.missed {
		t.chain = &chain{topic: t, channel: l.topic.Name}
	}
	c, wait := t.chain, t.add(l)
	isPlaced := t.placed()
	if c != nil {
		start = c.last
	}
	h.mu.Unlock()
	if !isPlaced {
		if start, err = h.place(ctx, c); err != nil {
			return start, err
		}
	}
	t.feed.flush()
	if wait == nil {
		return start, nil
	}
	return start, awaitAnswer(ctx, wait)
}

// placed reports whether t may be subscribed to. hub.mu is held.
func (t *topic) placed() bool { return t.chain == nil || t.chain.at != unplaced }

// stands returns where the deliveries of a channel stand, if its events are kept.
func (h *hub) stands(s subject) (stands broker.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[s]; t != nil && t.chain != nil {
		stands = t.chain.last
	}
	return stands
}

// keptMessage handles an event of a channel whose events are kept, or that was kept by who
// published it.
func (f *feed) keptMessage(s subject, payload string) {
	k, err := decodeMessage(payload)
	if err != nil {
		f.hub.broker.corrupt(s.name, err)
		return
	}
	e := keptEvent{keptValue: k, plain: !isKept(payload)}
	f.hub.hand(f.hub.arrived(f, s, e))
}

// A handful is deliveries for listeners.
type handful struct {
	channel    string
	listeners  []listener
	deliveries []delivery
}

// arrived has an event come to its chain. It returns what is to be delivered at once.
func (h *hub) arrived(f *feed, s subject, e keptEvent) (now handful) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[s]
	if t == nil || t.state != subscribed {
		return now
	}
	c := t.chain
	if c == nil {
		if c = h.chainOf(t, &e); c == nil {
			return now
		}
	}
	e.event.Channel = c.channel
	now = handful{channel: c.channel, listeners: t.listeners}
	if e.plain && !h.broker.Kept(c.channel) { // the rule was taken away
		t.chain = nil
		now.deliveries = []delivery{{gap: true}, {event: e.event}}
		return now
	}
	if e.plain {
		h.broker.config.logger.Warn("a publisher knows no rule that keeps the events of a channel: its event is not kept", "channel", c.channel, "event", ulid.ULID(e.event.ID))
	}
	var ask bool
	c.lively = true
	now.deliveries, ask = c.arrive(e, make([]delivery, 0, 1))
	if ask {
		h.healer(c).broken(c)
	}
	f.handing = c
	return now
}

// chainOf makes the chain of a topic that was subscribed to before there was a rule here:
// it begins with e. mu is held.
func (h *hub) chainOf(t *topic, e *keptEvent) *chain {
	l, ok := t.listeners[0].(*subscription)
	if !ok {
		return nil
	}
	c := &chain{topic: t, channel: l.topic.Name}
	c.begin(e.predecessor())
	t.chain = c
	return c
}

// hand delivers. It waits for listeners that are slow.
func (h *hub) hand(m handful) {
	gaps := 0
	for i := range m.deliveries {
		if m.deliveries[i].gap {
			gaps++
		}
		for _, l := range m.listeners {
			l.(*subscription).put(m.deliveries[i])
		}
	}
	if gaps > 0 {
		h.broker.stats.gaps.Add(int64(gaps * len(m.listeners)))
		h.broker.config.logger.Warn("kept events may have been missed: each subscription is told", "channel", m.channel)
	}
}

// missed notes that events of a topic may have been missed. Of those that are kept the log
// is asked; it returns who must be told of a gap. mu is held.
func (h *hub) missed(t *topic) []listener {
	if t.chain == nil {
		return t.listeners
	}
	h.doubtChain(t.chain)
	return nil
}

// doubt notes that kept events of some topics may have been missed. mu is held.
func (h *hub) doubt(of func(*topic) bool) {
	if h.closed {
		return
	}
	for _, t := range h.topics {
		if t.chain != nil && t.state == subscribed && of(t) {
			h.doubtChain(t.chain)
		}
	}
}

// doubtChain has the log asked whether it has more, unless an event comes before. mu is
// held.
func (h *hub) doubtChain(c *chain) {
	if c.at == unplaced {
		return
	}
	if c.doubt(); !c.healing && !c.queued {
		h.healer(c).doubtful(c)
	}
}

// doubtLane notes that another server may hold the logs of a lane, or certainly does: what
// was read there may not have been all.
func (h *hub) doubtLane(lane int, moved bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	isHere := func(t *topic) bool { return h.broker.keys.laneOf(t.chain.channel) == lane }
	for _, t := range h.topics {
		if moved && t.chain != nil && isHere(t) { // also one that is not subscribed again yet
			t.chain.moved = true
		}
	}
	h.doubt(isHere)
}

// idleCheck is how often the chains of classic channels in a cluster are asked for that
// got nothing: there events can be lost between two servers without anybody's notice.
const idleCheck = 30 * time.Second

// checkIdle has those chains asked for, if the last time was so long ago.
func (f *feed) checkIdle(pause time.Duration) {
	h := f.hub
	if f.lane != classicFeed || !h.broker.config.cluster {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(f.idleChecked) < pause {
		return
	}
	f.idleChecked = time.Now()
	h.doubt(func(t *topic) bool {
		quiet := !t.chain.lively
		t.chain.lively = false
		return quiet
	})
}
