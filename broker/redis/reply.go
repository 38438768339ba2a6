package redis

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// replyWait is how long Reply waits for results to be stored before it leaves them to the
// outboxes. It is longer than storing takes if all is well.
const replyWait = 20 * time.Millisecond

// Reply implements [broker.CalleeConn]. It takes over what it cannot store at once,
// and tries again until the calls' time is over. See [broker.ResultKeeper].
func (c *calleeConn) Reply(ctx context.Context, results []broker.Result) error {
	if err := c.awaitRoom(ctx, results); err != nil {
		return wrap("reply for", c.id, err)
	}
	entries, err := c.outboxEntries(results)
	if err != nil || len(entries) == 0 {
		return wrap("reply for", c.id, err)
	}
	tried := c.broker.post(entries)
	timer := c.timer.Swap(nil)
	if timer == nil { // as a rule there is one of the last Reply
		timer = time.NewTimer(replyWait)
	} else {
		timer.Reset(replyWait)
	}
	defer c.timer.Store(timer)
	defer timer.Stop()
	select {
	case <-tried.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

// awaitRoom waits while the outbox of a lane is full that takes results, if slowly.
func (c *calleeConn) awaitRoom(ctx context.Context, results []broker.Result) error {
	for i := range results {
		l, err := c.laneOfResult(results[i].To)
		if err != nil {
			return err
		}
		if l == nil {
			continue
		}
		for l.outbox.full() && !l.writer.Unreachable() && ctx.Err() == nil {
			timer := time.NewTimer(replyWait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			case <-c.life.Done():
				timer.Stop()
				return broker.ErrClosed
			}
			timer.Stop()
		}
	}
	return ctx.Err()
}

// outboxEntries makes entries of those results that answer calls held here.
func (c *calleeConn) outboxEntries(results []broker.Result) ([]outboxEntry, error) {
	entries := make([]outboxEntry, 0, len(results))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, broker.ErrClosed
	}
	for i := range results {
		r := &results[i]
		if h := c.held[r.To]; h != nil && !h.answering {
			if h.orphaned && r.Err != nil && r.Err.Code == frame.CodeCancelled {
				r = &broker.Result{To: r.To, Err: errOrphaned, Ran: r.Ran, Parts: r.Parts}
			}
			entries = append(entries, c.outboxEntry(r, h, h.deadline))
		}
	}
	c.owed += len(entries)
	return entries, nil
}

// laneOfResult returns the lane that stores the result of a call; nil: no such call with a
// key is held.
func (c *calleeConn) laneOfResult(to broker.Address) (*lane, error) {
	var h *heldCall
	if isKeyed(to.Node) {
		c.mu.Lock()
		h = c.held[to]
		c.mu.Unlock()
		if h == nil {
			return nil, nil
		}
		return h.puller.lane, nil
	}
	if l := c.broker.lane(c.broker.keys.laneOfNode(to.Node)); l != nil {
		return l, nil
	}
	return nil, broker.ErrClosed
}

// lane returns the lane that stores the result of a call of node: of one with a key that of
// its URI. nil: the broker closes, and has not used it.
func (h *heldCall) lane(node broker.ID) *lane {
	if isKeyed(node) {
		return h.puller.lane
	}
	b := h.puller.lane.broker
	return b.lane(b.keys.laneOfNode(node))
}

// outcomeFor is for how long an outcome of a call with a key is kept in an outbox: it counts
// when the call's time is over, too.
const outcomeFor = 10 * time.Minute

// outboxEntry makes an entry of the result of a call. mu is held.
func (c *calleeConn) outboxEntry(r *broker.Result, h *heldCall, deadline time.Time) outboxEntry {
	h.answering = true
	c.unstored++
	kind := opResult
	if isKeyed(r.To.Node) {
		kind, deadline = opCommit, time.Now().Add(outcomeFor)
	}
	return outboxEntry{
		op:       op{kind: kind, node: r.To.Node, value: encodeResult(r)},
		conn:     c,
		held:     h,
		deadline: deadline,
	}
}

// lossEntry makes an entry that reports a lost call. The call's time is not known, so it
// is kept as long as a silent node is taken for alive. mu is held.
func (c *calleeConn) lossEntry(h *heldCall) outboxEntry {
	l := c.outboxEntry(&broker.Result{To: h.to, Err: broker.ErrCalleeLost}, h, time.Now().Add(c.broker.nodeLives()))
	l.ours = true
	return l
}

// reportLost posts entries that report losses.
func (b *Broker) reportLost(lost []outboxEntry) {
	b.stats.lost.Add(int64(len(lost)))
	b.post(lost)
}

// entryDone notes that an entry is stored or dropped: the server may forget the call.
func (c *calleeConn) entryDone(l *outboxEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.held.puller.done = append(l.held.puller.done, l.held)
	if c.abandoned {
		return
	}
	if c.unstored--; !l.ours {
		c.owed--
	}
	if c.unstored == 0 && c.flushing > 0 {
		c.changed.Broadcast()
	}
}

// Flush implements [broker.ResultKeeper].
func (c *calleeConn) Flush(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushing++
	defer func() { c.flushing-- }()
	for c.unstored > 0 && ctx.Err() == nil {
		c.changed.Wait()
	}
	if c.unstored > 0 {
		c.skipFlush = true
		return wrap("flush results of", c.id, ctx.Err())
	}
	return nil
}

// Unstored implements [broker.ResultKeeper].
func (c *calleeConn) Unstored() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owed
}

func (c *calleeConn) skipsFlush() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skipFlush
}

// abandon drops what is not stored.
func (c *calleeConn) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abandoned = true
	c.unstored = 0
	c.changed.Broadcast()
}

// missingNodeTimeout is how long we wait for a node that the server does not know. While
// the callee closes that is until the node's next heartbeat.
func (c *calleeConn) missingNodeTimeout() (patience time.Duration, abandoned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.broker.config.lease / 4, c.abandoned
	}
	return c.broker.maxSilence(), c.abandoned
}
