package memory_test

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/loan"
)

// borrowing is a callee whose borrowers run f.
type borrowing struct {
	f         func(conn loan.CalleeConn) (took int, left bool)
	conn      loan.CalleeConn
	recalls   int
	borrowers int
}

type borrower struct{ *borrowing }

func (b borrower) Work() (int, bool) { return b.f(b.conn) }
func (b borrower) Recall()           { b.recalls++ }

// borrow has c borrow goroutines for f.
func borrow(c broker.CalleeConn, f func(conn loan.CalleeConn) (int, bool)) *borrowing {
	b := &borrowing{f: f, conn: c.(loan.CalleeConn)}
	b.conn.Borrow(func() loan.Borrower {
		b.borrowers++
		return borrower{b}
	})
	return b
}

// takeAll is what a borrower does that takes all calls and answers none.
func takeAll(conn loan.CalleeConn) (int, bool) {
	return conn.TakeNow(make([]broker.Call, 100)), false
}

// A lender numbers what is lent.
type lender struct {
	loan.Loan
	n uint64
}

func (s *system) newLender() *lender { return &lender{Loan: s.caller.(loan.CallerConn).NewLoan()} }

// work lends until nothing is pending.
func (l *lender) work() (left bool) {
	for pending := l.EndCalls(); pending; {
		var some bool
		l.n++
		pending, some = l.Work(l.n)
		left = left || some
	}
	return left
}

// lend makes a call over a loan.
func (s *system) lend(l loan.Loan, uri string) broker.Address {
	s.t.Helper()
	to, c := s.makeCall(uri, time.Minute)
	if err := l.Call(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
	return to
}

// A taker takes calls one after the other on a goroutine of its own, which must
// be durably blocked when nothing is there.
type taker struct {
	mu    sync.Mutex
	taken []broker.Address
}

func startTaker(t *testing.T, c broker.CalleeConn) *taker {
	k := new(taker)
	go func() {
		dst := make([]broker.Call, 1)
		for {
			if _, err := c.Take(context.Background(), dst); err != nil {
				return
			}
			k.mu.Lock()
			k.taken = append(k.taken, dst[0].ReplyTo)
			k.mu.Unlock()
		}
	}()
	t.Cleanup(func() { c.Close() })
	synctest.Wait()
	return k
}

func (k *taker) want(t *testing.T, what string, want ...broker.Address) {
	t.Helper()
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Equal(k.taken, want) {
		t.Errorf("%s: who waits in Take has got %v, want %v", what, k.taken, want)
	}
}

// A lender that cannot lend has the callees woken once for all its calls.
func TestWakeHasCalleesTakeWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c, other := s.callee(nil, "a"), s.callee(nil, "b")
		for _, c := range []broker.CalleeConn{c, other} {
			borrow(c, func(loan.CalleeConn) (int, bool) { t.Error("Work was called"); return 0, false })
		}
		k, ofOther := startTaker(t, c), startTaker(t, other)
		l := s.newLender()
		for range 3 {
			k.taken, ofOther.taken = nil, nil
			a1, b, a2 := s.lend(l, "a"), s.lend(l, "b"), s.lend(l, "a")
			k.want(t, "before Wake")
			ofOther.want(t, "before Wake")
			if !l.EndCalls() {
				t.Error("EndCalls says that nothing is pending")
			}
			l.Wake()
			k.want(t, "after Wake", a1, a2)
			ofOther.want(t, "after Wake", b)
			if l.EndCalls() {
				t.Error("calls are pending after Wake")
			}
		}
	})
}

func TestALentGoroutineGetsTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil, "a")
		var got []broker.Address
		b := borrow(c, func(conn loan.CalleeConn) (int, bool) {
			dst := make([]broker.Call, 1)
			n := conn.TakeNow(dst)
			for _, call := range dst[:n] {
				got = append(got, call.ReplyTo)
				if err := c.Reply(context.Background(), []broker.Result{{To: call.ReplyTo, Args: call.Args}}); err != nil {
					t.Error(err)
				}
			}
			return n, false
		})
		k := startTaker(t, c)
		l := s.newLender()
		for range 3 {
			got = nil
			want := []broker.Address{s.lend(l, "a"), s.lend(l, "a")}
			k.want(t, "before Work")
			if l.work() {
				t.Error("Work says that it left something")
			}
			k.want(t, "after Work")
			if !slices.Equal(got, want) {
				t.Errorf("Work got %v, want %v", got, want)
			}
		}
		if b.borrowers != 1 || b.recalls != 0 {
			t.Errorf("%d borrowers, %d recalls", b.borrowers, b.recalls)
		}
		to := s.mustCall("a", time.Minute)
		k.want(t, "a call without a loan", to)
	})
}

func TestWhatALentGoroutineLeavesIsTaken(t *testing.T) {
	tests := []struct {
		name string
		work func(conn loan.CalleeConn) (int, bool)
		left bool
	}{
		{"it takes nothing", func(loan.CalleeConn) (int, bool) { return 0, false }, true},
		{"it ends", func(loan.CalleeConn) (int, bool) { runtime.Goexit(); return 0, false }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				c, d := s.callee(nil, "a"), s.callee(nil, "b")
				borrow(c, tt.work)
				borrow(d, tt.work)
				atA, atB := startTaker(t, c), startTaker(t, d)
				l := s.newLender()
				a, b := s.lend(l, "a"), s.lend(l, "b")
				left := false
				var wait sync.WaitGroup
				wait.Go(func() { left = l.work() })
				wait.Wait()
				if left != tt.left {
					t.Errorf("Work says that calls are left: %v, want %v", left, tt.left)
				}
				atA.want(t, "a", a)
				atB.want(t, "b", b)
			})
		})
	}
}

func TestARecalledLoanLeavesAllToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c, d := s.callee(nil, "a"), s.callee(nil, "b")
		release := make(chan struct{})
		blocked := borrow(c, func(loan.CalleeConn) (int, bool) { <-release; return 0, false })
		idle := borrow(d, takeAll)
		atA, atB := startTaker(t, c), startTaker(t, d)
		l := s.newLender()
		a, b := s.lend(l, "a"), s.lend(l, "b")
		var wait sync.WaitGroup
		wait.Go(func() { l.work() })
		synctest.Wait()
		l.Recall(l.n)
		atA.want(t, "of the borrower that blocks", a)
		atB.want(t, "behind it", b)
		if blocked.recalls != 1 || idle.recalls != 0 {
			t.Errorf("%d and %d recalls, want 1 and 0", blocked.recalls, idle.recalls)
		}

		// One that begins only now does nothing.
		blocked.f = func(loan.CalleeConn) (int, bool) {
			t.Error("a borrower works for a loan that was recalled")
			return 0, false
		}
		l.Work(l.n)

		// The loan goes on, with another borrower, while that one still blocks.
		blocked.f = takeAll
		s.lend(l, "a")
		l.work()
		atA.want(t, "after another Work", a)
		if blocked.borrowers != 2 {
			t.Errorf("%d borrowers, want 2", blocked.borrowers)
		}
		close(release)
		wait.Wait()
	})
}

func TestCallsAreKeptForALoanOnlyWhereItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, memory.WithQueueCapacity(8))
		mine, other := s.callee(nil, "mine"), s.callee(nil, "other")
		borrow(mine, takeAll)
		atMine, atOther := startTaker(t, mine), startTaker(t, other)
		l := s.newLender()

		to := s.lend(l, "other")
		atOther.want(t, "a callee that does not borrow", to)
		if l.EndCalls() {
			t.Error("the loan waits for Work")
		}

		// More than a quarter of the queue's capacity is not kept.
		first, second, third := s.lend(l, "mine"), s.lend(l, "mine"), s.lend(l, "mine")
		atMine.want(t, "a queue that fills", first, second, third)
		l.work()

		// A call without a loan does not overtake.
		kept, direct := s.lend(l, "mine"), s.mustCall("mine", time.Minute)
		atMine.want(t, "a call behind those that are kept", first, second, third, kept, direct)
		l.work()

		// Of two callees each has its turn.
		second2 := s.callee(nil, "mine")
		atSecond := startTaker(t, second2)
		fourth, fifth := s.lend(l, "mine"), s.lend(l, "mine")
		synctest.Wait()
		if n := len(atMine.taken) + len(atSecond.taken); n != 7 {
			t.Errorf("of %v and %v one waits for Work", fourth, fifth)
		}
	})
}

func TestACalleeThatClosesGetsNoLentGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil, "a")
		borrow(c, func(conn loan.CalleeConn) (int, bool) {
			if n := conn.TakeNow(make([]broker.Call, 10)); n != 0 {
				t.Errorf("a closed callee took %d calls", n)
			}
			return 0, false
		})
		startTaker(t, c)
		l := s.newLender()
		to := s.lend(l, "a")
		c.Close()
		l.work()
		next := s.callee(nil, "a")
		startTaker(t, next).want(t, "the next callee", to)
	})
}

// Calls that no loan keeps have the time of their turn as well: one that is made
// long after those before it is not over already.
func TestEachTurnHasItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		k := startTaker(t, s.callee(nil, "a")) // which does not borrow
		l := s.newLender()
		var want []broker.Address
		for range 3 {
			want = append(want, s.lend(l, "a"))
			l.work()
			k.want(t, "in a turn of its own", want...)
			time.Sleep(2 * time.Minute) // calls have one
		}
	})
}
