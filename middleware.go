package juggler

import (
	"context"
	"fmt"
	"slices"

	"github.com/juggler-go/juggler/frame"
)

// A RequestHandler handles a request. nil means that it was accepted and the
// client gets an ACK; an error becomes a NACK: an [Error] as it is, others
// with code 500 and a log line.
type RequestHandler func(ctx context.Context, r *Request) error

// Middleware wraps a RequestHandler, as middleware of net/http wraps an
// http.Handler. What it returns either calls next once and returns its error,
// or does not call it and returns an error of its own. The context ends with
// the session.
type Middleware func(next RequestHandler) RequestHandler

// NonBlockingMiddleware sees a request before the authorizer, and never waits. It
// may change its args and headers. An error refuses the request. Otherwise the
// function that it returns, if not nil, is called once when it is known what became
// of the request: with nil if it was accepted, else with the error. An error that
// done returns is what the client is told in place of that one; what was accepted
// stays so.
//
// Many requests may be on their way at the same time, but of a session one at a time is
// seen, or its done called, in the order of those that have one URI or channel. The
// context ends with the session.
type NonBlockingMiddleware func(ctx context.Context, r *Request) (done func(err error) error, err error)

// wrap returns m as Middleware, for where others may block.
func (m NonBlockingMiddleware) wrap(next RequestHandler) RequestHandler {
	return func(ctx context.Context, r *Request) error {
		done, err := m(ctx, r)
		if err != nil {
			return err
		}
		if err = next(ctx, r); done != nil {
			err = done(err)
		}
		return err
	}
}

// addMiddleware adds middleware that may block.
func (c *config) addMiddleware(m Middleware) {
	if !c.problems.NotNil("WithMiddleware", m, "a Middleware") {
		return
	}
	c.blocking = true
	c.middleware = append(c.middleware, m)
}

// addNonBlocking adds middleware that never waits.
func (c *config) addNonBlocking(m NonBlockingMiddleware) {
	if !c.problems.NotNil("WithNonBlockingMiddleware", m, "a NonBlockingMiddleware") {
		return
	}
	c.nonBlocking = append(c.nonBlocking, m)
	c.middleware = append(c.middleware, m.wrap)
}

var errNoHandler = fmt.Errorf("juggler: WithMiddleware: a Middleware returned nil, want a RequestHandler: %w", ErrInvalidOption)

// chain builds what handles a request where middleware may block.
func (c *config) chain(route RequestHandler) (RequestHandler, error) {
	next := route
	for _, m := range slices.Backward(c.middleware) {
		if next = m(next); next == nil {
			return nil, errNoHandler
		}
	}
	return next, nil
}

// authorize asks the authorizer.
func (h *Handler) authorize(ctx context.Context, r *Request) (err error) {
	if h.cfg.authorizer == nil || r.typ == frame.Unsb {
		return nil
	}
	h.protect("authorizer", func(e error) { err = r.interrupted(e) }, func() { err = h.cfg.authorizer.Authorize(ctx, r) })
	return err
}

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
		h.protect("middleware", func(e error) { r.err = r.interrupted(e) }, func() { done, r.err = m(ctx, r) })
		if r.err != nil {
			return
		}
		if done != nil {
			r.done = append(r.done, done)
		}
	}
	r.err = h.authorize(ctx, r)
}

// after notes what became of r, and tells middleware.
func (h *Handler) after(r *Request, err error) {
	defer h.lockUserCode(r)()
	r.accepted = err == nil
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
	h.protect("middleware", func(e error) { err = r.interrupted(e) }, func() { err = done(err) })
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
	}
	r.accepted = err == nil
	return err
}

// interrupted notes in r that user code has panicked or ended its goroutine.
func (r *Request) interrupted(e error) error {
	if e == errEnded && r.onTurn() {
		panic("juggler: code that was declared never to block ended the goroutine of many sessions (runtime.Goexit, as FailNow of a test does)")
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
		if err != nil && err != errInternal && err != errEnded { // these are logged
			h.log.Error("middleware returned an error for a request that was done", "type", r.typ, "error", err)
		}
	case err == nil:
		h.log.Error("middleware says that a request was done that was not", "type", r.typ)
		r.err = errInternal
	default:
		r.err = err
	}
}
