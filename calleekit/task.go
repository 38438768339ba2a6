package calleekit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A task is one call from Take to Reply. It is the function's context too: a
// call costs no timer, channel or context tree until something asks for one.
// Tasks are never used again, as a context may be kept for as long as one
// likes; they are allocated many at a time instead.
type task struct {
	call     Call
	route    *route // nil: the engine delivered a URI that was not announced
	base     context.Context
	deadline time.Time
	result   broker.Result // To is set from the start
	position int           // in pool.active
	next     *task         // in pool.queue

	mu     sync.Mutex              // guards the following
	inner  context.Context         // nil until somebody needs a real one
	cancel context.CancelCauseFunc // of inner
	over   bool                    // the function has returned
}

// Deadline implements [context.Context].
func (t *task) Deadline() (time.Time, bool) { return t.deadline, true }

// Done implements [context.Context].
func (t *task) Done() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.context().Done()
}

// Err implements [context.Context].
func (t *task) Err() error { return t.errAt(time.Now()) }

// errAt is Err for one who knows the time.
func (t *task) errAt(now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inner == nil && !t.over && now.Before(t.deadline) {
		return nil
	}
	return t.context().Err()
}

// Value implements [context.Context]. Once there is a real context it answers,
// by which package context recognises it, for [context.Cause] and to derive
// contexts without a goroutine each.
func (t *task) Value(key any) any {
	if key == (callKey{}) {
		return &t.call
	}
	t.mu.Lock()
	inner := t.inner
	t.mu.Unlock()
	if inner == nil {
		inner = t.base
	}
	return inner.Value(key)
}

// context returns the real context and makes it first if need be. t.mu is held.
func (t *task) context() context.Context {
	if t.inner != nil {
		return t.inner
	}
	ctx, cancel := context.WithCancelCause(t.base)
	t.cancel = cancel
	if t.over {
		cancel(nil)
		t.inner = ctx
		return ctx
	}
	inner, stop := context.WithDeadline(ctx, t.deadline)
	t.inner = inner
	t.cancel = func(cause error) {
		cancel(cause)
		stop() // after cancel, so that the cause is cancel's
	}
	return inner
}

// end cancels the context for a reason.
func (t *task) end(cause error) {
	t.mu.Lock()
	t.context()
	cancel := t.cancel
	t.mu.Unlock()
	cancel(cause)
}

// returned ends the context since the function has returned, and frees its
// timer if it has one.
func (t *task) returned() {
	t.mu.Lock()
	t.over = true
	cancel := t.cancel
	t.mu.Unlock()
	if cancel != nil {
		cancel(nil)
	}
}

// endedWith returns the code for err if it says no more than that the task's
// own context ended.
func (t *task) endedWith(err error) (code int, ok bool) {
	own := t.Err()
	switch {
	case own == nil || !errors.Is(err, own):
		return 0, false
	case own == context.DeadlineExceeded:
		return codeExpired, true
	default:
		return codeCancelled, true
	}
}

// A taskList is a queue of tasks linked by their next.
type taskList struct {
	first, last *task
	len         int
}

func (l *taskList) push(t *task) {
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
	l.len++
}

// pop removes the first task, of which there must be one.
func (l *taskList) pop() *task {
	t := l.first
	l.first, t.next = t.next, nil
	if l.first == nil {
		l.last = nil
	}
	l.len--
	return t
}
