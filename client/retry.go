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
	why error // what ended its connection
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
	slices.SortFunc(requests, func(a, b *request) int { return cmp.Compare(a.id, b.id) })
	for _, r := range requests {
		switch {
		case r.typ == frame.Auth: // belongs to its connection
			r.fail(why)
		case r.partsCame() > 0:
			r.fail(fmt.Errorf("%w (%d parts of it had come): %w", ErrUnknownOutcome, r.partsCame(), why))
		case !r.maybeSent && r.failFast:
			r.fail(notConnected(why))
		case !r.maybeSent || r.idempotent || r.mayRepeat():
			c.retry(r, why)
		default:
			r.fail(fmt.Errorf("%w: %w", ErrUnknownOutcome, why))
		}
	}
	c.forget(cn)
	// If another connection is adopted meanwhile, what is queued again is for that.
	for last, next := cn, c.current.Load(); next != nil && next != last; next = c.current.Load() {
		c.sendRetries(next)
		last = next
	}
}

// retry queues r for the next connection, as long as it has time.
func (c *Client) retry(r *request, why error) {
	x := retry{r, why}
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

// sendRetries sends on cn what waits for a connection.
func (c *Client) sendRetries(cn *conn) {
	c.mu.Lock()
	retries := c.retries
	c.retries = nil
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
