package juggler

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/keyed"
)

// A CALL with a key joins the call that was made with it, or makes it. The call outlives the
// session, which only waits for it: the handler's keyed.Hub has who waits for what.

// WithKeyScope sets whose keys those of a session's CALLs are: sessions with the same scope
// join each other's calls, on any node, so that it has to name who may see the outcomes. A
// session without a scope, "", may send no keys: its CALLs with one get NACK 403. Default:
// the user, [Session.User]; guests have none.
//
// f is called when a session begins or signs in, and for each CALL with a key, concurrently.
// It may be on the event loop, so it must never wait.
func WithKeyScope(f func(Session) string) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithKeyScope", f, "a function") {
			c.needsOutcomes("WithKeyScope")
			c.keyScope = f
		}
	})
}

// mayKeyCalls reports whether the CALLs of s may have keys.
func (s *session) mayKeyCalls() bool {
	h := s.shard.h
	return h.broker.keyedCaller != nil && !h.mustSignInFirst(s) && s.keyScope(true) != ""
}

// keyScope returns whose the keys of s are.
func (s *session) keyScope(onTurn bool) (scope string) {
	h := s.shard.h
	f := h.cfg.keyScope
	switch {
	case f == nil:
		return Session{s}.User()
	case onTurn:
		call := s.shard.enter(pcOf(f))
		h.protect("key scope", endedLoop, func() { scope = f(Session{s}) })
		h.leave(call)
	default:
		h.protect("key scope", func(error) {}, func() { scope = f(Session{s}) })
	}
	return scope
}

// acceptKey takes over the key of a CALL.
func (s *session) acceptKey(r *Request, f *frame.Frame) error {
	if s.shard.h.broker.keyedCaller == nil {
		return &Error{Code: CodeBadRequest, Message: "this server keeps no outcomes of calls, so a key means nothing"}
	}
	r.joinOnly = f.HasSince
	r.keyed = &keyed.Waiter{Parts: f.Parts > 0}
	if f.HasSince {
		r.keyed.After = uint32(f.N)
	}
	return nil
}

// attach makes the call of a CALL with a key, or joins it. It runs where the CALL is sent,
// as an AUTH before it may change the scope.
func (h *Handler) attach(ctx context.Context, r *Request) error {
	scope := r.s.keyScope(r.onTurn())
	if scope == "" {
		return &Error{Code: CodeForbidden, Message: "a key needs a user, and this session has none"}
	}
	c := &r.brokerCall
	c.Key = broker.NewCallKey(r.uri, scope, string(r.key))
	c.Timeout = max(c.Timeout, time.Millisecond) // it was over before it was sent, but may join
	a := broker.Attachment{
		Call:     c,
		Owner:    broker.NewCallKey(r.uri, scope, ""),
		MaxOwned: h.cfg.maxKeys,
		Join:     r.joinOnly,
	}
	rule := h.cfg.outcomeRule(r.uri)
	a.Keep, a.MaxPartBytes, a.Repeat = rule.Keep, rule.PartBytes, rule.Repeatable
	r.keyed.To = r.replyTo
	ctx, cancel := h.broker.bound(ctx, h.broker.callsNeverWait)
	defer cancel()
	return h.keyed.Attach(ctx, &a, r.keyed)
}

// joinKeyed has a call that is acknowledged get what comes. Nothing comes before.
func (sh *shard) joinKeyed(p *pendingCall, w *keyed.Waiter) {
	var window broker.Window
	if p.stream != nil {
		p.stream.skip(w.After)
		window = p.stream.granted
	}
	if sh.waiters == nil {
		sh.waiters = make(map[*pendingCall]*keyed.Waiter)
	}
	sh.waiters[p] = w
	sh.h.keyed.Join(w, window)
}

// leaveKeyed ends the wait of p for a call. The call goes on.
func (sh *shard) leaveKeyed(p *pendingCall) {
	if w := sh.waiters[p]; w != nil {
		delete(sh.waiters, p)
		sh.h.keyed.Leave(w)
	}
}

// grantKeyed lets more parts come for p.
func (sh *shard) grantKeyed(p *pendingCall) {
	if w := sh.waiters[p]; w != nil {
		sh.h.keyed.Grant(w, p.stream.granted)
	}
}

// errStopped notes that a call that is not acknowledged yet is to be stopped then.
var errStopped = &Error{}

// cancel handles a CANCEL of p, which with stop ends a call with a key for all.
func (p *pendingCall) cancel(stop bool) {
	switch {
	case !stop || !p.keyed:
		p.giveUp(errCancelled)
	case p.state == callAcked:
		p.stop()
	case p.state == callSent:
		p.over = errStopped
	}
}

// stop ends a call with a key for all who wait for it. They hear of it as of any outcome.
func (p *pendingCall) stop() {
	sh := p.s.shard
	w, b := sh.waiters[p], &sh.h.broker
	switch {
	case b.callsNeverWait:
		sh.h.keyed.Stop(sh.h.ctx, w)
	case b.later.Len() >= maxLater:
		p.fail(&Error{Code: CodeUnavailable, Message: "too much waits for the broker"})
	default:
		b.askLater(func(ctx context.Context) { sh.h.keyed.Stop(ctx, w) })
	}
}
