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

	// The lender's.
	now  time.Duration // that counts for the calls it makes
	made int           // calls since Pending

	// The following is guarded by rpc.mu.

	pending  []keptCalls
	left     bool        // others got calls since the last Work
	working  *calleeConn // of Work under way
	recalled uint64      // the last Work that was recalled
	workers  map[*calleeConn]loan.Worker
}

// keptCalls are calls that wait for Work in the queues of a callee that waits in
// Take: so many at most, as others take some, too.
type keptCalls struct {
	callee *calleeConn
	n      int
}

// sameTime is how many calls of a turn count as made at one time: to read the
// clock for each takes 3 % of the time of a call where many are in flight.
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
	i := slices.IndexFunc(l.pending, func(k keptCalls) bool { return k.callee == c })
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

// Pending implements [loan.Loan].
func (l *lentConn) Pending() bool {
	l.made = 0
	l.rpc.mu.Lock()
	defer l.rpc.mu.Unlock()
	if len(l.pending) == 0 {
		l.left = false // its lender knows that somebody has the calls
		return false
	}
	return true
}

// Work implements [loan.Loan].
func (l *lentConn) Work(n uint64) (left bool) {
	l.rpc.mu.Lock()
	defer l.rpc.mu.Unlock()
	if l.recalled >= n || len(l.pending) == 0 {
		return false
	}
	defer func() { // also if a function ends the goroutine
		if l.recalled < n && l.working != nil {
			l.giveUp()
		}
	}()
	k := &l.pending[0]
	l.working = k.callee
	took, left := l.lendTo(k.callee)
	if l.recalled >= n {
		return false
	}
	left = left || l.left
	l.left = false
	if k.n -= took; took == 0 || k.n <= 0 {
		return l.giveUp() || left
	}
	l.working = nil
	return left
}

// lendTo has c work, without rpc.mu.
func (l *lentConn) lendTo(c *calleeConn) (took int, left bool) {
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

// giveUp leaves what waits for the first callee to who waits in Take, and
// reports whether that is anything. The caller holds rpc.mu.
func (l *lentConn) giveUp() (left bool) {
	left = l.pending[0].callee.rouse()
	l.pending = slices.Delete(l.pending, 0, 1)
	l.working = nil
	return left
}

// Recall implements [loan.Loan].
func (l *lentConn) Recall(n uint64) {
	l.rpc.mu.Lock()
	l.recalled = n
	w := l.workers[l.working]
	delete(l.workers, l.working)
	for len(l.pending) > 0 {
		l.giveUp()
	}
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
