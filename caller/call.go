package caller

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/result"
)

// Call calls uri with in as JSON and unmarshals the result into out. A [json.RawMessage]
// as in is made compact, a *json.RawMessage as out gets the result as it came; nil as in
// is null, nil as out ignores the result.
//
// The call has the time until the deadline of ctx, or else that of [WithCallTimeout], at
// most 24 h. When ctx is cancelled, the call is cancelled, at its callee too, and the
// error wraps [context.Canceled]. All other errors are in the package documentation.
func (c *Caller) Call(ctx context.Context, uri string, in, out any, opts ...CallOption) error {
	if err := c.call(ctx, uri, in, out, opts); err != nil {
		return fmt.Errorf("caller: call %s: %w", uri, err)
	}
	return nil
}

// Typed returns a function with Go types that calls uri, the other side of
// calleekit.Typed. It may be called concurrently.
func Typed[In, Out any](c *Caller, uri string, opts ...CallOption) func(ctx context.Context, in In) (Out, error) {
	return func(ctx context.Context, in In) (out Out, err error) {
		err = c.Call(ctx, uri, in, &out, opts...)
		return out, err
	}
}

func (c *Caller) call(ctx context.Context, uri string, in, out any, opts []CallOption) error {
	var o callOptions
	for _, opt := range opts {
		opt.applyCall(&o)
	}
	ends := c.callHooks(ctx, uri, &o)
	err := c.makeCall(ctx, uri, in, out, &o)
	for _, done := range slices.Backward(ends) {
		done(err)
	}
	return err
}

// makeCall makes a call with its options and waits for its result.
func (c *Caller) makeCall(ctx context.Context, uri string, in, out any, o *callOptions) error {
	if o.problem != nil {
		return o.problem
	}
	request, err := broker.NewCall(uri, in, o.headers)
	if err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	defer c.finish()
	within, cancel := context.WithTimeout(ctx, c.timeFor(ctx, o.timeout))
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	body, err := c.make(within, &request)
	switch {
	case err == nil:
		return result.Decode(body, out)
	case err != errEnded:
		return err
	case within.Err() == context.DeadlineExceeded:
		return expired(nil)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return ErrClosed
}

// timeFor returns the time of a call whose own is given, or 0.
func (c *Caller) timeFor(ctx context.Context, own time.Duration) time.Duration {
	if own == 0 {
		if _, ok := ctx.Deadline(); ok {
			return option.CallerCallTimeout.Max
		}
	}
	return cmp.Or(own, c.timeout)
}

// make makes a call and waits for its outcome. If ctx ends before, it returns errEnded and
// has the call cancelled. If the time of a call is over the callee knows.
func (c *Caller) make(ctx context.Context, request *broker.Call) (json.RawMessage, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, notOpened(ctx, err)
	}
	deadline, _ := ctx.Deadline()
	if request.Timeout = time.Until(deadline); request.Timeout <= 0 || ctx.Err() != nil {
		return nil, errEnded
	}
	ref, results := c.enter()
	defer c.leave(ref)
	request.ReplyTo = c.address(ref)
	err = conn.Call(ctx, request)
	if public := broker.Refusal(err); public != nil {
		return nil, &explained{public, err}
	}
	// After any other error the call may be queued, so it ends in its result, or in time.
	select {
	case r := <-results:
		return outcome(r)
	case <-ctx.Done():
	case <-conn.ended:
	}
	select {
	case r := <-results: // which came first, or at the same time
		return outcome(r)
	default:
	}
	switch ctx.Err() {
	case nil:
		return nil, errLost
	case context.DeadlineExceeded:
		return nil, expired(err)
	}
	c.cancel(conn, request)
	return nil, errEnded
}

// outcome returns what a callee or the broker answered.
func outcome(r broker.Result) (json.RawMessage, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	return r.Args, nil
}

// enter makes a reference for a call, and a channel that gets its result.
func (c *Caller) enter() (ref uint64, results <-chan broker.Result) {
	waiting := make(chan broker.Result, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.pending[c.last] = waiting
	return c.last, waiting
}

// leave forgets a call: its result is not wanted any more.
func (c *Caller) leave(ref uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, ref)
}

// address is what the broker knows a call by.
func (c *Caller) address(ref uint64) broker.Address {
	a := broker.Address{Node: c.node}
	binary.LittleEndian.PutUint64(a.Ref[:], ref)
	return a
}

// deliver hands results to those who wait for them. The first for a call counts.
func (c *Caller) deliver(results []broker.Result) {
	for i := range results {
		r := &results[i]
		if waiting := c.take(binary.LittleEndian.Uint64(r.To.Ref[:])); waiting != nil {
			waiting <- clone(r)
		}
	}
}

// take returns who waits for the result of a call, and forgets the call.
func (c *Caller) take(ref uint64) chan<- broker.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := c.pending[ref]
	delete(c.pending, ref)
	return waiting
}

// clone copies what belongs to the broker, and of an error what travels: in one process it
// may be what the callee got of others, who refused it something.
func clone(r *broker.Result) broker.Result {
	copied := broker.Result{Args: bytes.Clone(r.Args)}
	if e := r.Err; e != nil {
		copied.Err = &Error{Code: e.Code, Message: e.Message, Data: bytes.Clone(e.Data), RetryAfter: e.RetryAfter}
	}
	return copied
}

// cancelTime is how long a broker that waits may take over a cancellation, and
// maxCancelling how many wait: beyond that they are dropped, as a broker that is out of
// reach may drop them.
const (
	cancelTime    = 2 * time.Second
	maxCancelling = 10_000
)

// cancel has a call cancelled, which is a best effort.
func (c *Caller) cancel(conn *connection, request *broker.Call) {
	uri, to := request.URI, request.ReplyTo
	if conn.neverWaits {
		conn.Cancel(context.Background(), uri, to) //nolint:errcheck
		return
	}
	if c.cancelling.Len() >= maxCancelling {
		return
	}
	c.cancelling.Do(func() {
		ctx, cancel := context.WithTimeout(c.telling, cancelTime)
		defer cancel()
		conn.Cancel(ctx, uri, to) //nolint:errcheck
	})
}
