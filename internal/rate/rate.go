// Package rate bounds how often something happens. It counts with one number, the
// time at which all that was spent is paid off: the generic cell rate algorithm (ITU-T
// I.371), which allows what a token bucket allows and needs no timer.
package rate

import (
	"sync/atomic"
	"time"
)

// A Rate is how much may be spent: burst at once, and each unit again after a while.
// The zero Rate is no bound.
type Rate struct {
	each  int64 // ns that pay off one unit
	ahead int64 // ns: how far ahead of the time one may be
	most  int64 // ns that pay off what is spent at once, however much that is
}

// New returns the rate of perSecond units a second, burst of them at once. A
// perSecond of 0 is no bound.
func New(perSecond, burst int) Rate {
	if perSecond == 0 {
		return Rate{}
	}
	n := int64(perSecond)
	each := (int64(time.Second) + n - 1) / n // rounded up: never more than perSecond
	ahead := each * int64(burst)
	return Rate{each, ahead, ahead}
}

// CountingUpTo returns a Rate in which n units and more, spent at once, count as n, where
// else a burst does. It is for one side that stays below the rate of another: such a burst
// is spent when nothing else is left to pay off.
func (r Rate) CountingUpTo(n int) Rate {
	r.most = r.each * int64(n)
	return r
}

// Bounded reports whether r is a bound.
func (r Rate) Bounded() bool { return r.each != 0 }

// TwiceAhead reports whether over, as [Account.Spend] returned it, is a whole burst
// more than the rate allows.
func (r Rate) TwiceAhead(over time.Duration) bool { return int64(over) > r.ahead }

// Half returns how long it takes to pay off half of a burst.
func (r Rate) Half() time.Duration { return time.Duration(r.ahead / 2) }

// MessageUnit is how many bytes of a message count as one message (docs/protocol.md).
const MessageUnit = 1 << 10

// An Account is what one party has spent of a rate. The zero Account has spent
// nothing.
type Account int64 // ns: when all is paid off

// Spend spends n units at now, in ns of any clock that begins above 0, and returns how
// long the account would have had to wait first; 0: it is within the rate. They are
// spent in either case: who does not wait is further and further ahead.
func (a *Account) Spend(r Rate, now int64, n int) (over time.Duration) {
	paid, over := r.spend(int64(*a), now, n)
	*a = Account(paid)
	return over
}

// Settled reports whether all is paid off at now.
func (a Account) Settled(now int64) bool { return int64(a) <= now }

// spend returns when all is paid off if n units more are spent. Many count as most of
// them, or they would never be within the rate.
func (r Rate) spend(paid, now int64, n int) (later int64, over time.Duration) {
	cost := min(r.each*int64(n), r.most)
	later = max(paid, now) + cost
	return later, time.Duration(max(0, later-now-max(r.ahead, cost)))
}

// A SharedAccount is an Account of many goroutines. What it refuses is not spent, so
// that one of them that does not wait does no harm to the others.
type SharedAccount struct{ paid atomic.Int64 }

// Spend spends n units at now if they are within the rate, and returns 0; else how
// long to wait.
func (a *SharedAccount) Spend(r Rate, now int64, n int) (wait time.Duration) {
	for {
		paid := a.paid.Load()
		later, over := r.spend(paid, now, n)
		if over > 0 || a.paid.CompareAndSwap(paid, later) {
			return over
		}
	}
}

// Wait returns how long to wait before n units more are within the rate.
func (a *SharedAccount) Wait(r Rate, now int64, n int) time.Duration {
	_, over := r.spend(a.paid.Load(), now, n)
	return over
}

// Settled reports whether all is paid off at now.
func (a *SharedAccount) Settled(now int64) bool { return a.paid.Load() <= now }
