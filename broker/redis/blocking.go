package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// blockFor is how long a blocking pop waits on the server. A wake token that
// got lost (with a callee that died just then) delays a call at most so long.
const blockFor = 2 * time.Second

// A blockingConn is the connection of one goroutine that sends blocking commands. It
// makes a new link when one fails.
type blockingConn struct {
	lane *lane
	role string

	mu     sync.Mutex // guards the following
	link   *conn.Link
	closed bool

	quit   context.Context // ends with cut
	cancel context.CancelFunc

	failures int // in a row; owned by the goroutine

	failure atomic.Pointer[failure] // nil: it works
}

// A failure is why a connection does not work, and since when.
type failure struct {
	err   error
	since time.Time
}

// setFailure notes why the connection does not work; nil: it does.
func (b *blockingConn) setFailure(err error) {
	switch before := b.failure.Load(); {
	case err == nil:
		b.failure.Store(nil)
	case before == nil:
		b.failure.Store(&failure{err, time.Now()})
	default:
		b.failure.Store(&failure{err, before.since})
	}
}

// failingFor returns why the connection does not work, if it has not for so long at
// least, or nil.
func (b *blockingConn) failingFor(least time.Duration) error {
	if a := b.failure.Load(); a != nil && time.Since(a.since) >= least {
		return a.err
	}
	return nil
}

func newBlockingConn(l *lane, role string) *blockingConn {
	b := &blockingConn{lane: l, role: role}
	b.quit, b.cancel = context.WithCancel(background)
	return b
}

// connected returns the link, which it makes if necessary, as often as it takes; nil once
// cut was called.
func (b *blockingConn) connected() *conn.Link {
	for {
		if b.failures > 1 {
			b.pause(b.lane.broker.backoff.After(b.failures - 2))
		}
		b.mu.Lock()
		l, closed := b.link, b.closed
		b.mu.Unlock()
		if closed {
			return nil
		}
		if l != nil {
			err := l.Retired()
			if err == nil {
				err = l.CheckIdle()
			}
			switch {
			case err == nil:
				return l
			case conn.IsClosedByPeer(err):
				b.endedIdle(err)
			default:
				b.failed(err)
			}
			continue
		}
		l, err := b.lane.dial(b.quit, b.lane.broker.config.replyTimeout, nil)
		if err == nil {
			b.mu.Lock()
			if !b.closed {
				b.link = l
			}
			closed = b.closed
			b.mu.Unlock()
			if closed {
				l.Close()
				return nil
			}
			b.setFailure(nil)
			b.lane.broker.linkUp(b.role, b.lane.index)
			return l
		}
		if b.failures == 0 && b.quit.Err() == nil {
			b.lane.broker.linkDown(b.role, b.lane.index, err)
		}
		b.failures++
		b.setFailure(err)
		b.lane.broker.view.MarkStale()
	}
}

// pause waits, unless cut is called.
func (b *blockingConn) pause(d time.Duration) { conn.Sleep(b.quit, d) }

// worked notes that a command has succeeded.
func (b *blockingConn) worked() {
	if b.failures > 0 {
		b.failures = 0
		b.setFailure(nil)
	}
}

// failed gives the link up, unless the server has only refused a command, as one does
// that takes no writes: another link would do no better.
func (b *blockingConn) failed(err error) {
	b.failures++
	b.setFailure(err)
	if resp.SuggestsFailover(err) {
		b.lane.broker.view.MarkStale()
	}
	if resp.IsServerError(err) && !resp.IsMisdirected(err) {
		if b.failures == 1 {
			b.lane.broker.config.logger.Error("the server refused a command, which is tried again", "role", b.role, "lane", b.lane.index, "error", err)
		}
		return
	}
	if !b.drop() {
		b.lane.broker.view.MarkStale()
		b.lane.broker.linkDown(b.role, b.lane.index, err)
	}
}

// endedIdle handles that the other side has closed the link while it was idle.
func (b *blockingConn) endedIdle(err error) {
	if !b.drop() {
		b.lane.broker.view.MarkStale()
		b.lane.broker.linkIdle(b.role, b.lane.index, err)
	}
}

// drop closes the link, and reports whether cut was called.
func (b *blockingConn) drop() (closed bool) {
	b.mu.Lock()
	l, closed := b.link, b.closed
	b.link = nil
	b.mu.Unlock()
	if l != nil {
		l.Close()
	}
	return closed
}

// cut closes the link, also while the goroutine waits on it or makes it; connected
// returns nil from then on.
func (b *blockingConn) cut() {
	b.mu.Lock()
	l := b.link
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	if l != nil {
		l.Cut()
	}
}

// close frees what is left once the goroutine has ended.
func (b *blockingConn) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.link != nil {
		b.link.Close()
		b.link = nil
	}
}
