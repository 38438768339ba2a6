// Package loan lets an event loop of the server answer calls on its own goroutine,
// when their callees are in the same process and known to be quick. To wake another
// goroutine for them takes several times as long as they do.
//
// The server is the lender: the loop of a shard lends its goroutine. The callee is
// the borrower: it decides which of its functions may run there. The broker between
// them, which knows who answers what, has the [Loan]. Each knows the others by an
// interface only.
package loan

import (
	"context"

	"github.com/juggler-go/juggler/broker"
)

// CallerConn is an optional interface of a [broker.CallerConn], for a lender.
type CallerConn interface {
	// NewLoan makes a Loan for one lender.
	NewLoan() Loan
}

// A Loan takes the lender's calls, and then runs some of them on its goroutine. It
// belongs to one goroutine at a time, except for Recall.
type Loan interface {
	// Call is that of the CallerConn, but EndCalls has to follow: callees that borrow
	// are not woken before.
	Call(ctx context.Context, c *broker.Call) error

	// EndCalls ends the calls of a turn, which may count as made at one time. It
	// reports whether any are pending: Work or Wake has to follow then.
	EndCalls() (pending bool)

	// Wake wakes the callees of the pending calls, for a lender that cannot have Work
	// done on its goroutine.
	Wake()

	// Work runs some of the pending calls of one callee on this goroutine, or
	// wakes the callee if it does not want to run them here. It reports whether
	// calls are pending still, and whether others than this goroutine answer any
	// of those since EndCalls, or since the last Work. A function of the user may
	// hold it up, or end the goroutine. n is greater each time.
	Work(n uint64) (pending, left bool)

	// Recall is called by another goroutine when Work(n) does not return:
	// callees answer what is left on goroutines of their own. From then on the
	// Loan is the other goroutine's. Work(n) does nothing should it only begin
	// now.
	Recall(n uint64)
}

// CalleeConn is an optional interface of a [broker.CalleeConn], for a callee that
// borrows.
type CalleeConn interface {
	// Borrow has calls answered on goroutines that are lent, by a Borrower for
	// each Loan. It is called before the first Take.
	Borrow(newBorrower func() Borrower)

	// TakeNow is Take, but does not wait, and may be called while others are
	// in Take or TakeNow.
	TakeNow(dst []broker.Call) int
}

// A Borrower is a callee's part of a Loan: it answers calls on the goroutines that
// are lent.
type Borrower interface {
	// Work takes some calls and answers them. It returns how many it took, 0 if
	// it does not want to work here, and whether it left any to other
	// goroutines.
	Work() (took int, left bool)

	// Recall is called once, by another goroutine, when Work does not return:
	// its goroutine is the callee's from now on. The Borrower is not used again.
	Recall()
}
