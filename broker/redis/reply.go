package redis

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// takeOver is how long Reply waits for results to be stored before it leaves them
// to the outboxes: longer than that takes where all is well.
const takeOver = 20 * time.Millisecond

// Reply implements [broker.CalleeConn]. It takes over what it cannot store at once,
// and tries again until the calls' time is over. See [broker.ResultKeeper].
func (c *calleeConn) Reply(ctx context.Context, results []broker.Result) error {
	if err := c.awaitRoom(ctx, results); err != nil {
		return wrap("reply for", c.id, err)
	}
	letters, err := c.letters(results)
	if err != nil || len(letters) == 0 {
		return wrap("reply for", c.id, err)
	}
	tried := c.broker.post(letters)
	timer := c.timer.Swap(nil)
	if timer == nil { // as a rule there is one of the last Reply
		timer = time.NewTimer(takeOver)
	} else {
		timer.Reset(takeOver)
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
		l := c.broker.lane(c.broker.keys.laneOfNode(results[i].To.Node))
		if l == nil {
			return broker.ErrClosed
		}
		for l.outbox.full() && !l.writer.outOfReach() && ctx.Err() == nil {
			timer := time.NewTimer(takeOver)
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

// letters makes letters of those results that answer calls held here.
func (c *calleeConn) letters(results []broker.Result) ([]letter, error) {
	letters := make([]letter, 0, len(results))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, broker.ErrClosed
	}
	for i := range results {
		r := &results[i]
		if h := c.held[r.To]; h != nil && !h.answering {
			letters = append(letters, c.letter(r, h, h.deadline))
		}
	}
	c.owed += len(letters)
	return letters, nil
}

// letter makes a letter of the result of a call. mu is held.
func (c *calleeConn) letter(r *broker.Result, h *heldCall, deadline time.Time) letter {
	h.answering = true
	c.unstored++
	return letter{
		op:       op{kind: opResult, node: r.To.Node, value: encodeResult(r)},
		conn:     c,
		held:     h,
		deadline: deadline,
	}
}

// lostLetter reports that a call is lost. How much time it has is not known: as
// long as its node is taken for alive. mu is held.
func (c *calleeConn) lostLetter(h *heldCall) letter {
	l := c.letter(&broker.Result{To: h.to, Err: broker.ErrCalleeLost}, h, time.Now().Add(c.broker.nodeLives()))
	l.ours = true
	return l
}

// reportLost sends letters that report losses.
func (b *Broker) reportLost(lost []letter) {
	b.stats.lost.Add(int64(len(lost)))
	b.post(lost)
}

// settled takes note that a letter is stored or of no use: the server may forget
// the call.
func (c *calleeConn) settled(l *letter) {
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
		c.hurried = true
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

func (c *calleeConn) isHurried() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hurried
}

// abandon gives up what is not stored.
func (c *calleeConn) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abandoned = true
	c.unstored = 0
	c.changed.Broadcast()
}

// patience is for how long a node is believed to come back that the server does not
// know. Close waits for no more than its next beat.
func (c *calleeConn) patience() (patience time.Duration, abandoned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.broker.config.lease / 4, c.abandoned
	}
	return c.broker.silence(), c.abandoned
}
