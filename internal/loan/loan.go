// Package loan is how an event loop of the server answers calls itself, when
// their callees are in the same process and are known to be quick. To wake
// another goroutine for them takes several times as long as they do.
//
// Three parties take part, each known to the others by an interface only: the
// server's shard, which lends the goroutine of its loop; an engine, which knows
// who answers what; and the callee, which decides what of it may run there.
package loan

import (
	"context"

	"github.com/juggler-go/juggler/broker"
)

// Lender is an optional interface of a [broker.CallerConn].
type Lender interface {
	// NewLoan makes a Loan for one lender.
	NewLoan() Loan
}

// A Loan passes on calls, and then a goroutine to answer them. It belongs to
// one goroutine at a time, except for Recall.
type Loan interface {
	// Call and CallBatch are those of the CallerConn and of
	// [broker.BatchCaller], but that Work has to follow: until then callees
	// that borrow need not be woken.
	Call(ctx context.Context, c *broker.Call) error
	broker.BatchCaller

	// Pending reports whether there is anything for Work to do. It follows the
	// calls of each turn, which may count as made at one time.
	Pending() bool

	// Work lends the calling goroutine to a callee of calls that came since
	// nothing was pending the last time, for some of them, or wakes the callee
	// if it does not want it. It reports whether any of the calls is answered by
	// other goroutines. A function of the user may hold it up, or end the
	// goroutine. n is greater each time.
	Work(n uint64) (left bool)

	// Recall is called by another goroutine when Work(n) does not return:
	// callees answer what is left on goroutines of their own. From then on the
	// Loan is the other goroutine's; Work(n) does nothing should it only begin
	// now.
	Recall(n uint64)
}

// Borrower is an optional interface of a [broker.CalleeConn].
type Borrower interface {
	// Borrow has calls answered on goroutines that are lent, by a Worker for
	// each Loan. It is called before the first Take.
	Borrow(newWorker func() Worker)

	// TakeNow is Take, but does not wait, and may be called while others are
	// in Take or TakeNow.
	TakeNow(dst []broker.Call) int
}

// A Worker answers calls on goroutines that are lent, for a callee.
type Worker interface {
	// Work takes some calls and answers them. It returns how many it took, 0 if
	// it does not want to work here, and whether it left any to other
	// goroutines.
	Work() (took int, left bool)

	// Recall is called once, by another goroutine, when Work does not return:
	// its goroutine is the callee's from now on. The Worker is not used again.
	Recall()
}
