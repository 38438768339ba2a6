package memory

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/loan"
)

var (
	_ loan.CallerConn = (*callerConn)(nil)
	_ loan.CalleeConn = (*calleeConn)(nil)
)

// mostKept returns how many calls of a queue wait for Work at most: that they wait
// must not fill the queue.
func (c *config) mostKept() int { return c.queueCapacity / 4 }

// NewLoan implements [loan.CallerConn].
func (c *callerConn) NewLoan() loan.Loan {
	return &loanConn{callerConn: c, borrowers: make(map[*calleeConn]loan.Borrower)}
}

// A loanConn is a callerConn whose calls wait for Work where the only callee of their
// URI borrows: it is not woken for them.
type loanConn struct {
	*callerConn

	// The lender's.
	now  time.Duration // that counts for the calls it makes
	made int           // calls since EndCalls

	// The following is guarded by rpc.mu.

	pending   []keptCalls
	left      bool        // others got calls since EndCalls or the last Work
	working   *calleeConn // of Work under way
	recalled  uint64      // the last Work that was recalled
	borrowers map[*calleeConn]loan.Borrower
}

// keptCalls is how many calls wait for Work in the queues of a callee that waits in
// Take. It is an upper bound: another Take may have got some.
type keptCalls struct {
	callee *calleeConn
	n      int
}

// sameTime is for how many calls of a turn the clock is read once, which costs as much
// as a noticeable part of a call.
const sameTime = 16

// Call implements [loan.Loan].
func (l *loanConn) Call(_ context.Context, req *broker.Call) error {
	if l.made%sameTime == 0 {
		l.now = l.rpc.now()
	}
	l.made++
	return l.call(req, l.now, l)
}

// keeps reports whether k is to wait for Work. The caller holds rpc.mu.
func (l *loanConn) keeps(k *call) bool {
	if l == nil {
		return false
	}
	q := k.queue
	if k.streams() || len(q.callees) != 1 || q.callees[0].newBorrower == nil || q.calls.len >= l.rpc.mostKept() {
		l.left = true
		return false
	}
	c := q.callees[0]
	i := slices.IndexFunc(l.pending, func(kept keptCalls) bool { return kept.callee == c })
	switch {
	case i >= 0:
		l.pending[i].n++
	case c.waiting:
		l.pending = append(l.pending, keptCalls{c, 1})
	default:
		l.left = true
	}
	return true
}

// EndCalls implements [loan.Loan].
func (l *loanConn) EndCalls() (pending bool) {
	l.made = 0
	l.rpc.mu.Lock()
	defer l.rpc.mu.Unlock()
	pending = len(l.pending) > 0
	if !pending {
		l.left = false // there is no Work to report it
	}
	return pending
}

// Wake implements [loan.Loan].
func (l *loanConn) Wake() {
	l.rpc.mu.Lock()
	defer l.rpc.mu.Unlock()
	l.giveUpAll()
}

// Work implements [loan.Loan].
func (l *loanConn) Work(n uint64) (pending, left bool) {
	l.rpc.mu.Lock()
	defer l.rpc.mu.Unlock()
	if l.recalled >= n || len(l.pending) == 0 {
		return false, false
	}
	returned := false
	defer func() {
		if !returned && l.recalled < n { // a function ends the goroutine
			l.giveUpAll()
		}
	}()
	k := &l.pending[0]
	l.working = k.callee
	took, left := l.lendTo(k.callee)
	returned = true
	if l.recalled >= n {
		return false, false
	}
	l.working = nil
	left = left || l.left
	l.left = false
	if k.n -= took; took == 0 || k.n <= 0 {
		left = l.giveUp() || left
	}
	return len(l.pending) > 0, left
}

// lendTo has c work on this goroutine, without rpc.mu.
func (l *loanConn) lendTo(c *calleeConn) (took int, left bool) {
	b := l.borrowers[c]
	if b == nil {
		maps.DeleteFunc(l.borrowers, func(c *calleeConn, _ loan.Borrower) bool { return c.closed })
		b = c.newBorrower()
		l.borrowers[c] = b
	}
	l.rpc.mu.Unlock()
	defer l.rpc.mu.Lock()
	return b.Work()
}

// giveUp leaves what waits for the first callee to the goroutine that waits in Take,
// and reports whether that is anything. The caller holds rpc.mu.
func (l *loanConn) giveUp() (left bool) {
	left = l.pending[0].callee.rouse()
	l.pending = slices.Delete(l.pending, 0, 1)
	return left
}

// giveUpAll is giveUp for all callees. The caller holds rpc.mu.
func (l *loanConn) giveUpAll() {
	for len(l.pending) > 0 {
		l.giveUp()
	}
	l.working = nil
}

// Recall implements [loan.Loan].
func (l *loanConn) Recall(n uint64) {
	l.rpc.mu.Lock()
	l.recalled = n
	b := l.borrowers[l.working]
	delete(l.borrowers, l.working)
	l.giveUpAll()
	l.rpc.mu.Unlock()
	if b != nil {
		b.Recall()
	}
}

// Borrow implements [loan.CalleeConn].
func (c *calleeConn) Borrow(newBorrower func() loan.Borrower) {
	c.rpc.mu.Lock()
	defer c.rpc.mu.Unlock()
	c.newBorrower = newBorrower
}

// TakeNow implements [loan.CalleeConn].
func (c *calleeConn) TakeNow(dst []broker.Call) int {
	r := c.rpc
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.closed {
		return 0
	}
	return c.takeQueued(dst, now)
}

// rouse wakes the goroutine that waits in Take if there are calls, and reports whether
// it did. The caller holds rpc.mu.
func (c *calleeConn) rouse() bool {
	for _, q := range c.queues {
		if c.waiting && q.calls.len > 0 {
			c.endWaiting()
			return true
		}
	}
	return false
}
