package conn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A Redialer is the connection of one goroutine, to the master of one slot. It makes a
// new link when one fails. The goroutine calls all but Cut and FailingFor, which any may.
type Redialer struct {
	view     *View
	slot     int
	timeout  time.Duration // of replies
	backoff  Backoff
	observer Observer

	mu     sync.Mutex // guards the following
	link   *Link
	closed bool

	quit   context.Context // ends with Cut
	cancel context.CancelFunc

	failures int // in a row; owned by the goroutine

	failure atomic.Pointer[failure] // nil: it works
}

// An Observer is told what becomes of a link, on the goroutine that uses it.
type Observer struct {
	Up      func()
	Down    func(err error) // it was lost, or cannot be made: told once
	Idle    func(err error) // the other side has closed it with nothing under way
	Refused func(err error) // the server refuses a command: told once
}

// A failure is why a connection does not work, and since when.
type failure struct {
	err   error
	since time.Time
}

// setFailure notes why the connection does not work; nil: it does.
func (r *Redialer) setFailure(err error) {
	switch before := r.failure.Load(); {
	case err == nil:
		r.failure.Store(nil)
	case before == nil:
		r.failure.Store(&failure{err, time.Now()})
	default:
		r.failure.Store(&failure{err, before.since})
	}
}

// FailingFor returns why the connection does not work, if it has not for so long at
// least, or nil.
func (r *Redialer) FailingFor(least time.Duration) error {
	if a := r.failure.Load(); a != nil && time.Since(a.since) >= least {
		return a.err
	}
	return nil
}

// NewRedialer returns a Redialer to the master that v knows of slot, which waits for
// replies for timeout.
func NewRedialer(v *View, slot int, timeout time.Duration, backoff Backoff, observer Observer) *Redialer {
	r := &Redialer{view: v, slot: slot, timeout: timeout, backoff: backoff, observer: observer}
	r.quit, r.cancel = context.WithCancel(context.Background())
	return r
}

// Link returns the link, which it makes if necessary, as often as it takes; nil once
// Cut was called.
func (r *Redialer) Link() *Link {
	for {
		if r.failures > 1 {
			r.Pause(r.backoff.After(r.failures - 2))
		}
		r.mu.Lock()
		l, closed := r.link, r.closed
		r.mu.Unlock()
		switch {
		case closed:
			return nil
		case l == nil:
			if l = r.dial(); l != nil {
				return l
			}
		case r.usable(l):
			return l
		}
	}
}

// usable reports whether l, which nothing is under way on, can still be used.
func (r *Redialer) usable(l *Link) bool {
	err := l.Retired()
	if err == nil {
		err = l.CheckIdle()
	}
	switch {
	case err == nil:
		return true
	case !IsClosedByPeer(err):
		r.Failed(err)
	case !r.drop():
		r.view.MarkStale()
		r.observer.Idle(err)
	}
	return false
}

// dial makes a link, or returns nil.
func (r *Redialer) dial() *Link {
	l, err := r.view.Dial(r.quit, r.slot, Server{}, r.timeout, nil)
	if err != nil {
		if r.failures == 0 && r.quit.Err() == nil {
			r.observer.Down(err)
		}
		r.failures++
		r.setFailure(err)
		r.view.MarkStale()
		return nil
	}
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.link = l
	}
	r.mu.Unlock()
	if closed {
		l.Close()
		return nil
	}
	r.setFailure(nil)
	r.observer.Up()
	return l
}

// Pause waits, unless Cut is called.
func (r *Redialer) Pause(d time.Duration) { Sleep(r.quit, d) }

// Worked notes that a command has succeeded.
func (r *Redialer) Worked() {
	if r.failures > 0 {
		r.failures = 0
		r.setFailure(nil)
	}
}

// Failed gives the link up, unless the server has only refused a command, as one does
// that takes no writes: another link would do no better.
func (r *Redialer) Failed(err error) {
	r.failures++
	r.setFailure(err)
	if resp.SuggestsFailover(err) {
		r.view.MarkStale()
	}
	if resp.IsServerError(err) && !resp.IsMisdirected(err) {
		if r.failures == 1 {
			r.observer.Refused(err)
		}
		return
	}
	if !r.drop() {
		r.view.MarkStale()
		r.observer.Down(err)
	}
}

// drop closes the link, and reports whether Cut was called.
func (r *Redialer) drop() (closed bool) {
	r.mu.Lock()
	l, closed := r.link, r.closed
	r.link = nil
	r.mu.Unlock()
	if l != nil {
		l.Close()
	}
	return closed
}

// Cut closes the link, also while the goroutine waits on it or makes it; Link
// returns nil from then on.
func (r *Redialer) Cut() {
	r.mu.Lock()
	l := r.link
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	if l != nil {
		l.Cut()
	}
}

// Close frees what is left once the goroutine has ended.
func (r *Redialer) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link != nil {
		r.link.Close()
		r.link = nil
	}
}
