package redis

import (
	"context"
	"errors"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// Reply implements [broker.CalleeConn]. While the server is out of reach it
// tries again, until ctx ends or the calls' time is over.
func (c *calleeConn) Reply(ctx context.Context, results []broker.Result) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return wrap("reply for", c.id, broker.ErrClosed)
	}
	c.replying++
	known := make([]*broker.Result, 0, len(results))
	calls := make([]*heldCall, 0, len(results)) // of known
	var deadline time.Time
	for i := range results {
		if h := c.held[results[i].To]; h != nil && !h.answering {
			h.answering = true
			known, calls = append(known, &results[i]), append(calls, h)
			if h.deadline.After(deadline) {
				deadline = h.deadline
			}
		}
	}
	c.mu.Unlock()
	left, err := c.broker.storeUntil(ctx, known, deadline)
	c.answered(calls, left)
	return wrap("reply for", c.id, err)
}

// answered notes which calls' results were stored: all but those left, which
// may be tried again.
func (c *calleeConn) answered(calls []*heldCall, left []*broker.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range left {
		c.held[r.To].answering = false
	}
	for _, h := range calls {
		if h.answering {
			h.puller.done = append(h.puller.done, h)
		}
	}
	c.replying--
	if c.closed {
		c.changed.Broadcast() // close waits for it
	}
}

// awaitReplies waits for the calls of Reply under way, but not longer than d:
// they may be waiting for the server to come back.
func (c *calleeConn) awaitReplies(d time.Duration) {
	expired := false
	timer := time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		expired = true
		c.changed.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.replying > 0 && !expired {
		c.changed.Wait()
	}
}

// storeUntil stores results for their nodes. It tries again until ctx ends,
// deadline is over or the broker is closed, and returns those that are not stored,
// with the reason. What may have been stored is stored again: nodes expect that.
func (b *Broker) storeUntil(ctx context.Context, results []*broker.Result, deadline time.Time) ([]*broker.Result, error) {
	for attempt := 0; len(results) > 0; attempt++ {
		ops, waiter := b.submitResults(results)
		if err := waiter.wait(ctx); err != nil {
			return results, err
		}
		var left []*broker.Result
		var err error
		for i := range ops {
			if ops[i].err != nil {
				left, err = append(left, results[i]), ops[i].err
			}
		}
		if results = left; len(results) == 0 {
			break
		}
		pause := b.backoff(attempt)
		if errors.Is(err, broker.ErrClosed) || time.Now().Add(pause).After(deadline) {
			return results, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return results, err
		}
	}
	return nil, nil
}

// store stores results once, and does not wait for it.
func (b *Broker) store(results []broker.Result) {
	pointers := make([]*broker.Result, len(results))
	for i := range results {
		pointers[i] = &results[i]
	}
	b.submitResults(pointers)
}

func (b *Broker) submitResults(results []*broker.Result) ([]op, *waiter) {
	w := newWaiter(len(results))
	ops := make([]op, len(results))
	bundle := bundle{size: len(results)}
	for i, r := range results {
		o := &ops[i]
		*o = op{kind: opResult, node: r.To.Node, value: encodeResult(r), waiter: w}
		if l := b.lane(b.keys.laneOfNode(r.To.Node)); l != nil {
			bundle.add(l, o)
		} else {
			o.finish(broker.ErrClosed)
		}
	}
	bundle.submit()
	return ops, w
}
