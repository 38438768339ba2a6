package calleekit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
)

func TestDeadline(t *testing.T) {
	for _, tt := range []struct {
		name string
		wait func(ctx context.Context)
	}{
		{"waiting for Done", func(ctx context.Context) { <-ctx.Done() }},
		{"asking for Err", func(ctx context.Context) {
			for ctx.Err() == nil {
				time.Sleep(100 * time.Millisecond)
			}
		}},
		{"in a derived context", func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			<-ctx.Done()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				c := s.callee(nil)
				var took time.Duration
				var err, cause, late error
				c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
					start := time.Now()
					if d, ok := ctx.Deadline(); !ok || d.Sub(start) != 3*time.Second {
						t.Errorf("Deadline is %v, %v; want 3s from now", d.Sub(start), ok)
					}
					tt.wait(ctx)
					took, err, cause, late = time.Since(start), ctx.Err(), context.Cause(ctx), ctx.Err()
					return nil, err
				})
				s.start(c)
				// The embedded broker ignores a result that comes late, so
				// that none can be awaited: the function is.
				s.make(broker.Call{URI: "f", Timeout: 3 * time.Second})
				time.Sleep(time.Minute)
				synctest.Wait()
				if took != 3*time.Second || err != context.DeadlineExceeded || cause != context.DeadlineExceeded || late != err {
					t.Errorf("after %v: Err %v, Cause %v, Err again %v", took, err, cause, late)
				}
			})
		})
	}
}

// A cancellation reaches the function, whichever way it waits.
func TestCancel(t *testing.T) {
	for _, tt := range []struct {
		name string
		wait func(ctx context.Context) context.Context
	}{
		{"waiting for Done", func(ctx context.Context) context.Context { <-ctx.Done(); return ctx }},
		{"in a derived context", func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			<-ctx.Done()
			return ctx
		}},
		{"asking for Err", func(ctx context.Context) context.Context {
			for ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return ctx
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				c := s.callee(nil)
				ended := make(chan error, 2)
				c.Handle("f", func(ctx context.Context, _ *calleekit.Call) (any, error) {
					ctx = tt.wait(ctx)
					ended <- ctx.Err()
					ended <- context.Cause(ctx)
					return nil, ctx.Err()
				})
				s.start(c)
				r := s.call("f", "")
				synctest.Wait()
				start := time.Now()
				r.cancel()
				if err, cause := <-ended, <-ended; err != context.Canceled || cause != calleekit.ErrCancelled {
					t.Errorf("Err %v, Cause %v", err, cause)
				}
				if d := time.Since(start); d > time.Millisecond {
					t.Errorf("the function learnt of it after %v", d)
				}
			})
		})
	}
}

// outcome is an observer that keeps the codes of calls by URI.
type outcome struct{ codes chan int }

func (o outcome) OnCallEnd(_ string, code int, _ time.Duration) { o.codes <- code }

// What a function returns after the end of its context is classified by the
// reason of that end, if it says no more than that.
func TestCodesAfterTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cancel bool
		err    func(ctx context.Context) error
		want   int
	}{
		{"expired", false, func(ctx context.Context) error { return ctx.Err() }, 408},
		{"expired, wrapped", false, func(ctx context.Context) error { return errors.Join(errors.New("query"), ctx.Err()) }, 408},
		{"cancelled", true, func(ctx context.Context) error { return ctx.Err() }, 499},
		{"expired, but an error of its own", false, func(ctx context.Context) error { return errors.New("x") }, 500},
		{"cancelled, but a code of its own", true, func(ctx context.Context) error {
			return calleekit.Errorf(409, "%w", ctx.Err())
		}, 409},
		{"expired, but returns Canceled", false, func(context.Context) error { return context.Canceled }, 500},
		{"result all the same", true, func(context.Context) error { return nil }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				o := outcome{make(chan int, 1)}
				c := s.callee(nil, calleekit.WithObserver(o))
				c.Handle("f", func(ctx context.Context, _ *calleekit.Call) (any, error) {
					<-ctx.Done()
					return 1, tt.err(ctx)
				})
				s.start(c)
				r := s.call("f", "")
				synctest.Wait()
				if tt.cancel {
					r.cancel()
				}
				if got := <-o.codes; got != tt.want {
					t.Errorf("code %d, want %d", got, tt.want)
				}
			})
		})
	}
}

type ctxKey struct{}

// A context that is kept says that its call is over, for ever, and nothing of
// the calls that came after.
func TestContextAfterReturn(t *testing.T) {
	for _, tt := range []struct {
		name string
		use  func(ctx context.Context) // within the function
	}{
		{"never used before", func(context.Context) {}},
		{"Done was called", func(ctx context.Context) { ctx.Done() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				c := s.callee(nil, calleekit.WithConcurrency(1))
				var kept context.Context
				block := make(chan struct{})
				c.Handle("keep", func(ctx context.Context, c *calleekit.Call) (any, error) {
					tt.use(ctx)
					kept = ctx
					if calleekit.CallFrom(context.WithValue(ctx, ctxKey{}, 1)) != c {
						t.Error("CallFrom a derived context is not the call")
					}
					return nil, nil
				})
				c.Handle("block", func(context.Context, *calleekit.Call) (any, error) { <-block; return nil, nil })
				ctx := context.WithValue(context.Background(), ctxKey{}, "of Start")
				if err := c.Start(ctx); err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				s.call("keep", "").want("null")
				r := s.call("block", "")
				synctest.Wait()

				deadline, ok := kept.Deadline()
				if d := time.Until(deadline); !ok || d != time.Minute {
					t.Errorf("Deadline is %v from now, want a minute", d)
				}
				select {
				case <-kept.Done():
				default:
					t.Error("Done is open")
				}
				if err, cause := kept.Err(), context.Cause(kept); err != context.Canceled || cause != context.Canceled {
					t.Errorf("Err is %v, Cause %v", err, cause)
				}
				if calleekit.CallFrom(kept) != nil {
					t.Error("CallFrom returns a call that is over")
				}
				if v := kept.Value(ctxKey{}); v != "of Start" {
					t.Errorf("Value is %v", v)
				}
				derived, cancel := context.WithCancel(kept)
				defer cancel()
				if derived.Err() != context.Canceled {
					t.Error("a derived context has not ended")
				}
				close(block)
				r.want("null")
			})
		})
	}
}

func TestCallFromForeignContext(t *testing.T) {
	if calleekit.CallFrom(context.Background()) != nil {
		t.Error("a call in the background context")
	}
}

// No timer, channel or goroutine is left of a call's context once the function
// has returned: goleak and synctest would tell of the last two.
func TestDerivedContextsEndWithTheFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil)
		ended := make(chan error, 1)
		c.Handle("f", func(ctx context.Context, _ *calleekit.Call) (any, error) {
			derived, cancel := context.WithCancel(ctx)
			context.AfterFunc(derived, func() { ended <- derived.Err(); cancel() })
			return nil, nil
		})
		s.start(c)
		start := time.Now()
		s.call("f", "").want("null")
		if err := <-ended; err != context.Canceled || time.Since(start) != 0 {
			t.Errorf("ended with %v after %v", err, time.Since(start))
		}
	})
}

// Calls that are cancelled or expire between being taken and being started are
// not started. Whether a cancellation comes before Take has returned, which
// the wrapper arranges, or after, makes no difference.
func TestCancelBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := newHeldTake(s.engine)
		c := s.callee(b)
		c.Handle("f", func(context.Context, *calleekit.Call) (any, error) {
			t.Error("a call was started that had been cancelled")
			return nil, nil
		})
		s.start(c)
		r := s.call("f", "")
		<-b.taken
		r.cancel()
		synctest.Wait()
		b.release <- struct{}{}
		if code := <-b.codes; code != 499 {
			t.Errorf("answered with code %d, want 499", code)
		}
		if got := c.Stats().Unstarted; got != 1 {
			t.Errorf("Stats().Unstarted = %d, want 1", got)
		}
	})
}

func TestExpiryBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := newHeldTake(s.engine)
		b.timeout = 0
		c := s.callee(b)
		c.Handle("f", func(context.Context, *calleekit.Call) (any, error) {
			t.Error("a call was started whose time was over")
			return nil, nil
		})
		s.start(c)
		s.call("f", "")
		<-b.taken
		b.release <- struct{}{}
		if code := <-b.codes; code != 408 {
			t.Errorf("answered with code %d, want 408", code)
		}
		if got := c.Stats().Unstarted; got != 1 {
			t.Errorf("Stats().Unstarted = %d, want 1", got)
		}
	})
}

// A heldTake is a broker whose Take, when it got something, tells of that and
// returns only when released.
type heldTake struct {
	broker.Callee
	taken, release chan struct{}
	timeout        time.Duration // that the calls have then, unless it is negative
	codes          chan int      // of the results
}

func newHeldTake(b broker.Callee) *heldTake {
	return &heldTake{Callee: b, taken: make(chan struct{}), release: make(chan struct{}), timeout: -1, codes: make(chan int, 9)}
}

func (b *heldTake) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	conn, err := b.Callee.OpenCallee(ctx, uris, cancelled)
	return &heldConn{conn, b}, err
}

type heldConn struct {
	broker.CalleeConn
	b *heldTake
}

func (c *heldConn) Take(ctx context.Context, dst []broker.Call) (int, error) {
	n, err := c.CalleeConn.Take(ctx, dst)
	if n > 0 {
		c.b.taken <- struct{}{}
		<-c.b.release
		for i := range dst[:n] {
			if c.b.timeout >= 0 {
				dst[i].Timeout = c.b.timeout
			}
		}
	}
	return n, err
}

func (c *heldConn) Reply(ctx context.Context, results []broker.Result) error {
	for _, r := range results {
		if r.Err != nil {
			c.b.codes <- int(r.Err.Code)
		} else {
			c.b.codes <- 0
		}
	}
	return c.CalleeConn.Reply(ctx, results)
}

func TestTimeoutWithoutBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := newHeldTake(s.engine)
		b.timeout = 1<<63 - 1
		c := s.callee(b)
		c.Handle("f", func(ctx context.Context, _ *calleekit.Call) (any, error) {
			select {
			case <-ctx.Done():
			default:
			}
			return nil, ctx.Err()
		})
		s.start(c)
		r := s.call("f", "")
		<-b.taken
		time.Sleep(time.Second)
		b.release <- struct{}{}
		r.want("null")
	})
}
