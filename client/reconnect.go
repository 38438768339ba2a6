package client

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// stable is how long a connection must have lived for the backoff to begin
// anew: one that is accepted and lost at once is a failed attempt.
const stable = 10 * time.Second

// backoff paces attempts to connect.
type backoff struct {
	min, max time.Duration
	attempt  int // since the last stable connection
}

// next returns the pause before the next attempt: full jitter, and at least
// what the server asked for.
func (b *backoff) next(atLeast time.Duration) time.Duration {
	limit := b.max
	if b.min < b.max>>b.attempt {
		limit = b.min << b.attempt
	}
	b.attempt++
	jitter := rand.N(limit)
	if atLeast > 0 {
		return atLeast + jitter/2
	}
	return jitter
}

// ended tells b that a connection of that age has ended.
func (b *backoff) ended(age time.Duration) {
	if age >= stable {
		b.attempt = 0
	}
}

// run keeps the client connected until it ends.
func (c *Client) run() {
	b := &backoff{min: c.cfg.minBackoff, max: c.cfg.maxBackoff}
	cn := c.establish(b, nil)
	for cn != nil {
		cn = c.attend(cn, b)
		b.ended(time.Since(cn.born))
		cn = c.establish(b, cn.why())
	}
}

// establish connects, after the connection was lost for the reason why (nil:
// there was none yet), with as many attempts as it takes. It returns nil when
// the client has ended.
func (c *Client) establish(b *backoff, why error) *conn {
	for {
		if why != nil {
			if c.ctx.Err() == nil && (c.cfg.noReconnect || isFinal(why)) {
				c.finish(&gaveUpError{why})
			}
			delay := b.next(retryAfter(why))
			c.setState(StateChange{State: Waiting, Err: why, Attempt: b.attempt, Delay: delay})
			if !sleep(c.ctx, delay) {
				return nil
			}
		}
		c.setState(StateChange{State: Connecting, Attempt: b.attempt + 1})
		cn, err := c.open(c.ctx)
		if err == nil {
			if c.adopt(cn) {
				return cn
			}
			return nil
		}
		if c.ctx.Err() != nil {
			return nil
		}
		why = err
	}
}

// adopt makes cn the connection for new requests: first it restores the
// subscriptions, then it sends the retries. It reports whether cn is in use, i.e.
// the client has not ended.
func (c *Client) adopt(cn *conn) bool {
	old := c.current.Load()
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		cn.fail(ErrClosed, frame.CloseNormal, "")
		return false
	}
	c.conns[cn] = struct{}{}
	c.mu.Unlock()
	if cn.ending() {
		c.forget(cn) // it may have failed too early to be known
	}

	moving := c.topics.adopt(cn)

	c.sendRetries(cn)
	c.current.Store(cn)
	c.sendRetries(cn) // what was queued while current was another one
	c.setState(StateChange{State: Open, Session: cn.session()})
	if old != nil {
		c.requeue(old.drain(moving))
		c.moveKeyed(old, cn)
		c.sendRetries(cn)
	}
	return true
}

// attend waits until the current connection is lost, and returns it. That may
// be another one than cn by then: on GOAWAY it moves to a new one.
func (c *Client) attend(cn *conn, b *backoff) *conn {
	for {
		select {
		case <-cn.ctx.Done():
			return cn
		case after := <-cn.goAway:
			b.ended(time.Since(cn.born))
			if b.attempt > 0 || time.Since(cn.born) < stable {
				// The server that sent us away is where we came to.
				after = max(after, b.next(0))
			}
			if next := c.openSuccessor(cn, after, b); next != nil {
				cn = next
			}
		}
	}
}

// openSuccessor opens the successor of cn, in the time after which the server wants
// that. It returns nil if cn is lost first, or there can be no successor.
func (c *Client) openSuccessor(cn *conn, after time.Duration, b *backoff) *conn {
	for {
		if !sleep(cn.ctx, after) {
			return nil
		}
		c.topics.prepare()
		next, err := c.open(c.ctx)
		if err == nil {
			if c.adopt(next) {
				return next
			}
			return nil
		}
		c.cfg.logger.Debug("no successor yet for the connection that the server ends", "url", c.shown, "error", err)
		if isFinal(err) {
			return nil // establish will say so when cn is lost
		}
		after = b.next(retryAfter(err))
	}
}

// sleep pauses and reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
