package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/loan"
)

var errConcurrentTake = errors.New("memory: take: another goroutine waits in Take of this callee")

// OpenCallee implements [broker.Callee]. cancelled runs on a goroutine of its
// own and may wait.
func (b *Broker) OpenCallee(_ context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	c, err := b.openCallee(uris, cancelled, nil)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// openCallee opens a callee, one that answers in parts if granted is not nil.
func (b *Broker) openCallee(uris []string, cancelled func([]broker.Address), granted func([]broker.Grant)) (*calleeConn, error) {
	if err := checkURIs(uris); err != nil {
		return nil, err
	}
	r := &b.rpc
	c := &calleeConn{
		rpc:       r,
		cancelled: cancelled,
		granted:   granted,
		wake:      make(chan struct{}, 1),
		queues:    make([]*queue, len(uris)),
		round:     make([]int, 0, len(uris)),
	}
	if granted != nil {
		c.id = newCalleeID()
	}
	c.gate.init()
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, broker.ErrClosed
	}
	for i, uri := range uris {
		q := r.queues[uri]
		if q == nil {
			q = r.addQueue(uri, now)
		}
		q.join(c)
		c.queues[i] = q
	}
	r.callees[c] = struct{}{}
	return c, nil
}

func checkURIs(uris []string) error {
	if len(uris) == 0 {
		return errors.New("memory: open callee: no URI")
	}
	seen := make(map[string]bool, len(uris))
	for _, uri := range uris {
		if seen[uri] {
			return fmt.Errorf("memory: open callee: URI %s is given twice", uri)
		}
		seen[uri] = true
	}
	return nil
}

// A calleeConn is a callee of some URIs.
type calleeConn struct {
	rpc       *rpc
	cancelled func([]broker.Address) // may be nil
	granted   func([]broker.Grant)   // nil: its answers have no parts
	gate      gate                   // of cancelled and granted
	id        broker.ID              // of its parts

	// wake gets one token when somebody else ends the state waiting.
	wake chan struct{}

	// The following is guarded by rpc.mu.

	closed      bool
	newBorrower func() loan.Borrower // nil: it does not borrow
	// waiting: a Take waits; handed is nil, and all queues are empty but for
	// what waits for a loanConn's Work.
	waiting bool
	handed  *call    // for the Take that was woken, not seen by anybody yet
	taken   callList // not answered yet

	queues []*queue // one for each URI
	turn   int      // which of queues is taken from first, modulo their number
	round  []int    // scratch space of takeQueued

	unwanted  []broker.Address // to be told to cancelled
	reporting bool             // the goroutine that does so exists
}

// hand gives k to the Take that waits, and ends its waiting. The caller holds
// rpc.mu.
func (c *calleeConn) hand(k *call) {
	k.callee = c
	c.handed = k
	c.endWaiting()
}

// endWaiting wakes the Take that waits. The caller holds rpc.mu, so this must
// not block, even if two goroutines call Take at once in spite of the rule and
// the token of the first is still there.
func (c *calleeConn) endWaiting() {
	c.waiting = false
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Take implements [broker.CalleeConn].
func (c *calleeConn) Take(ctx context.Context, dst []broker.Call) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	for len(dst) > 0 {
		n, err := c.takeOrWait(dst)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			if c.stopWaiting() {
				return 0, ctx.Err()
			}
			<-c.wake // a call that came at the last moment is taken
		}
	}
	return 0, nil
}

// takeOrWait takes what is there. If that is nothing, it begins to wait.
func (c *calleeConn) takeOrWait(dst []broker.Call) (int, error) {
	r := c.rpc
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case c.closed:
		return 0, broker.ErrClosed
	case c.waiting:
		return 0, errConcurrentTake
	}
	n := c.takeHanded(dst, now)
	n += c.takeQueued(dst[n:], now)
	c.waiting = n == 0
	return n, nil
}

// takeHanded takes the call that was handed to the Take that waited. The caller holds rpc.mu.
func (c *calleeConn) takeHanded(dst []broker.Call, now time.Duration) int {
	k := c.handed
	c.handed = nil
	switch {
	case k == nil:
		return 0
	case k.deadline <= now:
		c.rpc.forget(k)
		return 0
	}
	c.take(k, &dst[0], now)
	return 1
}

// takeQueued takes one call from each queue, round after round, until dst is
// full or nothing is left. The caller holds rpc.mu.
func (c *calleeConn) takeQueued(dst []broker.Call, now time.Duration) int {
	round := c.round[:0]
	for at := range c.queues {
		round = append(round, (c.turn+at)%len(c.queues))
	}
	n := 0
	for len(round) > 0 && n < len(dst) {
		more := round[:0]
		for _, at := range round {
			if n == len(dst) {
				break
			}
			if k := c.rpc.next(c.queues[at], now); k != nil {
				c.take(k, &dst[n], now)
				n++
				c.turn = at + 1
				more = append(more, at)
			}
		}
		round = more
	}
	return n
}

// take makes k a taken call of c. The caller holds rpc.mu.
func (c *calleeConn) take(k *call, dst *broker.Call, now time.Duration) {
	k.callee = c
	c.taken.pushBack(k)
	k.queue.taken.add(now, 1)
	k.view(dst, now)
	if c.granted == nil {
		dst.Window = broker.Window{}
	}
}

// stopWaiting ends the state waiting and reports whether it still was.
func (c *calleeConn) stopWaiting() bool {
	c.rpc.mu.Lock()
	defer c.rpc.mu.Unlock()
	waited := c.waiting
	c.waiting = false
	return waited
}

// Reply implements [broker.CalleeConn]. It delivers the results to their
// nodes before it returns.
func (c *calleeConn) Reply(_ context.Context, results []broker.Result) error {
	var answered *call
	var err error
	for more := true; more; more = err == nil && len(results) > 0 {
		var skip, n int
		if skip, n, err = c.settle(results, &answered); n > 0 {
			answered.caller.answer(results[skip : skip+n])
		}
		results = results[skip+n:]
	}
	// Results may be made of the slices of the calls, so these live until here.
	for answered != nil {
		k := answered
		answered = k.next
		c.rpc.pool.put(k)
	}
	return err
}

// settle removes the calls of the first results of one node, which are
// results[skip:skip+n] since skip of them are to be ignored. It adds the calls
// to the chain answered, the last one in front.
func (c *calleeConn) settle(results []broker.Result, answered **call) (skip, n int, err error) {
	r := c.rpc
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.closed {
		return 0, 0, broker.ErrClosed
	}
	for i := range results {
		k := r.calls.find(&results[i].To)
		mine := k != nil && k.callee == c && k != c.handed
		wanted := mine && !k.cancelled
		if n > 0 && (!wanted || k.caller != (*answered).caller) {
			break
		}
		if mine {
			r.calls.remove(k)
			c.taken.remove(k)
			k.next = *answered
			*answered = k
		}
		if wanted {
			n++
		} else {
			skip++
		}
	}
	return skip, n, nil
}

// report tells the callee that a call is not wanted any more, from another
// goroutine. The caller holds rpc.mu.
func (c *calleeConn) report(to broker.Address) {
	if c.cancelled == nil {
		return
	}
	c.unwanted = append(c.unwanted, to)
	if !c.reporting && c.gate.enter() {
		c.reporting = true
		go c.reportAll()
	}
}

// reportAll runs until there is nothing to report or the callee closes, which
// waits for it.
func (c *calleeConn) reportAll() {
	defer c.gate.leave()
	for {
		c.rpc.mu.Lock()
		unwanted := c.unwanted
		c.unwanted = nil
		c.reporting = len(unwanted) > 0 && !c.closed
		again := c.reporting
		c.rpc.mu.Unlock()
		if !again {
			return
		}
		c.cancelled(unwanted)
	}
}

// Close implements [broker.CalleeConn].
func (c *calleeConn) Close() error {
	lost, unserved := c.leave()
	for k := lost; k != nil; k = k.next {
		if !k.cancelled {
			k.caller.answer([]broker.Result{{To: k.to, Err: broker.ErrCalleeLost}})
		}
	}
	c.rpc.refuse(unserved)
	c.gate.close()
	c.rpc.mu.Lock() // until now Broker.Close had to find it, to wait as well
	defer c.rpc.mu.Unlock()
	delete(c.rpc.callees, c)
	return nil
}

// leave ends the announcement and returns, as chains, the calls that were taken and
// not answered, and those in queues that have no callee now. The slices of the first
// may still be in use: they are not pooled.
func (c *calleeConn) leave() (lost, unserved *call) {
	r := c.rpc
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.closed {
		return nil, nil
	}
	c.closed = true
	for _, q := range c.queues {
		if q.leave(c) {
			r.beginGrace(q, now)
		}
	}
	if c.waiting {
		c.endWaiting()
	}
	if k := c.handed; k != nil {
		c.handed = nil
		k.callee = nil
		r.giveBack(k)
	}
	lost = c.taken.head
	c.taken = callList{}
	for k := lost; k != nil; k = k.next {
		r.calls.remove(k)
	}
	for _, q := range c.queues {
		unserved = r.withdraw(q, now, unserved)
	}
	return lost, unserved
}
