package memory

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/glob"
)

var errEmptyName = errors.New("memory: the name of a channel or topic is empty")

// topics is the pub-sub side of a Broker. A publication reads it under the
// lock and calls its subscribers after that.
//
// Lists of subscribers that were read under the lock are used without it.
// So one may be appended to, which no reader sees, but nothing in it may be
// changed: removing makes a new list.
type topics struct {
	mu          sync.RWMutex // guards the following, and the sets of subscriberConn
	closed      bool
	changes     uint64 // of the sets below, from 1 on
	subscribers map[*subscriberConn]struct{}
	exact       map[string][]*subscriberConn
	patterns    glob.Set[[]*subscriberConn]

	scratch sync.Pool // of *matches
}

// matches is the subscriptions that one or more events matched, and what is
// being delivered.
type matches struct {
	found []match
	batch []broker.Delivery

	logs  []*eventLog // what was published on channels that are kept is to be delivered
	items []delivery  // what is delivered of one of them

	channel string // that of items
}

type match struct {
	event       *broker.Event
	kept        *delivery // in place of event, if it is kept
	topic       broker.Topic
	subscribers []*subscriberConn
}

// maxKeptMatches is the largest scratch space that is kept for further
// publications.
const maxKeptMatches = 256

func (t *topics) init() {
	t.changes = 1
	t.subscribers = make(map[*subscriberConn]struct{})
	t.exact = make(map[string][]*subscriberConn)
	t.scratch.New = func() any { return new(matches) }
}

// Publish implements [broker.PubSub]. It delivers the event to all subscribers
// before it returns.
func (b *Broker) Publish(_ context.Context, e *broker.Event) error {
	if b.history.keeps(e.Channel) {
		return b.publishKept(e)
	}
	t := &b.topics
	m := t.scratch.Get().(*matches)
	defer t.release(m)
	t.mu.RLock()
	err := t.match(e, m)
	t.mu.RUnlock()
	m.deliver()
	return err
}

// PublishBatch implements [broker.BatchPublisher]. Events in a row for one
// subscriber are delivered in one batch.
func (b *Broker) PublishBatch(_ context.Context, events []broker.Event, errs []error) {
	t := &b.topics
	m := t.scratch.Get().(*matches)
	defer t.release(m)
	kept := 0
	t.mu.RLock()
	for i := range events {
		if b.history.keeps(events[i].Channel) {
			kept++
		} else {
			errs[i] = t.match(&events[i], m)
		}
	}
	t.mu.RUnlock()
	m.deliver()
	if kept == 0 {
		return
	}
	m.empty()
	now := b.beginKeeping()
	for i := range events {
		if e := &events[i]; kept == len(events) || b.history.keeps(e.Channel) {
			errs[i] = b.keep(e, "", now, m).Err
		}
	}
	b.endKeeping(m)
	b.deliverLogs(m)
}

// match adds the subscriptions to the channel of e to m. The caller holds mu.
func (t *topics) match(e *broker.Event, m *matches) error {
	if e.Channel == "" {
		return errEmptyName
	}
	if t.closed {
		return broker.ErrClosed
	}
	t.find(e.Channel, e, nil, m)
	return nil
}

// find adds an event to m for each topic of channel. The caller holds mu.
func (t *topics) find(channel string, e *broker.Event, kept *delivery, m *matches) {
	if subscribers := t.exact[channel]; subscribers != nil {
		m.found = append(m.found, match{e, kept, broker.Topic{Name: channel}, subscribers})
	}
	if hidden(channel) {
		return
	}
	for p := range t.patterns.Matching(channel) {
		m.found = append(m.found, match{e, kept, broker.Topic{Name: p.Name, Pattern: true}, p.Value})
	}
}

// reach reports whether anybody is subscribed to a channel. The caller holds mu.
func (t *topics) reach(channel string) bool {
	if t.exact[channel] != nil {
		return true
	}
	if hidden(channel) {
		return false
	}
	for range t.patterns.Matching(channel) {
		return true
	}
	return false
}

// hidden reports whether no pattern matches channel, whatever it is.
func hidden(channel string) bool {
	_, own := broker.IsOwn(channel)
	return own
}

// release gives m back, without anything that it refers to.
func (t *topics) release(m *matches) {
	if cap(m.found) > maxKeptMatches || cap(m.batch) > maxKeptMatches || cap(m.items) > maxKeptMatches || cap(m.logs) > maxKeptMatches {
		return
	}
	m.empty()
	if len(m.logs) > 0 {
		clear(m.logs)
		m.logs = m.logs[:0]
	}
	t.scratch.Put(m)
}

// empty forgets what was delivered.
func (m *matches) empty() {
	clear(m.found)
	clear(m.batch)
	m.found, m.batch = m.found[:0], m.batch[:0]
	if len(m.items) > 0 {
		clear(m.items)
		m.items = m.items[:0]
	}
}

// deliver hands the events to all that match them. A subscriber that several
// in a row are for gets them in one batch.
func (m *matches) deliver() {
	var to *subscriberConn
	for _, found := range m.found {
		for _, s := range found.subscribers {
			if s != to {
				m.flush(to)
				to = s
			}
			m.batch = append(m.batch, broker.Delivery{Topic: found.topic})
			if d := &m.batch[len(m.batch)-1]; found.kept != nil {
				found.kept.fill(d, m.channel)
			} else {
				d.Event = *found.event
			}
		}
	}
	m.flush(to)
}

func (m *matches) flush(to *subscriberConn) {
	if to != nil {
		to.receive(m.batch)
	}
	clear(m.batch)
	m.batch = m.batch[:0]
}

// add subscribes s. The caller holds mu.
func (t *topics) add(s *subscriberConn, topic broker.Topic) {
	t.changes++
	if !topic.Pattern {
		s.exact[topic.Name] = struct{}{}
		t.exact[topic.Name] = append(t.exact[topic.Name], s)
		return
	}
	s.patterns[topic.Name] = struct{}{}
	p := t.patterns.Add(topic.Name)
	p.Value = append(p.Value, s)
}

// removeExact unsubscribes s. The caller holds mu.
func (t *topics) removeExact(s *subscriberConn, channel string) {
	t.changes++
	delete(s.exact, channel)
	if rest := without(t.exact[channel], s); rest != nil {
		t.exact[channel] = rest
	} else {
		delete(t.exact, channel)
	}
}

// removePattern unsubscribes s. The caller holds mu.
func (t *topics) removePattern(s *subscriberConn, name string) {
	t.changes++
	delete(s.patterns, name)
	p := t.patterns.Get(name)
	if p.Value = without(p.Value, s); p.Value == nil {
		t.patterns.Remove(p)
	}
}

// without returns a new list that lacks s, nil if nothing else is in it.
func without(list []*subscriberConn, s *subscriberConn) []*subscriberConn {
	if len(list) == 1 {
		return nil
	}
	i := slices.Index(list, s)
	return slices.Concat(list[:i], list[i+1:])
}

// close closes the connections of all subscribers.
func (t *topics) close() {
	t.mu.Lock()
	t.closed = true
	subscribers := make([]*subscriberConn, 0, len(t.subscribers))
	for s := range t.subscribers {
		subscribers = append(subscribers, s)
	}
	t.mu.Unlock()
	for _, s := range subscribers {
		s.Close()
	}
}
