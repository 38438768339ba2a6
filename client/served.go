package client

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// WithServerSubscriptions has handle called for each subscription that the server makes for
// this client by itself: to a room that the user is a member of, or to one of its own
// channels, such as that of the user ([Subscription.Own]). It is called on a goroutine of its
// own, and reads the events as of any [Subscription], which ends when it returns:
//
//	client.WithServerSubscriptions(func(sub *client.Subscription) {
//		for event, err := range sub.Events(context.Background()) {
//			…
//		}
//	})
//
// Such a subscription is the server's: it ends when the server ends it, with the [*Error]
// that it gives. After a lost connection, or a handover, it goes on as any other once the
// server has made it for the new session. If the server has not done so within the time of
// [WithCallTimeout], it ends with [ErrNotRestored]; made later, it is a new one. So is one
// that the server makes again after its end, or for a new session where handle has returned.
//
// If the program has subscribed to the same channel itself, both get its events. Without this
// option, what the server subscribes to is ignored.
func WithServerSubscriptions(handle func(*Subscription)) Option {
	return set("WithServerSubscriptions", handle, "a function", func(c *config, handle func(*Subscription)) { c.onServed = handle })
}

// serve handles SUBS of cn.
func (ts *topics) serve(cn *conn, f *frame.Frame) {
	if cn != ts.conn || ts.ended != nil {
		return // what cn delivers is moving to another one
	}
	t := ts.open(string(f.Channel), f.Pattern && !f.Own, f.Own)
	again, fresh := t.served, len(t.subs) == 0
	t.served = true
	ts.handOut(t)
	switch {
	case again, t.isThere(), t.wire == subscribing && t.place.asked:
		// It changes nothing, or the answer to that SUB says how it goes on.
	case fresh:
		t.place.jump(f.Pos)
	case t.place.last > 0, !t.place.pos.IsZero() && t.place.pos != f.Pos:
		t.behind = true
	default:
		ts.goOnFrom(t, f)
	}
	ts.confirmServed(t)
	ts.settle(t)
}

// handOut gives the program a subscription for t, which the server has made, unless it has one.
func (ts *topics) handOut(t *topic) {
	handle := ts.c.cfg.onServed
	if handle == nil || slices.ContainsFunc(t.subs, func(s *Subscription) bool { return s.byServer }) {
		return
	}
	s := ts.c.newSubscription(t.name)
	s.pattern, s.own, s.byServer = t.pattern, t.own, true
	t.subs = append(t.subs, s)
	go func() {
		defer s.Unsubscribe()
		handle(s)
	}()
}

// goOnFrom has t go on with what follows the SUBS f, as nothing is kept that could come
// between, or nothing has happened.
func (ts *topics) goOnFrom(t *topic, f *frame.Frame) {
	t.place.asked = false
	if f.Pos.IsZero() || f.Pos != t.place.pos {
		ts.begun(t, f)
		return
	}
	t.missed = false
	if t.handover != nil {
		ts.switchOver(t, false)
	}
}

// confirmServed confirms the subscriptions of the server to t, if it delivers.
func (ts *topics) confirmServed(t *topic) {
	if !t.isLive() {
		return
	}
	for _, s := range t.subs {
		if s.byServer {
			s.confirm(t.place.pos)
		}
	}
}

// goOn has t, which the server has subscribed to, go on without what is before: the server
// has refused to send that.
func (ts *topics) goOn(t *topic, err *Error) {
	t.place.jump(Position{})
	if len(t.subs) == 0 {
		return
	}
	ts.c.cfg.logger.Warn("cannot ask for the events that were missed", "channel", t.name, "error", err)
	if t.handover != nil {
		ts.finishHandover(t, true)
	} else {
		t.missed = false
		t.push(t.newGap(Position{}), nil)
	}
	ts.confirmServed(t)
}

// unserve handles UNSS of cn, which ends all that the session has of a topic.
func (ts *topics) unserve(cn *conn, f *frame.Frame) {
	t := ts.kind(f.Pattern, f.Own)[string(f.Channel)]
	if t == nil {
		return
	}
	err := wireError(&f.Err, false)
	if h := t.handover; h != nil && cn == h.from {
		if !t.served { // nor will the next connection have it
			t.endServed(err)
		}
		if len(t.subs) == 0 {
			ts.left(t)
		} else {
			ts.finishHandover(t, true)
		}
		return
	}
	if cn != t.on {
		return
	}
	if t.handover != nil {
		ts.finishHandover(t, false)
	}
	t.served, t.behind = false, false
	t.endServed(err)
	if !t.isThere() {
		ts.left(t) // a SUB under way has an answer of its own
		return
	}
	t.wire = absent
	t.missed = true
	ts.endWanted(t, err)
}

// endServed ends the subscriptions of the server to t for the reason why.
func (t *topic) endServed(why error) {
	t.subs = slices.DeleteFunc(t.subs, func(s *Subscription) bool {
		if s.byServer {
			s.close(fmt.Errorf("juggler: subscription to %s: %w", t.name, why))
		}
		return s.byServer
	})
}

// awaitServer ends the subscriptions of the server that it does not make for the session of
// cn in time.
func (ts *topics) awaitServer(cn *conn) {
	if !slices.ContainsFunc(ts.all(), (*topic).awaitsServer) {
		return
	}
	time.AfterFunc(ts.c.cfg.callTimeout, func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if ts.conn != cn {
			return
		}
		for _, t := range ts.all() {
			if t.awaitsServer() {
				t.endServed(ErrNotRestored)
				ts.left(t)
			}
		}
	})
}

// awaitsServer reports whether the server is to make a subscription again.
func (t *topic) awaitsServer() bool {
	return !t.served && slices.ContainsFunc(t.subs, func(s *Subscription) bool { return s.byServer })
}

// early is what a connection brings before the client has signed in and taken it into use:
// a server subscribes a session as soon as there is one.
type early struct {
	frames []frame.Frame
	lost   bool // there were more events
}

func (e *early) add(f *frame.Frame) {
	if len(e.frames) >= maxHeldEvents && f.Type != frame.Subs && f.Type != frame.Unss {
		e.lost = true
		return
	}
	g := *f
	for _, b := range []*[]byte{&g.Channel, &g.Matched, &g.Args, &g.Headers, &g.Err.Message, &g.Err.Data} {
		*b = bytes.Clone(*b)
	}
	e.frames = append(e.frames, g)
}

// adoptEarly takes cn into use: first with what it has brought.
func (ts *topics) adoptEarly(cn *conn) {
	e := cn.early
	cn.adopted, cn.early = true, early{}
	for i := range e.frames {
		ts.receive(cn, &e.frames[i], nil)
	}
	if !e.lost {
		return
	}
	for _, t := range ts.all() {
		switch {
		case !t.served || !t.isLive():
		case t.handover != nil:
			ts.finishHandover(t, true)
		default:
			t.place.jump(Position{})
			t.push(t.newGap(Position{}), nil)
		}
	}
}
