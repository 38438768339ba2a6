package client

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// topics are the subscriptions of a client. Any number of them share one
// subscription on the wire for each channel or pattern, a topic.
//
// What a topic should be on the wire follows from whether it has
// subscriptions, what it is from the answers of the server; settle sends the
// one request that brings the two together, and runs again at its answer.
type topics struct {
	c *Client

	mu       sync.Mutex // guards the following and the fields of every topic
	exact    map[string]*topic
	patterns map[string]*topic
	conn     *conn // the current one; nil while there is none
	ended    error
}

type topic struct {
	name    string
	pattern bool

	subs   []*Subscription
	on     *conn // to which wire refers; nil: to none
	wire   wireState
	missed bool // events may have been missed: the next confirmation is a gap

	// A handover in three steps, each with what may come twice meanwhile.
	recent   *idSet    // while it is prepared: what on delivered
	handover *handover // while the topic moves from one live connection to another
	moved    *idSet    // shortly afterwards: what the other connection delivered
}

type wireState uint8

const (
	absent wireState = iota
	subscribing
	subscribed
	unsubscribing
)

// handover is how a topic moves without loss: the new connection subscribes,
// and what it brings is held back; the old one goes on delivering until its
// UNSB is acknowledged. Then what was held back follows, and whatever the new
// one brings, without what the old one had brought too.
type handover struct {
	from *conn
	seen *idSet // publications that from delivered since shortly before
	held []Event
}

// idSet holds the ids that were added last, maxHeldEvents of them at least and
// twice as many at most.
type idSet struct{ young, old map[ID]struct{} }

func newIDSet() *idSet { return &idSet{young: make(map[ID]struct{})} }

func (s *idSet) add(id ID) {
	if id == (ID{}) { // of a juggler.0 publisher that gives none
		return
	}
	if len(s.young) == maxHeldEvents {
		s.young, s.old = make(map[ID]struct{}), s.young
	}
	s.young[id] = struct{}{}
}

func (s *idSet) has(id ID) bool {
	_, young := s.young[id]
	_, old := s.old[id]
	return young || old
}

const (
	// overlap is how long both connections stay subscribed, so that an event
	// that reached the new server is sure to have reached the old one too.
	overlap = 200 * time.Millisecond

	// straggle is how long after a handover an event may still arrive that the
	// old connection had brought already.
	straggle = 5 * time.Second

	// maxHeldEvents bounds handover.held; beyond, the handover ends with a gap.
	maxHeldEvents = 4096
)

func newTopics(c *Client) *topics {
	return &topics{c: c, exact: make(map[string]*topic), patterns: make(map[string]*topic)}
}

func (ts *topics) kind(pattern bool) map[string]*topic {
	if pattern {
		return ts.patterns
	}
	return ts.exact
}

// all is the list of all topics.
func (ts *topics) all() []*topic {
	return slices.AppendSeq(slices.Collect(maps.Values(ts.exact)), maps.Values(ts.patterns))
}

// add adds s and asks the server for its topic if that is not subscribed.
func (ts *topics) add(s *Subscription) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.ended != nil {
		s.close(ts.ended)
		return
	}
	t := ts.kind(s.pattern)[s.name]
	if t == nil {
		t = &topic{name: s.name, pattern: s.pattern, on: ts.conn}
		ts.kind(s.pattern)[s.name] = t
	}
	t.subs = append(t.subs, s)
	if t.wire == subscribed || t.handover != nil {
		s.confirm()
		return
	}
	ts.settle(t)
}

// remove ends s for the reason why.
func (ts *topics) remove(s *Subscription, why error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	s.close(why)
	t := ts.kind(s.pattern)[s.name]
	if t == nil {
		return
	}
	if i := slices.Index(t.subs, s); i >= 0 {
		t.subs = slices.Delete(t.subs, i, i+1)
		ts.settle(t)
	}
}

// settle brings the wire nearer to what t should be, with mu held.
func (ts *topics) settle(t *topic) {
	wanted := len(t.subs) > 0
	switch {
	case wanted && t.wire == absent && t.on != nil:
		queued, err := t.on.request(frame.Sub, t)
		if queued {
			t.wire = subscribing
		}
		if err != nil {
			ts.refused(t, err)
		}
	case !wanted && t.wire == subscribed && t.handover == nil:
		if queued, _ := t.on.request(frame.Unsb, t); queued { // no longer than the SUB was
			t.wire = unsubscribing
		}
	case !wanted && t.wire == absent && t.handover != nil:
		ts.finishHandover(t, false) // no subscription is left
	case !wanted && t.wire == absent:
		delete(ts.kind(t.pattern), t.name)
	}
	// Where request failed, the loss of the connection settles t.
}

// answered handles the answer of cn to a SUB or UNSB for t; err is nil for ACK.
func (ts *topics) answered(cn *conn, typ frame.Type, t *topic, err *Error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if h := t.handover; h != nil && cn == h.from {
		ts.finishHandover(t, false)
		return
	}
	if cn != t.on {
		return // of a connection that t has left
	}
	switch {
	case typ == frame.Unsb:
		if err != nil {
			ts.c.cfg.logger.Warn("cannot unsubscribe", "channel", t.name, "error", err)
		}
		t.wire = absent
		ts.settle(t)
	case err != nil:
		ts.refused(t, err)
	default:
		ts.confirmed(t)
	}
}

// confirmed handles the ACK of a SUB.
func (ts *topics) confirmed(t *topic) {
	t.wire = subscribed
	if t.missed {
		t.missed = false
		t.push(t.newGap(), nil)
	}
	for _, s := range t.subs {
		s.confirm()
	}
	if h := t.handover; h != nil {
		time.AfterFunc(overlap, func() { ts.leaveOld(t, h) })
	}
	ts.settle(t)
}

// refused handles the NACK of a SUB. It ends the subscriptions that were never
// confirmed; the others too, unless another attempt may succeed.
func (ts *topics) refused(t *topic, err *Error) {
	t.wire = absent
	const again = time.Second
	retry := err.Retryable() || err.Code >= CodeInternal
	t.subs = slices.DeleteFunc(t.subs, func(s *Subscription) bool {
		if s.confirmed && retry {
			return false
		}
		if s.confirmed {
			s.close(fmt.Errorf("juggler: subscribe %s: %w", t.name, err))
		} else {
			s.close(err) // Subscribe says what that is about
		}
		return true
	})
	if len(t.subs) > 0 {
		ts.c.cfg.logger.Warn("a subscription was refused, trying again", "channel", t.name, "error", err)
		time.AfterFunc(max(again, retryAfter(err))+rand.N(again), func() {
			ts.mu.Lock()
			defer ts.mu.Unlock()
			if len(t.subs) > 0 {
				ts.settle(t)
			}
		})
		return
	}
	ts.settle(t)
}

// leaveOld ends the subscription of t on the connection that it moves away from.
func (ts *topics) leaveOld(t *topic, h *handover) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.handover == h {
		h.from.request(frame.Unsb, t) // where that fails, its loss ends the handover
	}
}

// finishHandover ends the handover of t. From then on its new connection delivers.
func (ts *topics) finishHandover(t *topic, gap bool) {
	h := t.handover
	t.handover, t.moved = nil, h.seen
	time.AfterFunc(straggle, func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if t.moved == h.seen {
			t.moved = nil
		}
	})
	switch {
	case gap && t.wire == subscribed:
		t.push(t.newGap(), nil)
	case gap:
		t.missed = true
	}
	for _, e := range h.held {
		if e.Gap || !h.seen.has(e.ID) {
			t.push(e, nil)
		}
	}
	h.from.moved()
	ts.settle(t)
}

// prepare is called before the successor of the current connection is opened:
// an event may reach the client just before its SUB there and, as the broker
// may be about to deliver it still, once more just after.
func (ts *topics) prepare() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all() {
		t.recent = newIDSet()
	}
}

// adopt makes cn the connection of all topics and returns how many of them
// move there from another one that still delivers.
func (ts *topics) adopt(cn *conn) (moving int) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.conn = cn
	for _, t := range ts.all() {
		if t.handover != nil {
			ts.finishHandover(t, true) // the next move came before the end of the last
		}
		if t.on != nil && t.wire == subscribed && len(t.subs) > 0 {
			t.handover = &handover{from: t.on, seen: t.recent}
			if t.recent == nil { // subscribed after prepare
				t.handover.seen = newIDSet()
			}
			moving++
		}
		t.on, t.wire, t.recent = cn, absent, nil
		ts.settle(t)
	}
	return moving
}

// lost handles the loss of cn.
func (ts *topics) lost(cn *conn) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.conn == cn {
		ts.conn = nil
	}
	for _, t := range ts.all() {
		if h := t.handover; h != nil && (h.from == cn || t.on == cn) {
			ts.finishHandover(t, true)
		}
		if t.on == cn {
			t.on, t.wire, t.recent = nil, absent, nil
			t.missed = t.missed || slices.ContainsFunc(t.subs, func(s *Subscription) bool { return s.confirmed })
			ts.settle(t)
		}
	}
}

// end ends all subscriptions for the reason why.
func (ts *topics) end(why error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.ended = why
	for _, t := range ts.all() {
		for _, s := range t.subs {
			s.close(why)
		}
		t.subs = nil
	}
}

// event delivers an EVNT of cn.
func (ts *topics) event(cn *conn, f *frame.Frame) {
	name, pattern := f.Channel, len(f.Matched) > 0
	if pattern {
		name = f.Matched
	}
	ts.deliver(cn, name, pattern, f)
}

// gap delivers a GAP of cn.
func (ts *topics) gap(cn *conn, f *frame.Frame) {
	ts.deliver(cn, f.Channel, f.Pattern, f)
}

func (ts *topics) deliver(cn *conn, name []byte, pattern bool, f *frame.Frame) {
	ts.mu.Lock()
	t := ts.kind(pattern)[string(name)]
	if t == nil || len(t.subs) == 0 {
		ts.mu.Unlock()
		return // unsubscribed meanwhile
	}
	cn.full = cn.full[:0]
	h := t.handover
	switch {
	case h == nil && cn == t.on:
		if t.recent != nil {
			t.recent.add(f.Publication)
		}
		if t.moved != nil && t.moved.has(f.Publication) {
			break
		}
		cn.full = t.push(t.newEvent(f), cn.full)
	case h != nil && cn == h.from:
		h.seen.add(f.Publication)
		cn.full = t.push(t.newEvent(f), cn.full)
	case h != nil && cn == t.on:
		h.held = append(h.held, t.newEvent(f))
		if len(h.held) == maxHeldEvents {
			ts.finishHandover(t, true)
		}
	}
	ts.mu.Unlock()
	if len(cn.full) > 0 {
		cn.stall(cn.full)
	}
}

// newEvent copies f.
func (t *topic) newEvent(f *frame.Frame) Event {
	if f.Type == frame.Gap {
		return t.newGap()
	}
	e := Event{ID: f.Publication, Channel: t.name}
	if t.pattern {
		e.Channel, e.Pattern = string(f.Channel), t.name
	}
	if f.Args != nil {
		e.Args = append(e.Args, f.Args...)
	}
	if f.Headers != nil {
		e.Headers = maps.Collect(frame.HeaderSeq(f.Headers))
	}
	return e
}

// newGap returns the notice that events of t may have been missed.
func (t *topic) newGap() Event {
	e := Event{Gap: true, Channel: t.name}
	if t.pattern {
		e.Channel, e.Pattern = "", t.name
	}
	return e
}

// push delivers e to the subscriptions of t, gaps only to those that could
// have missed something. It appends to full those whose buffer is too full.
func (t *topic) push(e Event, full []*Subscription) []*Subscription {
	for _, s := range t.subs {
		if e.Gap && !s.confirmed {
			continue
		}
		if s.push(e) {
			full = append(full, s)
		}
	}
	return full
}

// stall holds the reader of cn up until all of slow have room again. Those that
// have none in time end.
func (cn *conn) stall(slow []*Subscription) {
	cn.stalled.Store(true)
	defer cn.stalled.Store(false)
	ctx, cancel := context.WithTimeout(cn.ctx, cn.c.cfg.stallTimeout)
	defer cancel()
	for _, s := range slow {
		if !s.awaitRoom(ctx) && cn.ctx.Err() == nil {
			cn.c.cfg.logger.Warn("a subscription ended: its reader is too slow", "channel", s.name)
			cn.c.topics.remove(s, ErrSlow)
		}
	}
}
