package wsconn

import (
	"sync/atomic"
	"time"
)

// Lender is an optional interface of a [Handler] that has functions to run
// which are done in no time as a rule, but may block all the same: functions of
// the user. To run them elsewhere takes waking a goroutine and a processor for
// it, which costs more than they do. So a group that can (see [Group.CanLend])
// lends its own goroutine to them, before Turn. Should they block, the turn
// soon goes on without it, on another goroutine.
type Lender interface {
	// Lends reports whether there is anything to lend a goroutine for. It is
	// called on the turn, before Yield, until it is false.
	Lends() bool

	// Lend runs some of the functions, and reports what Yield does: whether other
	// goroutines have got any that may be done at once. It may take as long as
	// it likes, and end its goroutine. It is not on the turn: nothing of the
	// group may be used. n is greater each time.
	Lend(n uint64) (yield bool)

	// Recall tells Lend(n), which has not returned and may not even have begun,
	// that the turn goes on without it. It must not block.
	Recall(n uint64)
}

// lending is an optional interface of a transport. Portable groups do not
// implement it: whoever takes a turn there holds their lock.
type lending interface {
	// lend returns what lender.Lend returned, and ours: whether the turn has
	// not gone on without this goroutine.
	lend(lender Lender) (yield, ours bool)
}

// lookAfter is when a loop looks whether what it lent its goroutine to blocks:
// the turn is held up for once to twice that time.
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
func (l *loop) lend(lender Lender) (yield, ours bool) {
	n := l.loan.count.Add(1)
	l.keepLooking()
	returned := false
	defer func() {
		if !returned && l.loan.count.CompareAndSwap(n, n+1) {
			go l.run(true) // Lend ends this goroutine
		}
	}()
	yield = lender.Lend(n)
	returned = true
	return yield, l.loan.count.CompareAndSwap(n, n+1)
}

// keepLooking sees to it that look is called again and again.
func (l *loop) keepLooking() {
	if !l.loan.looking.Load() && l.loan.looking.CompareAndSwap(false, true) {
		l.loan.timer.Reset(lookAfter)
	}
}

// look has the loop go on here if its goroutine is lent for too long. When it is
// lent once in a while only it looks no more until the next time.
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
		l.g.lender.Recall(n)
		l.run(true)
	default:
		l.loan.timer.Reset(lookAfter)
	}
}
