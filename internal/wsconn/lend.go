package wsconn

import (
	"sync/atomic"
	"time"
)

// Borrower is an optional interface of a [Handler] that has functions of the
// user to run. As a rule they take no time, but they may block. To run one on
// another goroutine takes waking that goroutine and a processor for it, which
// costs more than most of them do. So a group that can lends its own goroutine
// (see [Group.CanLend]), after EndReading and before Turn. If a function blocks,
// the turn soon goes on on another goroutine.
type Borrower interface {
	// HasWork reports whether there is work for the group's goroutine. It is
	// called on the turn, once after each EndReading.
	HasWork() bool

	// Work does some of the work. It reports whether there is more, for which it
	// is called again, and what EndReading reports: whether other goroutines have
	// got any that may be done at once. It may take as long as it likes, and end
	// its goroutine. It is not on the turn: nothing of the group may be used. n is
	// greater each time.
	Work(n uint64) (more, yield bool)

	// Recall tells Work(n), which has not returned and may not even have begun,
	// that the turn goes on without it. It must not block.
	Recall(n uint64)
}

// lending is an optional interface of a transport. Portable groups do not
// implement it: whoever takes a turn there holds their lock.
type lending interface {
	// lend calls b.Work. It returns what that returned, and ours: whether the turn
	// has not gone on without this goroutine.
	lend(b Borrower) (more, yield, ours bool)
}

// lookAfter is how often a loop checks whether the goroutine that it lent blocks. A
// function that blocks thus holds up the turn for once to twice that time.
const lookAfter = time.Millisecond

// loan is what a loop knows of the goroutine that it lends.
type loan struct {
	// count goes up by one when the goroutine is lent and by one when it is
	// back, or given up: it is odd while it is lent.
	count atomic.Uint64

	looking atomic.Bool // look is going to be called
	timer   *time.Timer // calls look
	seen    uint64      // count at the last look, which alone uses it
}

// lend implements lending.
func (l *loop) lend(b Borrower) (more, yield, ours bool) {
	n := l.loan.count.Add(1)
	l.keepLooking()
	returned := false
	defer func() {
		if !returned && l.loan.count.CompareAndSwap(n, n+1) {
			go l.run(true) // Work ends this goroutine
		}
	}()
	more, yield = b.Work(n)
	returned = true
	return more, yield, l.loan.count.CompareAndSwap(n, n+1)
}

// keepLooking starts the timer of look if it does not run.
func (l *loop) keepLooking() {
	if !l.loan.looking.Load() && l.loan.looking.CompareAndSwap(false, true) {
		l.loan.timer.Reset(lookAfter)
	}
}

// look takes the loop over if its goroutine has been lent for too long. If it is lent
// only now and then, the timer stops until the next time.
func (l *loop) look() {
	n := l.loan.count.Load()
	last := l.loan.seen
	l.loan.seen = n
	switch {
	case n%2 == 0 && n-last <= 2:
		l.loan.looking.Store(false)
		if l.loan.count.Load() != n {
			l.keepLooking()
		}
	case n%2 == 1 && n == last && l.loan.count.CompareAndSwap(n, n+1):
		l.loan.timer.Reset(lookAfter)
		l.g.borrower.Recall(n)
		l.run(true)
	default:
		l.loan.timer.Reset(lookAfter)
	}
}
