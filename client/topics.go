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
	own      map[string]*topic // channels of the server's own
	conn     *conn             // the current one; nil while there is none
	ended    error
}

type topic struct {
	name    string
	pattern bool
	own     bool // a channel of the server's own

	subs   []*Subscription
	on     *conn     // to which the following refer; nil: to none
	wire   wireState // what the client has asked for
	served bool      // the server has subscribed the session itself
	behind bool      // what that brings waits for a SUB with since or last, which brings what is before
	missed bool      // events may have been missed: the next confirmation is a gap, unless they follow
	stale  bool      // the SUB under way asks for events that subs do not want: they need another

	place place // among the channel's events, if the server keeps them
	here  presence

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
	asking // subscribed, with another SUB under way: for who is there
	unsubscribing
)

func newTopics(c *Client) *topics {
	return &topics{c: c, exact: make(map[string]*topic), patterns: make(map[string]*topic), own: make(map[string]*topic)}
}

// kind returns the topics of a kind.
func (ts *topics) kind(pattern, own bool) map[string]*topic {
	switch {
	case own:
		return ts.own
	case pattern:
		return ts.patterns
	}
	return ts.exact
}

// all is the list of all topics.
func (ts *topics) all() []*topic {
	all := slices.Collect(maps.Values(ts.exact))
	return slices.AppendSeq(slices.AppendSeq(all, maps.Values(ts.patterns)), maps.Values(ts.own))
}

// wanted reports whether the program has subscriptions to t.
func (t *topic) wanted() bool {
	return slices.ContainsFunc(t.subs, func(s *Subscription) bool { return !s.byServer })
}

// replays reports whether events of t are dropped until those before them have come.
func (t *topic) replays() bool { return t.behind || t.wire == subscribing && t.place.asked }

// isLive reports whether the connection on delivers t.
func (t *topic) isLive() bool { return (t.isThere() || t.served) && !t.replays() }

// isThere reports whether the server has confirmed a SUB for t on the connection on.
func (t *topic) isThere() bool { return t.wire == subscribed || t.wire == asking }

// add adds s and asks the server for its topic if that is not subscribed.
func (ts *topics) add(s *Subscription) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.ended != nil {
		s.close(ts.ended)
		return
	}
	t := ts.open(s.name, s.pattern, s.own)
	if err := ts.want(t, s); err != nil {
		s.close(err)
		return
	}
	moves := t.handover != nil && t.wanted()
	if (t.isThere() || moves) && !t.stale && !t.admit(s) {
		return
	}
	t.subs = append(t.subs, s)
	ts.settle(t)
}

// open finds or makes a topic.
func (ts *topics) open(name string, pattern, own bool) *topic {
	kind := ts.kind(pattern, own)
	t := kind[name]
	if t == nil {
		t = &topic{name: name, pattern: pattern, own: own, on: ts.conn}
		kind[name] = t
	}
	return t
}

// want notes that s, which t has not yet, wants earlier events of its channel. Only the
// first subscription can: the others would get them, too.
func (ts *topics) want(t *topic, s *Subscription) error {
	earlier := s.last > 0 || !s.since.IsZero()
	switch {
	case earlier && len(t.subs) > 0:
		return fmt.Errorf("%w: Last, Since: the client has a subscription to this channel already", ErrInvalidOption)
	case len(t.subs) > 0:
		return nil
	}
	if earlier || !t.served {
		t.place.last, t.place.pos = s.last, s.since
	}
	t.missed = !s.since.IsZero()
	t.behind = t.served && earlier
	t.stale = t.wire == subscribing && (t.place.asked || earlier)
	return nil
}

// remove ends s for the reason why.
func (ts *topics) remove(s *Subscription, why error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	s.close(why)
	t := ts.kind(s.pattern, s.own)[s.name]
	if t == nil {
		return
	}
	if i := slices.Index(t.subs, s); i >= 0 {
		t.subs = slices.Delete(t.subs, i, i+1)
		ts.left(t)
	}
}

// left settles t, whose subscriptions have become fewer.
func (ts *topics) left(t *topic) {
	if len(t.subs) == 0 {
		t.leave()
		if t.handover != nil {
			ts.finishHandover(t, false)
			return
		}
	}
	ts.settle(t)
}

// leave forgets where subscriptions stood of which none is left.
func (t *topic) leave() {
	pos := t.place.pos
	t.place.leave()
	if t.isLive() {
		t.place.pos = pos // of the channel: the server goes on
	}
	t.behind, t.missed = false, false
}

// settle brings the wire nearer to what t should be, with mu held.
func (ts *topics) settle(t *topic) {
	left, wanted := len(t.subs) > 0, t.wanted()
	switch {
	case (wanted || t.behind) && t.wire == absent && t.on != nil:
		queued, err := t.on.request(frame.Sub, t)
		if queued {
			t.wire = subscribing
		}
		if err != nil {
			ts.refused(t, err)
		}
	case (!wanted || t.stale) && t.wire == subscribed:
		if queued, _ := t.on.request(frame.Unsb, t); queued { // no longer than the SUB was
			t.wire = unsubscribing
		}
	case t.wire == subscribed && t.here.asked != t.wantsHere():
		if queued, _ := t.on.request(frame.Sub, t); queued {
			t.wire = asking
		}
	case !left && t.wire == absent && t.handover != nil:
		ts.finishHandover(t, false) // no subscription is left
	case !left && t.wire == absent && !t.served:
		delete(ts.kind(t.pattern, t.own), t.name)
	}
	// Where request failed, the loss of the connection settles t.
}

// answered handles the answer f of cn to e, a SUB or UNSB; err is nil for ACK.
func (ts *topics) answered(cn *conn, e entry, f *frame.Frame, err *Error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := e.topic
	if h := t.handover; h != nil && cn == h.from && e.leaves {
		ts.finishHandover(t, false)
		return
	}
	if cn != t.on {
		return // of a connection that t has left
	}
	switch {
	case e.typ == frame.Unsb:
		if err != nil {
			ts.c.cfg.logger.Warn("cannot unsubscribe", "channel", t.name, "error", err)
		}
		t.wire, t.stale = absent, false
		ts.settle(t)
	case err != nil:
		ts.refused(t, err)
	default:
		ts.confirmed(t, f)
	}
}

// confirmed handles the ACK of a SUB.
func (ts *topics) confirmed(t *topic, f *frame.Frame) {
	joins := t.isLive() // what the session has already goes on
	if t.wire = subscribed; t.own {
		t.wire = absent // it has only asked for what was missed
	}
	if t.stale || len(t.subs) == 0 {
		ts.settle(t)
		return
	}
	t.behind = false
	if !joins {
		ts.begun(t, f)
	}
	t.hereBegins(f)
	t.admitAll()
	ts.left(t)
}

// begun handles that t is subscribed on its connection, as f says.
func (ts *topics) begun(t *topic, f *frame.Frame) {
	missed := t.place.begin(f)
	if h := t.handover; h != nil && t.place.asked {
		ts.switchOver(t, missed)
	} else {
		missed = missed && t.missed
		if h != nil {
			h.pos = f.Pos
			time.AfterFunc(overlap, func() { ts.leaveOld(t, h) })
		}
	}
	t.missed = false
	if missed {
		t.push(t.newGap(t.place.pos), nil)
	}
}

// refused handles the NACK of a SUB. It ends the subscriptions that were never
// confirmed; the others too, unless another attempt may succeed. What the server has
// subscribed to itself goes on.
func (ts *topics) refused(t *topic, err *Error) {
	if t.wire == asking {
		t.wire = subscribed
		t.refuseHere(err)
		ts.left(t)
		return
	}
	replayed := t.served && t.replays()
	t.wire, t.behind = absent, false
	ts.endWanted(t, err)
	if replayed {
		ts.goOn(t, err)
	}
}

// endWanted ends the subscriptions of the program to t, but for those that another attempt
// may restore.
func (ts *topics) endWanted(t *topic, err *Error) {
	const again = time.Second
	retry := err.Retryable() || err.Code >= CodeInternal
	t.subs = slices.DeleteFunc(t.subs, func(s *Subscription) bool {
		if s.byServer || s.confirmed && retry {
			return false
		}
		if s.confirmed {
			s.close(fmt.Errorf("juggler: subscribe %s: %w", t.name, err))
		} else {
			s.close(err) // Subscribe says what that is about
		}
		return true
	})
	if t.wanted() {
		ts.c.cfg.logger.Warn("a subscription was refused, trying again", "channel", t.name, "error", err)
		time.AfterFunc(max(again, retryAfter(err))+rand.N(again), func() {
			ts.mu.Lock()
			defer ts.mu.Unlock()
			if t.wanted() {
				ts.settle(t)
			}
		})
		return
	}
	ts.left(t)
}

// lost handles the loss of cn.
func (ts *topics) lost(cn *conn) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	cn.lost = true
	ts.leaveLost(cn)
}

// leaveLost is lost with mu held.
func (ts *topics) leaveLost(cn *conn) {
	if ts.conn == cn {
		ts.conn = nil
	}
	for _, t := range ts.all() {
		if h := t.handover; h != nil && (h.from == cn || t.on == cn) {
			ts.finishHandover(t, true)
		}
		if t.on == cn {
			t.leaveConn(nil)
			t.missed = t.missed || slices.ContainsFunc(t.subs, func(s *Subscription) bool { return s.confirmed })
			ts.settle(t)
		}
	}
}

// leaveConn says that t is on another connection from now on, where nothing is known of it.
func (t *topic) leaveConn(next *conn) {
	t.on, t.wire, t.recent = next, absent, nil
	t.served, t.behind, t.stale, t.here.asked = false, false, false, false
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

// handle handles what cn brings for a topic.
func (ts *topics) handle(cn *conn, f *frame.Frame) {
	ts.mu.Lock()
	cn.full = cn.full[:0]
	if cn.adopted {
		cn.full = ts.receive(cn, f, cn.full)
	} else {
		cn.early.add(f)
	}
	ts.mu.Unlock()
	if len(cn.full) > 0 {
		cn.stall(cn.full)
	}
}

// receive handles what cn, which is in use, brings for a topic, with mu held. It appends to
// full the subscriptions whose buffer is too full.
func (ts *topics) receive(cn *conn, f *frame.Frame, full []*Subscription) []*Subscription {
	name, pattern := f.Channel, f.Pattern
	switch f.Type {
	case frame.Subs:
		ts.serve(cn, f)
		return full
	case frame.Unss:
		ts.unserve(cn, f)
		return full
	case frame.Here:
		if t := ts.exact[string(name)]; t != nil {
			t.hereChanges(cn, f)
		}
		return full
	case frame.Evnt:
		if pattern = len(f.Matched) > 0; pattern {
			name = f.Matched
		}
	}
	return ts.deliver(cn, name, pattern, f, full)
}

// deliver delivers an EVNT or GAP of cn for a topic. It appends to full the subscriptions
// whose buffer is too full.
func (ts *topics) deliver(cn *conn, name []byte, pattern bool, f *frame.Frame, full []*Subscription) []*Subscription {
	t := ts.kind(pattern, f.Own)[string(name)]
	switch {
	case t == nil:
		return full // unsubscribed meanwhile
	case len(t.subs) == 0:
		if cn == t.on && t.isLive() {
			t.place.take(f)
		}
		return full
	}
	h := t.handover
	switch {
	case h == nil && cn == t.on:
		full = t.receive(f, full)
	case h != nil && cn == h.from:
		h.seen.add(f.Publication)
		t.place.take(f)
		full = t.push(t.newEvent(f), full)
	case h != nil && cn == t.on && !t.replays():
		h.hold(t.newEvent(f), f.Pos)
		if len(h.held) == maxHeldEvents {
			ts.finishHandover(t, true)
		}
	}
	return full
}

// receive handles an EVNT or GAP of the only connection that delivers.
func (t *topic) receive(f *frame.Frame, full []*Subscription) []*Subscription {
	if t.replays() || t.wire == unsubscribing && !t.served {
		return full // of the subscription that was left, for whoever comes next
	}
	if t.recent != nil {
		t.recent.add(f.Publication)
	}
	known, missed := t.place.known(f)
	if known {
		return full
	}
	if missed {
		full = t.push(t.newGap(Position{}), full)
	}
	t.place.take(f)
	if t.moved != nil && t.moved.has(f.Publication) {
		return full
	}
	return t.push(t.newEvent(f), full)
}

// newEvent copies f.
func (t *topic) newEvent(f *frame.Frame) Event {
	if f.Type == frame.Gap {
		return t.newGap(f.Pos)
	}
	e := Event{ID: f.Publication, Channel: t.name, Pos: f.Pos}
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

// newGap returns the notice that events of t may have been missed, where it goes on after pos.
func (t *topic) newGap(pos Position) Event {
	e := Event{Gap: true, Channel: t.name, Pos: pos}
	if t.pattern {
		e.Channel, e.Pattern = "", t.name
	}
	return e
}

// push delivers e to the subscriptions of t, gaps only to those that could
// have missed something. It appends to full those whose buffer is too full.
func (t *topic) push(e Event, full []*Subscription) []*Subscription {
	for _, s := range t.subs {
		if (e.Gap || t.served) && !s.confirmed && s.since.IsZero() {
			continue // what the server has subscribed to comes before the answer
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
