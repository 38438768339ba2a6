package calleekit

import (
	"context"
	"sync/atomic"
	"time"
)

// A callContext is the context of one call. It costs no timer, channel or
// context tree until something asks for one: then there is a real context,
// which answers from then on.
//
// Functions and what they call may keep a context for as long as they like, so
// one is never used again for another call, as everything else of a call is.
// It is therefore small: 32 bytes, and allocated many at a time.
type callContext struct {
	pool     *pool
	deadline time.Duration // since pool.epoch
	call     *Call         // valid until the function returned
	real     atomic.Pointer[realContext]
}

type realContext struct {
	context.Context
	cancel   context.CancelCauseFunc
	returned atomic.Bool // the function has
}

// Deadline implements [context.Context].
func (c *callContext) Deadline() (time.Time, bool) {
	return c.pool.epoch.Add(c.deadline), true
}

// Done implements [context.Context].
func (c *callContext) Done() <-chan struct{} { return c.get().Done() }

// Err implements [context.Context].
func (c *callContext) Err() error { return c.errAt(c.pool.now()) }

// errAt is Err at a time that is known.
func (c *callContext) errAt(now time.Duration) error {
	if c.real.Load() == nil && now < c.deadline {
		return nil
	}
	return c.get().Err()
}

// Value implements [context.Context]. A real context answers for itself, so
// that package context recognises it: for [context.Cause], and to derive
// contexts from it without a goroutine each.
func (c *callContext) Value(key any) any {
	r := c.real.Load()
	switch {
	case key == callKey{}:
		if r != nil && r.returned.Load() {
			return nil
		}
		return c.call
	case r != nil:
		return r.Value(key)
	default:
		return c.pool.base.Value(key)
	}
}

// get returns the real context and makes it first if need be.
func (c *callContext) get() *realContext {
	if r := c.real.Load(); r != nil {
		return r
	}
	cancellable, cancel := context.WithCancelCause(c.pool.base)
	inner, stop := context.WithDeadline(cancellable, c.pool.epoch.Add(c.deadline))
	r := &realContext{Context: inner, cancel: func(cause error) {
		cancel(cause)
		stop() // the timer; after cancel, so that the cause is cancel's
	}}
	if !c.real.CompareAndSwap(nil, r) {
		r.cancel(nil)
		r = c.real.Load()
	}
	return r
}

// end cancels the context for a reason.
func (c *callContext) end(cause error) { c.get().cancel(cause) }

// returned ends the context since the function has returned.
func (c *callContext) returned() {
	if c.real.CompareAndSwap(nil, c.pool.over) {
		return
	}
	r := c.real.Load()
	r.returned.Store(true)
	r.cancel(nil)
}

// newOver returns the real context of all calls whose functions returned
// before they needed one.
func newOver(base context.Context) *realContext {
	ctx, cancel := context.WithCancelCause(base)
	cancel(nil)
	r := &realContext{Context: ctx, cancel: cancel}
	r.returned.Store(true)
	return r
}
