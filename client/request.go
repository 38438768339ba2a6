package client

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// A request is a CALL, PUB or AUTH on its way. Whoever claims it, and only
// that one, decides its outcome: the reader with an answer, the connection
// with its loss, the caller whose context ended, or the end of the client.
type request struct {
	typ     frame.Type
	name    []byte // the URI or the channel; of AUTH, the token
	args    []byte // valid JSON, or nil
	headers []byte
	hooked  []byte // headers and those of hooks, or nil

	timeout    time.Duration // WithTimeout, or 0
	deadline   time.Time     // when its time is over
	idempotent bool
	failFast   bool
	ownKey     bool // the key is the application's

	// Of a CALL as the application gave it; of a PUB written while it is encoded.
	key []byte

	// Of a PUB, written while it is encoded.
	keyed time.Time // when it was first sent with a key that the server minds; zero: it was not

	claimed atomic.Bool
	done    chan struct{} // gets one value, or is closed if async
	async   *asyncPart    // of a PendingCall or a Stream
	attach  *attachment   // of a CALL with a key

	mu   sync.Mutex // guards the following
	conn *conn      // that it was sent on last
	id   uint64

	// The outcome, written by the claimer before it finishes.
	err     error
	body    []byte        // args of a RES
	expires time.Duration // of the ACK of an AUTH

	// Written, perhaps, on a connection that was lost: whatever becomes of it now,
	// it may have been done. Set when the connection fails.
	maybeSent bool

	// Of a request that is retried: ends it at its deadline while it is queued.
	// Whoever has the retry has the timer.
	retryTimer *time.Timer
}

// asyncPart is what only a PendingCall or a Stream needs of its request.
type asyncPart struct {
	stream  *Stream // or nil
	ended   func()
	ends    requestEnds // told before ended
	unwatch func() bool // ends the watch on the context; guarded by request.mu
}

// watch ends r with ctx.
func (r *request) watch(ctx context.Context, c *Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.async.unwatch = context.AfterFunc(ctx, func() {
		if r.claim() {
			c.abandon(r)
			r.err = ctx.Err()
			r.finish()
		}
	})
}

// newRequest returns a request out of the client's own pool: a channel may not
// leave the testing/synctest bubble that it was made in.
func (c *Client) newRequest(typ frame.Type, name string) *request {
	r, ok := c.requests.Get().(*request)
	if !ok {
		r = &request{done: make(chan struct{}, 1)}
	}
	r.typ = typ
	r.name = append(r.name[:0], name...)
	return r
}

// recycle gives back a request that nothing refers to any more: one that the
// reader claimed and that was never retried.
func (c *Client) recycle(r *request) {
	const keep = 64 << 10
	if r.async != nil || r.retryTimer != nil || cap(r.body) > keep {
		return
	}
	r.args, r.headers, r.hooked, r.attach = nil, nil, nil, nil
	r.timeout, r.deadline = 0, time.Time{}
	r.idempotent, r.failFast, r.ownKey = false, false, false
	r.key, r.keyed, r.maybeSent = r.key[:0], time.Time{}, false
	r.claimed.Store(false)
	r.conn, r.id = nil, 0
	r.err, r.body, r.expires = nil, r.body[:0], 0
	c.requests.Put(r)
}

// claim reports whether the caller is the first to decide the outcome.
func (r *request) claim() bool { return !r.claimed.Swap(true) }

// finish makes the outcome known. The caller has claimed r and filled it in.
func (r *request) finish() {
	if r.async == nil {
		r.done <- struct{}{}
		return
	}
	r.mu.Lock()
	if r.async.unwatch != nil {
		r.async.unwatch()
	}
	r.mu.Unlock()
	if r.async.ends != nil {
		r.async.ends.tell(RequestEnd{Err: r.err, Parts: r.partsCame()})
	}
	close(r.done)
	r.async.ended()
}

// fail finishes r with err, unless it has an outcome.
func (r *request) fail(err error) {
	if r.claim() {
		r.err = err
		r.finish()
	}
}

// setDeadline fixes when the time of r is over: after its own timeout, with
// ctx, or else after the client's default.
func (r *request) setDeadline(ctx context.Context, byDefault time.Duration) {
	deadline, ok := ctx.Deadline()
	switch {
	case r.timeout > 0:
		own := time.Now().Add(r.timeout)
		if !ok || own.Before(deadline) {
			deadline = own
		}
	case !ok:
		deadline = time.Now().Add(byDefault)
	}
	r.deadline = deadline
}

// setArgs puts v into r as JSON. A json.RawMessage is taken as it is.
func (r *request) setArgs(v any) error {
	switch v := v.(type) {
	case nil:
		return nil
	case json.RawMessage:
		return r.setRaw(v)
	case *json.RawMessage:
		if v != nil {
			return r.setRaw(*v)
		}
	}
	args, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return r.setRaw(args) // a json.RawMessage inside of v may be wrong, too
}

func (r *request) setRaw(raw json.RawMessage) error {
	if raw != nil && !frame.ValidJSON(raw) {
		return fmt.Errorf("args of %d bytes are not valid JSON in UTF-8", len(raw))
	}
	r.args = raw
	return nil
}

// wait waits for the outcome of r and returns its error.
func (c *Client) wait(ctx context.Context, r *request) error {
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.claim() {
			c.abandon(r)
			return ctx.Err()
		}
		<-r.done
	}
	return r.err
}

// abandon tells the server that the result of r is not wanted any more. The caller has
// claimed it. When abandon returns, nothing reads the arguments of r.
func (c *Client) abandon(r *request) {
	r.mu.Lock()
	cn, id := r.conn, r.id
	r.mu.Unlock()
	if cn != nil {
		cn.cancel(id)
	}
	if s := r.stream(); s != nil {
		s.drop()
	}
}

// submit hands r to a connection, which it waits for within ctx and the
// deadline of r.
func (c *Client) submit(ctx context.Context, r *request) error {
	for {
		cn, err := c.acquire(ctx, r)
		if err != nil {
			return err
		}
		err = cn.submit(ctx, r)
		if err != errGone {
			return err
		}
		if cn.ending() {
			<-cn.ctx.Done() // soon
		}
	}
}

// acquire returns the connection for new requests.
func (c *Client) acquire(ctx context.Context, r *request) (*conn, error) {
	if cn := c.current.Load(); cn != nil && !cn.gone() {
		return cn, nil
	}
	c.start()
	var late <-chan time.Time
	for {
		c.mu.Lock()
		changed, err, why := c.changed, c.ended, c.why
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if cn := c.current.Load(); cn != nil && !cn.gone() {
			return cn, nil
		}
		if r.failFast {
			return nil, notConnected(why)
		}
		if late == nil {
			timer := time.NewTimer(time.Until(r.deadline))
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), notConnected(why))
		case <-late:
			return nil, fmt.Errorf("%w: %w", context.DeadlineExceeded, notConnected(why))
		}
	}
}

// notConnected says why there is no connection, if that is known.
func notConnected(why error) error {
	if why == nil {
		return ErrNotConnected
	}
	return fmt.Errorf("%w: %w", ErrNotConnected, why)
}

func (c *Client) forget(cn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, cn)
}
