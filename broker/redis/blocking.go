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

// A blocker keeps the connection of one goroutine that waits on the server
// for most of its time. It is replaced when it fails.
type blocker struct {
	lane *lane
	role string

	mu     sync.Mutex // guards the following
	link   *conn.Link
	closed bool

	quit   context.Context // ends with cut
	cancel context.CancelFunc

	failures int // in a row; owned by the goroutine

	ails atomic.Pointer[ailment] // nil: it works
}

// An ailment is why a connection does not do what it should.
type ailment struct {
	err   error
	since time.Time
}

// ail notes why the connection does not work; nil: it does.
func (b *blocker) ail(err error) {
	switch before := b.ails.Load(); {
	case err == nil:
		b.ails.Store(nil)
	case before == nil:
		b.ails.Store(&ailment{err, time.Now()})
	default:
		b.ails.Store(&ailment{err, before.since})
	}
}

// trouble returns why the connection has not worked for so long at least, if it
// has not.
func (b *blocker) trouble(least time.Duration) error {
	if a := b.ails.Load(); a != nil && time.Since(a.since) >= least {
		return a.err
	}
	return nil
}

func newBlocker(l *lane, role string) *blocker {
	b := &blocker{lane: l, role: role}
	b.quit, b.cancel = context.WithCancel(background)
	return b
}

// connected returns the connection, made anew as often as it takes, or nil
// once cut was called.
func (b *blocker) connected() *conn.Link {
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
			b.ail(nil)
			b.lane.broker.linkUp(b.role, b.lane.index)
			return l
		}
		if b.failures == 0 && b.quit.Err() == nil {
			b.lane.broker.linkDown(b.role, b.lane.index, err)
		}
		b.failures++
		b.ail(err)
		b.lane.broker.view.MarkStale()
	}
}

// pause waits, unless cut is called.
func (b *blocker) pause(d time.Duration) { conn.Sleep(b.quit, d) }

// worked says that the connection did what it should.
func (b *blocker) worked() {
	if b.failures > 0 {
		b.failures = 0
		b.ail(nil)
	}
}

// failed gives the connection up, unless the server has only refused a command,
// as one that takes no writes does: then another connection would do no better.
func (b *blocker) failed(err error) {
	b.failures++
	b.ail(err)
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

// endedIdle takes note that the other side has ended the connection while it was idle.
func (b *blocker) endedIdle(err error) {
	if !b.drop() {
		b.lane.broker.view.MarkStale()
		b.lane.broker.linkIdle(b.role, b.lane.index, err)
	}
}

// drop closes the connection, and reports whether cut was called.
func (b *blocker) drop() (closed bool) {
	b.mu.Lock()
	l, closed := b.link, b.closed
	b.link = nil
	b.mu.Unlock()
	if l != nil {
		l.Close()
	}
	return closed
}

// cut ends the connection, also while the goroutine waits on it or makes it;
// connected returns nil from then on.
func (b *blocker) cut() {
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
func (b *blocker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.link != nil {
		b.link.Close()
		b.link = nil
	}
}
