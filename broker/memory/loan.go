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
	_ loan.Lender   = (*callerConn)(nil)
	_ loan.Borrower = (*calleeConn)(nil)
)

// mostKept returns how many calls of a queue wait for Work at most: no queue may
// become full for having to wait.
func (c *config) mostKept() int { return c.queueCapacity / 4 }

// NewLoan implements [loan.Lender].
func (c *callerConn) NewLoan() loan.Loan {
	return &lentConn{callerConn: c, workers: make(map[*calleeConn]loan.Worker)}
}

// A lentConn is a callerConn whose calls wait for Work: a callee that borrows
// and is the only one of a URI is not woken for them.
type lentConn struct {
	*callerConn

	// The lender's: when calls up to sameTime in number count as made.
	now  time.Duration
	made int

	// The following is guarded by rpc.mu.

	pending  []*calleeConn // have calls to be answered, and somebody who waits in Take
	left     bool          // others got calls since the last Work
	working  *calleeConn   // of Work under way
	recalled uint64        // the last Work that was recalled
	workers  map[*calleeConn]loan.Worker
}

// sameTime is how many calls of a turn count as made at one time: to read the
// clock for each costs as much as the rest of Call.
const sameTime = 16

// Call implements [loan.Loan].
func (l *lentConn) Call(_ context.Context, req *broker.Call) error {
	if l.made%sameTime == 0 {
		l.now = l.rpc.now()
	}
	l.made++
	return l.call(req, l.now, l)
}

// CallBatch implements [loan.Loan].
func (l *lentConn) CallBatch(_ context.Context, calls []broker.Call, errs []error) {
	l.callBatch(calls, errs, l)
}

// keeps reports whether a call of queue q is to wait for Work. The caller holds
// rpc.mu.
func (l *lentConn) keeps(q *queue) bool {
	if l == nil {
		return false
	}
	if len(q.callees) != 1 || q.callees[0].newWorker == nil || q.calls.len >= l.rpc.mostKept() {
		l.left = true
		return false
	}
	c := q.callees[0]
	if !c.waiting {
		l.left = true
	} else if !slices.Contains(l.pending, c) {
		l.pending = append(l.pending, c)
	}
	return true
}

// Work implements [loan.Loan].
func (l *lentConn) Work(n uint64) (left bool) {
	l.rpc.mu.Lock()
	defer l.rpc.mu.Unlock()
	if l.recalled >= n {
		return false
	}
	defer func() { // also if a function ends the goroutine
		if l.recalled < n {
			l.leaveRest()
		}
	}()
	l.made = 0
	left, l.left = l.left, false
	for l.recalled < n && len(l.pending) > 0 {
		c := l.pending[0]
		l.pending = slices.Delete(l.pending, 0, 1)
		l.working = c
		left = l.lendTo(c) || left
		if l.recalled < n {
			l.working = nil
			left = c.rouse() || left
		}
	}
	return left
}

// lendTo has c work, without rpc.mu.
func (l *lentConn) lendTo(c *calleeConn) (left bool) {
	w := l.workers[c]
	if w == nil {
		maps.DeleteFunc(l.workers, func(c *calleeConn, _ loan.Worker) bool { return c.closed })
		w = c.newWorker()
		l.workers[c] = w
	}
	l.rpc.mu.Unlock()
	defer l.rpc.mu.Lock()
	return w.Work()
}

// leaveRest leaves what Work has not done to those who wait in Take. The caller
// holds rpc.mu.
func (l *lentConn) leaveRest() {
	if l.working != nil {
		l.working.rouse()
		l.working = nil
	}
	for _, c := range l.pending {
		c.rouse()
	}
	clear(l.pending)
	l.pending = l.pending[:0]
}

// Recall implements [loan.Loan].
func (l *lentConn) Recall(n uint64) {
	l.rpc.mu.Lock()
	l.recalled = n
	w := l.workers[l.working]
	delete(l.workers, l.working)
	l.leaveRest()
	l.rpc.mu.Unlock()
	if w != nil {
		w.Recall()
	}
}

// Borrow implements [loan.Borrower].
func (c *calleeConn) Borrow(newWorker func() loan.Worker) {
	c.rpc.mu.Lock()
	defer c.rpc.mu.Unlock()
	c.newWorker = newWorker
}

// TakeNow implements [loan.Borrower].
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

// rouse wakes who waits in Take if there are calls, and reports whether it did.
// The caller holds rpc.mu.
func (c *calleeConn) rouse() bool {
	for _, q := range c.queues {
		if c.waiting && q.calls.len > 0 {
			c.endWaiting()
			return true
		}
	}
	return false
}
