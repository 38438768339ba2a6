package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// A retry is a request whose connection was lost and that is to be sent on the next
// one: it was certainly not sent, is idempotent, or has a key by which the server knows it
// again. It waits in Client.retries for that connection, and in conn.retries for the server
// to allow one more call.
type retry struct {
	req *request
	why error     // what ended its connection
	due time.Time // not before
}

// fail ends the request with err.
func (x retry) fail(err error) {
	if x.req.maybeSent {
		x.req.fail(fmt.Errorf("%w: %w: %w", err, ErrUnknownOutcome, x.why))
		return
	}
	x.req.fail(fmt.Errorf("%w: %w", err, notConnected(x.why)))
}

// lost decides what becomes of the requests that awaited answers of cn, which is gone:
// some are retried, the others have an unknown outcome.
func (c *Client) lost(cn *conn, requests []*request, why error) {
	sortByID(requests)
	for _, r := range requests {
		switch {
		case r.typ == frame.Auth: // belongs to its connection
			r.fail(why)
		case r.attach != nil && r.maybeSent:
			c.retry(r, why, 0)
		case r.partsCame() > 0:
			r.fail(fmt.Errorf("%w (%d parts of it had come): %w", ErrUnknownOutcome, r.partsCame(), why))
		case !r.maybeSent && r.failFast:
			r.fail(notConnected(why))
		case !r.maybeSent || r.idempotent || r.mayRepeat():
			c.retry(r, why, 0)
		default:
			r.fail(fmt.Errorf("%w: %w", ErrUnknownOutcome, why))
		}
	}
	c.forget(cn)
	c.sendLateRetries(cn)
}

// sortByID puts requests of one connection into the order in which they were made.
func sortByID(requests []*request) {
	slices.SortFunc(requests, func(a, b *request) int { return cmp.Compare(a.id, b.id) })
}

// sendLateRetries sends what was queued when another connection than last may have been
// adopted already: that is the one for it then.
func (c *Client) sendLateRetries(last *conn) {
	for next := c.current.Load(); next != nil && next != last; next = c.current.Load() {
		c.sendRetries(next)
		last = next
	}
}

// retry queues r for the next connection, after a pause and as long as it has time.
func (c *Client) retry(r *request, why error, pause time.Duration) {
	x := retry{r, why, time.Now().Add(pause)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		x.fail(c.ended)
		return
	}
	r.retryTimer = time.AfterFunc(time.Until(r.deadline), func() { x.fail(context.DeadlineExceeded) })
	c.retries = append(c.retries, x)
}

// requeue queues retries again for which there was no connection.
func (c *Client) requeue(retries []retry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.retries = append(c.retries, retries...)
		return
	}
	for _, x := range retries {
		x.req.retryTimer.Stop()
		x.fail(c.ended)
	}
}

// sendRetries sends on cn what waits for a connection, and is due.
func (c *Client) sendRetries(cn *conn) {
	now := time.Now()
	c.mu.Lock()
	var retries, later []retry
	for _, x := range c.retries {
		if x.due.After(now) {
			later = append(later, x)
		} else {
			retries = append(retries, x)
		}
	}
	c.retries = later
	c.mu.Unlock()
	for i, x := range retries {
		if !cn.retry(x) {
			c.requeue(retries[i:])
			return
		}
	}
}

// retry queues x without waiting. A call that the server would refuse is kept until it
// may be made. It reports whether cn takes x.
func (cn *conn) retry(x retry) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	switch {
	case cn.refuses(x.req):
		return false
	case x.req.typ == frame.Call && (len(cn.retries) > 0 || !cn.mayCall()):
		cn.retries = append(cn.retries, x)
	default:
		cn.putRetry(x)
	}
	return true
}

// retryCalls queues the calls that were kept and may be made now, with mu held.
func (cn *conn) retryCalls() {
	for len(cn.retries) > 0 && cn.mayCall() {
		x := cn.retries[0]
		cn.retries[0] = retry{}
		cn.retries = cn.retries[1:]
		cn.putRetry(x)
	}
}

// putRetry puts x into the queue of the writer, with mu held, unless its time is over.
func (cn *conn) putRetry(x retry) {
	if !x.req.retryTimer.Stop() {
		return
	}
	if err := cn.put(x.req); err != nil {
		x.fail(err)
	}
}
