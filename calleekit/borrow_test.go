package calleekit_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/loan"
)

// goroutine returns what names the calling goroutine in a trace.
func goroutine() string {
	buf := make([]byte, 64)
	name, _, _ := bytes.Cut(buf[:runtime.Stack(buf, false)], []byte("["))
	return string(name)
}

// newLendingSystem returns a system with a loan, and a callee with f at "f". It
// must be called in a bubble: then no function takes any time.
func newLendingSystem(t *testing.T, f calleekit.HandlerFunc, opts ...calleekit.Option) (*system, *calleekit.Callee) {
	s := newSystem(t)
	c, err := calleekit.New(s.engine, opts...)
	if err != nil {
		t.Fatal(err)
	}
	c.Handle("f", f)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s.loan = s.conn.(loan.CallerConn).NewLoan()
	synctest.Wait()
	return s, c
}

// lend lends the goroutine until nothing is pending.
func (s *system) lend() {
	for pending := s.loan.EndCalls(); pending; {
		s.lent++
		pending, _ = s.loan.Work(s.lent)
	}
}

// calls makes n calls.
func (s *system) calls(n int) (requests []*request) {
	s.t.Helper()
	for range n {
		requests = append(requests, s.call("f", "1"))
	}
	return requests
}

// becomeQuick makes calls until the function counts as quick.
func (s *system) becomeQuick() {
	s.t.Helper()
	for range 32 {
		s.work(1)
	}
}

// holdUp makes n calls and lends a goroutine that the function holds up; wait
// waits for it.
func (s *system) holdUp(n int) (requests []*request, wait func()) {
	s.t.Helper()
	requests = s.calls(n)
	var lent sync.WaitGroup
	lent.Go(s.lend)
	synctest.Wait()
	return requests, lent.Wait
}

// work makes n calls and then lends a goroutine, whose name it returns.
func (s *system) work(n int) (requests []*request, name string) {
	s.t.Helper()
	requests = s.calls(n)
	var wait sync.WaitGroup
	wait.Go(func() {
		name = goroutine()
		s.lend()
	})
	wait.Wait()
	synctest.Wait()
	return requests, name
}

func TestQuickFunctionsRunOnALentGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		s, _ := newLendingSystem(t, func(context.Context, *calleekit.Call) (any, error) {
			ran = append(ran, goroutine())
			return 1, nil
		}, calleekit.WithConcurrency(1))
		for range 40 {
			ran = nil
			requests, name := s.work(1)
			requests[0].want("1")
			if len(ran) != 1 {
				t.Fatalf("the function ran %d times", len(ran))
			}
			if lent, known := ran[0] == name, s.serial > 32; lent != known {
				t.Errorf("call %d: on the lent goroutine: %v, want %v", s.serial, lent, known)
			}
		}
	})
}

func TestALentGoroutineIsGivenBackAfterSomeCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newLendingSystem(t, func(context.Context, *calleekit.Call) (any, error) { return 1, nil })
		s.becomeQuick()
		before := c.Stats().Calls
		s.calls(200)
		for _, want := range []uint64{64, 128, 192, 200} {
			s.lent++
			pending, _ := s.loan.Work(s.lent)
			if n := c.Stats().Calls - before; n != want {
				t.Errorf("%d calls are answered, want %d", n, want)
			}
			if pending != (want < 200) {
				t.Errorf("after %d calls more are pending: %v", want, pending)
			}
		}
	})
}

func TestSlowFunctionsRunElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := time.Duration(0)
		var ran string
		s, _ := newLendingSystem(t, func(context.Context, *calleekit.Call) (any, error) {
			ran = goroutine()
			time.Sleep(takes)
			return 1, nil
		})
		check := func(takesNow time.Duration, want bool) {
			t.Helper()
			takes = takesNow
			requests, name := s.work(1)
			requests[0].want("1")
			if lent := ran == name; lent != want {
				t.Errorf("a call of %v: on the lent goroutine: %v, want %v", takes, lent, want)
			}
		}
		check(time.Millisecond, false)
		for range 32 {
			check(0, false)
		}
		check(time.Millisecond, true) // nobody could know
		for range 32 {
			check(0, false)
		}
		check(0, true)
	})
}

func TestAFunctionThatBlocksALentGoroutineIsLeftToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var block atomic.Bool
		var ran atomic.Value
		s, c := newLendingSystem(t, func(context.Context, *calleekit.Call) (any, error) {
			ran.Store(goroutine())
			if block.Swap(false) {
				<-release
			}
			return 1, nil
		})
		s.becomeQuick()
		block.Store(true)
		requests, wait := s.holdUp(10)
		if st := c.Stats(); st.Running != 1 || st.Waiting != 9 {
			t.Fatalf("%d run and %d wait, want 1 and 9", st.Running, st.Waiting)
		}
		s.loan.Recall(s.lent)
		for _, r := range requests[1:] {
			r.want("1")
		}
		// It has to earn trust again, longer than at first.
		for i := range 1001 {
			others, name := s.work(1)
			others[0].want("1")
			if lent, known := ran.Load() == name, i+9 >= 1000; lent != known {
				t.Fatalf("call %d after it blocked: on the lent goroutine: %v", i, lent)
			}
		}
		close(release)
		requests[0].want("1")
		wait()
	})
}

func TestAFunctionMayEndALentGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exit := false
		s, _ := newLendingSystem(t, func(context.Context, *calleekit.Call) (any, error) {
			if exit {
				exit = false
				runtime.Goexit()
			}
			return 1, nil
		})
		s.becomeQuick()
		exit = true
		requests, _ := s.work(5)
		requests[0].wantError(500, "internal error")
		for _, r := range requests[1:] {
			r.want("1")
		}
	})
}

func TestALentGoroutineKeepsToTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		release := make(chan struct{})
		var block atomic.Bool
		s, _ := newLendingSystem(t, func(context.Context, *calleekit.Call) (any, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			if block.Load() {
				<-release
			}
			return 1, nil
		}, calleekit.WithConcurrency(2))
		s.becomeQuick()
		block.Store(true)
		requests, wait := s.holdUp(10)
		s.loan.Recall(s.lent)
		synctest.Wait()
		more, _ := s.work(10)
		if n := most.Load(); n != 2 {
			t.Errorf("%d functions ran at a time, want 2", n)
		}
		close(release)
		wait()
		for _, r := range append(requests, more...) {
			r.want("1")
		}
		if n := most.Load(); n != 2 {
			t.Errorf("%d functions ran at a time, want 2", n)
		}
	})
}

func TestShutdownWaitsForALentGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var block atomic.Bool
		s, c := newLendingSystem(t, func(ctx context.Context, _ *calleekit.Call) (any, error) {
			if block.Load() {
				select {
				case <-release:
				case <-ctx.Done():
					return nil, errors.New("ended early")
				}
			}
			return 1, nil
		})
		s.becomeQuick()
		block.Store(true)
		requests, wait := s.holdUp(1)
		s.loan.Recall(s.lent)
		down := make(chan error, 1)
		go func() { down <- c.Shutdown(context.Background()) }()
		synctest.Wait()
		select {
		case <-down:
			t.Error("Shutdown did not wait")
		default:
		}
		close(release)
		requests[0].want("1")
		wait()
		if err := <-down; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

func TestADrainingCalleeTakesNothingOnALentGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s, c := newLendingSystem(t, func(_ context.Context, c *calleekit.Call) (any, error) {
			if string(c.Args) == "0" {
				<-release
			}
			return 1, nil
		})
		held := s.call("f", "0")
		s.lend()
		synctest.Wait()
		kept := s.calls(2)
		go c.Shutdown(context.Background())
		synctest.Wait()
		s.lend()
		synctest.Wait()
		for _, r := range kept {
			if len(r.result) > 0 {
				t.Error("a call was answered that came before the drain and was not taken")
			}
		}
		close(release)
		held.want("1")
	})
}
