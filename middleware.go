package juggler

import (
	"context"
	"fmt"
	"slices"
)

// A RequestHandler handles a request. nil means that it was accepted and the
// client gets an ACK; an error becomes a NACK: an [Error] as it is, others
// with code 500, without their text, and a log line.
type RequestHandler func(ctx context.Context, r *Request) error

// Middleware wraps a RequestHandler, as middleware of net/http wraps an
// http.Handler. What it returns either calls next once and returns its error,
// or does not call it and returns an error of its own. The context ends with
// the session. next returns when the broker has taken a CALL, not when that ends: for
// the time that calls take see [WithCallObserver] and [Request.OnCallEnd].
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
