package memory

import (
	"context"
	"math"
	"runtime"
	"time"

	"github.com/juggler-go/juggler/broker"
)

var (
	_ broker.History           = (*Broker)(nil)
	_ broker.HistorySubscriber = (*subscriberConn)(nil)
)

// What a page holds at most.
const (
	maxPage      = 1000
	maxPageBytes = 1 << 20
)

// maxForOthers is how many events of others a publisher delivers before it leaves the rest
// to a goroutine.
const maxForOthers = 256

// maxYields is how often a publisher leaves the processor to who delivers its event.
const maxYields = 1000

// Kept implements [broker.History].
func (b *Broker) Kept(channel string) bool { return b.history.keeps(channel) }

// PublishKept implements [broker.History].
func (b *Broker) PublishKept(ctx context.Context, events []broker.Publication, done []broker.Published) {
	kept := 0
	for i := range events {
		if e := &events[i].Event; b.history.keeps(e.Channel) {
			kept++
		} else {
			done[i] = broker.Published{Err: b.Publish(ctx, e)}
		}
	}
	if kept == 0 {
		return
	}
	m := b.topics.scratch.Get().(*matches)
	defer b.topics.release(m)
	now := b.beginKeeping()
	for i := range events {
		if p := &events[i]; kept == len(events) || b.history.keeps(p.Event.Channel) {
			done[i] = b.keep(&p.Event, p.Key, now, m)
		}
	}
	b.endKeeping(m)
	b.deliverLogs(m)
}

// publishKept is Publish on a channel that a rule keeps.
func (b *Broker) publishKept(e *broker.Event) error {
	if e.Channel == "" {
		return errEmptyName
	}
	l, done := b.history.add(e, "", b.beginKeeping(), &b.topics)
	if l == nil { // nothing is to be delivered, which needs no scratch space
		b.unlockKept()
		return done.Err
	}
	m := b.topics.scratch.Get().(*matches)
	defer b.topics.release(m)
	m.logs = append(m.logs, l)
	b.endKeeping(m)
	b.deliverLogs(m)
	return done.Err
}

// beginKeeping begins what endKeeping ends, for all events that are published together: a
// lock and a look at the clock for each would cost as much as to keep it. Nothing may wait
// in between.
func (b *Broker) beginKeeping() (now time.Duration) {
	b.history.mu.Lock()
	b.topics.mu.RLock()
	return b.history.now()
}

// endKeeping takes what is to be delivered first, for deliverLogs, while it has the locks.
func (b *Broker) endKeeping(m *matches) {
	if len(m.logs) > 0 && !m.logs[0].delivering {
		m.logs[0].delivering = true
		b.move(m.logs[0], m)
	}
	b.unlockKept()
}

// unlockKept gives back what beginKeeping has locked.
func (b *Broker) unlockKept() {
	b.topics.mu.RUnlock()
	b.history.mu.Unlock()
}

// keep keeps an event, and notes in m if it is to be delivered.
func (b *Broker) keep(e *broker.Event, key string, now time.Duration, m *matches) broker.Published {
	if e.Channel == "" {
		return broker.Published{Err: errEmptyName}
	}
	l, done := b.history.add(e, key, now, &b.topics)
	if n := len(m.logs); l != nil && (n == 0 || m.logs[n-1] != l) {
		m.logs = append(m.logs, l)
	}
	return done
}

// deliverLogs delivers what waits in the logs of m, of which endKeeping may have taken
// something.
func (b *Broker) deliverLogs(m *matches) {
	for _, l := range m.logs {
		if len(m.items) > 0 {
			b.deliverPending(l, m, maxForOthers)
		} else {
			b.deliverLog(l, m, maxForOthers)
		}
	}
}

// deliverLog delivers what waits in l, in its order, unless somebody else is about it, who
// goes on with what is there now. To that one it leaves the processor for a moment if much
// waits: it cannot wait itself, as it may be called by the other one, from a callback.
func (b *Broker) deliverLog(l *eventLog, m *matches, most int) {
	h := &b.history
	h.mu.Lock()
	for yields := 0; l.delivering; yields++ {
		crowded := len(l.pending) > maxPending/4 && yields < maxYields
		h.mu.Unlock()
		if !crowded {
			return
		}
		runtime.Gosched()
		h.mu.Lock()
	}
	l.delivering = true
	h.mu.Unlock()
	b.deliverPending(l, m, most)
}

// deliverPending delivers what waits in l, until nothing does; after most events it leaves
// the rest to a goroutine. The caller has set l.delivering, and may have taken something.
func (b *Broker) deliverPending(l *eventLog, m *matches, most int) {
	h := &b.history
	ended := false
	defer func() {
		if !ended { // a callback panics: the rest comes with the next event
			h.mu.Lock()
			l.delivering = false
			h.mu.Unlock()
		}
	}()
	for count := 0; len(m.items) > 0 || b.take(l, m); {
		m.deliver()
		count += len(m.items)
		m.empty()
		if count >= most && b.handOver(l) {
			break
		}
	}
	ended = true
}

// take moves what waits in l to m, for those who are subscribed now. It reports false and
// ends the delivering if nothing does.
func (b *Broker) take(l *eventLog, m *matches) bool {
	h, t := &b.history, &b.topics
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(l.pending) == 0 || h.closed {
		l.delivering = false
		return false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	b.move(l, m)
	return true
}

// move is take for one who has the locks, and set l.delivering.
func (b *Broker) move(l *eventLog, m *matches) {
	l.pending, m.items, l.bytes = m.items[:0], l.pending, 0
	l.delivered = m.items[len(m.items)-1].pos
	m.channel = l.channel
	b.topics.find(l.channel, nil, &m.items[0], m)
	topics := len(m.found)
	for i := 1; i < len(m.items) && topics > 0; i++ {
		for _, found := range m.found[:topics] {
			found.kept = &m.items[i]
			m.found = append(m.found, found)
		}
	}
}

// handOver has a goroutine deliver what waits in l, if something does.
func (b *Broker) handOver(l *eventLog) bool {
	h := &b.history
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(l.pending) == 0 || h.closed {
		return false
	}
	h.running.Go(func() {
		m := b.topics.scratch.Get().(*matches)
		defer b.topics.release(m)
		b.deliverPending(l, m, math.MaxInt)
	})
	return true
}

// ReadKept implements [broker.History]. Payloads are those that the broker keeps itself.
func (b *Broker) ReadKept(_ context.Context, reads []broker.Read, pages []broker.Page) {
	h := &b.history
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range reads {
		r := &reads[i]
		pages[i] = broker.Page{}
		if h.closed {
			pages[i].Err = broker.ErrClosed
		} else if l := h.logs[r.Channel]; l != nil {
			h.expire(l, now)
			pages[i] = l.page(r)
		}
	}
}

// page answers a read.
func (l *eventLog) page(r *broker.Read) broker.Page {
	p := broker.Page{Top: l.last}
	from, proven := l.count-min(max(r.Last, 0), l.count), r.Last > 0
	if !r.After.IsZero() {
		from, proven = l.after(r.After)
	}
	if !proven {
		return p
	}
	p.Proven = true
	most, bytes := bounded(r.Max, maxPage), int64(bounded(r.MaxBytes, maxPageBytes))
	for i := from; i < l.count && len(p.Events) < most; i++ {
		e := l.at(i)
		if bytes -= e.size(); bytes < 0 && i > from {
			break
		}
		p.Events = append(p.Events, broker.KeptEvent{Pos: e.pos, Event: e.event(l.channel)})
	}
	return p
}

// bounded returns what was asked for, but not more than most, which 0 stands for.
func bounded(asked, most int) int {
	if asked <= 0 {
		return most
	}
	return min(asked, most)
}

// SubscribeKept implements [broker.HistorySubscriber].
func (s *subscriberConn) SubscribeKept(ctx context.Context, channel string) (broker.Position, error) {
	h := s.history
	if channel == "" || !h.keeps(channel) {
		return broker.Position{}, s.Subscribe(ctx, broker.Topic{Name: channel})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return broker.Position{}, broker.ErrClosed
	}
	now := h.now()
	l := h.log(channel, now)
	h.live(l, now)
	if l.shelf == &h.idle {
		h.place(l, &h.idle, now)
	}
	h.makeRoom(l, now)
	return l.delivered, s.Subscribe(ctx, broker.Topic{Name: channel})
}
