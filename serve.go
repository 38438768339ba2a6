package juggler

import (
	"context"

	"github.com/juggler-go/juggler/frame"
)

// serve handles r up to the broker's answer: user code, then the broker. It runs on the
// turn, or off it on a worker, and leaves the outcome in r for settle.
func (h *Handler) serve(ctx context.Context, r *Request) {
	switch {
	case r.err != nil || r.accepted || r.typ == frame.Cancel:
		return
	case r.typ == frame.Auth:
		r.err = h.signIn(ctx, r)
		return
	case h.mustSignInFirst(r.s):
		r.err = ErrUnauthenticated
		return
	case r.replays:
		h.serveReplay(ctx, r)
		return
	}
	if h.cfg.blocking {
		h.runChain(ctx, r)
		return
	}
	if h.before(ctx, r); r.err == nil {
		h.after(r, h.send(ctx, r))
	}
}

// onTurn reports whether r is handled on the shard's turn, rather than by its
// session's worker.
func (r *Request) onTurn() bool { return r.received.IsZero() }

// before takes r through the user code that stands before the broker, where no
// middleware may block. Without an error in r, after has to follow.
func (h *Handler) before(ctx context.Context, r *Request) {
	defer h.lockUserCode(r)()
	defer func() {
		if r.err != nil {
			h.runDone(r, r.err)
		}
	}()
	for _, m := range h.cfg.nonBlocking {
		var done func(error) error
		call := h.enter(r, pcOf(m))
		h.protect("middleware", func(e error) { r.err = r.interrupted(e) }, func() { done, r.err = m(ctx, r) })
		h.leave(call)
		if r.err != nil {
			return
		}
		if done != nil {
			r.done = append(r.done, done)
		}
	}
	r.err = h.authorize(ctx, r)
}

// send sends r to the broker, and returns its error.
func (h *Handler) send(ctx context.Context, r *Request) error {
	switch r.typ {
	case frame.Call:
		return h.sendCall(ctx, r)
	case frame.Pub:
		return h.sendEvent(ctx, r)
	case frame.Sub:
		return h.sendSub(ctx, r)
	}
	return nil // UNSB asks nobody
}

// sendSub has the events come that a SUB is about, and notices of who is there.
func (h *Handler) sendSub(ctx context.Context, r *Request) error {
	if r.wantsHere {
		if err := h.askHere(ctx, r); err != nil {
			return err
		}
	}
	err := h.topics.acquire(ctx, r)
	if err != nil {
		h.forgetHere(r)
	}
	return err
}

// after notes what became of r, and tells middleware.
func (h *Handler) after(r *Request, err error) {
	defer h.lockUserCode(r)()
	r.accepted, r.unclear = err == nil, unclear(err)
	h.runDone(r, err)
}

// afterAll is after for many requests: for each, even if user code of one ends the
// goroutine.
func (h *Handler) afterAll(requests []*Request, errs []error) {
	i := 0
	defer func() {
		if i < len(requests) {
			h.afterAll(requests[i+1:], errs[i+1:])
		}
	}()
	for ; i < len(requests); i++ {
		h.after(requests[i], errs[i])
	}
}

// lockUserCode has non-blocking user code run for one request of a session at a time,
// where others may be on their way, until what it returns is called.
func (h *Handler) lockUserCode(r *Request) (unlock func()) {
	if r.onTurn() || len(h.cfg.nonBlocking) == 0 && h.cfg.authorizer == nil {
		return func() {}
	}
	r.s.queue.parts.user.Lock()
	return r.s.queue.parts.user.Unlock
}

// runDone calls what middleware returned for r, that of the last which saw it first,
// also if one of them ends the goroutine. What the first one says is the outcome.
func (h *Handler) runDone(r *Request, err error) {
	n := len(r.done) - 1
	if n < 0 {
		h.conclude(r, err)
		return
	}
	done := r.done[n]
	r.done[n] = nil
	r.done = r.done[:n]
	defer func() { h.runDone(r, err) }()
	call := h.enter(r, pcOf(done))
	h.protect("middleware", func(e error) { err = r.interrupted(e) }, func() { err = done(err) })
	h.leave(call)
}

// runChain calls the chain and turns a panic in it into an error, which it leaves in
// r too, for whoever goes on if the chain ends the goroutine.
func (h *Handler) runChain(ctx context.Context, r *Request) {
	var err error
	h.protect("middleware", func(e error) { err = r.interrupted(e) }, func() { err = h.chain(ctx, r) })
	h.conclude(r, err)
}

// endOfChain sends r to the broker, if that is allowed.
func (h *Handler) endOfChain(ctx context.Context, r *Request) error {
	if r.chained {
		h.log.Error("middleware called next twice", "type", r.typ)
		return errInternal
	}
	r.chained = true
	err := h.authorize(ctx, r)
	if err == nil {
		err = h.send(ctx, r)
		r.unclear = unclear(err)
	}
	r.accepted = err == nil
	return err
}

// endedLoop panics if user code that runs on the turn has ended its goroutine.
func endedLoop(e error) {
	if e == error(errEnded) {
		panic("juggler: code that was declared never to block ended the goroutine of many sessions (runtime.Goexit, as FailNow of a test does)")
	}
}

// interrupted notes in r that user code has panicked or ended its goroutine.
func (r *Request) interrupted(e error) error {
	if r.onTurn() {
		endedLoop(e)
	}
	if !r.accepted {
		r.err = e
	}
	return e
}

// conclude notes what user code says in the end.
func (h *Handler) conclude(r *Request, err error) {
	switch {
	case r.accepted:
		if err != nil && !isLogged(err) {
			h.log.Error("middleware returned an error for a request that was done", "type", r.typ, "error", err)
		}
	case err == nil:
		h.log.Error("middleware says that a request was done that was not", "type", r.typ)
		r.err = errInternal
	default:
		r.err = err
	}
}
