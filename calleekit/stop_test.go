package calleekit_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
)

// sleeper is a function that takes a second, or less if its context ends, and
// tells how that was.
type sleeper struct {
	started chan struct{}
	causes  chan error
}

func newSleeper() *sleeper {
	return &sleeper{make(chan struct{}, 10), make(chan error, 10)}
}

func (f *sleeper) ServeCall(ctx context.Context, c *calleekit.Call) (any, error) {
	f.started <- struct{}{}
	select {
	case <-time.After(time.Second):
		f.causes <- nil
	case <-ctx.Done():
		f.causes <- context.Cause(ctx)
	}
	return c.Args, nil
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestShutdownDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		f := newSleeper()
		c := s.callee(nil, calleekit.WithConcurrency(3))
		c.Handle("f", f.ServeCall, calleekit.WithConcurrency(2))
		c.Handle("g", f.ServeCall)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		running := []*request{s.call("f", "1"), s.call("f", "2"), s.call("g", "3")}
		waiting := s.call("f", "4")
		synctest.Wait()

		start := time.Now()
		if err := c.Shutdown(within(t, time.Minute)); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("Shutdown took %v, the calls a second", d)
		}
		for i, r := range running {
			r.want(string(rune('1' + i)))
		}
		if n := len(f.started); n != 3 {
			t.Errorf("%d calls were started, want 3", n)
		}

		// What it had not taken is there for the next one.
		next := s.callee(nil)
		next.Handle("f", f.ServeCall)
		s.start(next)
		waiting.want("4")
	})
}

// A call that is being taken while the shutdown begins is answered.
func TestShutdownDuringTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := newHeldTake(s.engine)
		c := s.callee(b)
		c.Handle("f", newSleeper().ServeCall)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		running := s.call("f", "1")
		<-b.taken
		b.release <- struct{}{}
		synctest.Wait()
		taken := s.call("f", "2")
		<-b.taken
		time.AfterFunc(2*time.Second, func() { b.release <- struct{}{} })
		if err := c.Shutdown(within(t, time.Minute)); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		running.want("1")
		taken.want("2")
	})
}

// A call that is being taken while the callee is closed is abandoned as well.
func TestCloseDuringTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := newHeldTake(s.engine)
		c := s.callee(b)
		c.Handle("f", newSleeper().ServeCall)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		r := s.call("f", "1")
		<-b.taken
		time.AfterFunc(time.Second, func() { b.release <- struct{}{} })
		if err := c.Close(); err == nil || !strings.Contains(err.Error(), "1 calls abandoned") {
			t.Errorf("Close: %v, want 1 call abandoned", err)
		}
		r.wantError(broker.CodeCalleeLost, broker.ErrCalleeLost.Message)
	})
}

// A slowReply is a broker whose Reply stores at once and returns when released.
type slowReply struct {
	broker.Callee
	release chan struct{}
}

func (b slowReply) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	conn, err := b.Callee.OpenCallee(ctx, uris, cancelled)
	return slowConn{conn, b.release}, err
}

type slowConn struct {
	broker.CalleeConn
	release chan struct{}
}

func (c slowConn) Reply(ctx context.Context, results []broker.Result) error {
	err := c.CalleeConn.Reply(ctx, results)
	<-c.release
	return err
}

// A call whose result is being stored while the callee is closed is not abandoned.
func TestCloseDuringReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := slowReply{s.engine, make(chan struct{})}
		c := s.callee(b)
		c.Handle("f", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil })
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.call("f", "1").want("1")
		time.AfterFunc(time.Second, func() { close(b.release) })
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if st := c.Stats(); st != (calleekit.Stats{Calls: 1}) {
			t.Errorf("%+v, want 1 call and nothing else", st)
		}
	})
}

func TestShutdownWithdraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil)
		c.Handle("f", newSleeper().ServeCall)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		s.wantWithdrawn("f")
	})
}

// Whatever ends the patience, running calls are cancelled and answered 502.
func TestAbandonedCalls(t *testing.T) {
	patience := errors.New("out of patience")
	for _, tt := range []struct {
		name string
		stop func(c *calleekit.Callee) error
		took time.Duration
		want error
	}{
		{"Shutdown with a context that ends", func(c *calleekit.Callee) error {
			ctx, cancel := context.WithTimeoutCause(context.Background(), 300*time.Millisecond, patience)
			defer cancel()
			return c.Shutdown(ctx)
		}, 300 * time.Millisecond, patience},
		{"Close", (*calleekit.Callee).Close, 0, calleekit.ErrStopped},
		{"Close during Shutdown", func(c *calleekit.Callee) error {
			time.AfterFunc(300*time.Millisecond, func() { c.Close() })
			return c.Shutdown(context.Background())
		}, 300 * time.Millisecond, calleekit.ErrStopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				f := newSleeper()
				c := s.callee(nil)
				c.Handle("f", f.ServeCall)
				if err := c.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				calls := []*request{s.call("f", "1"), s.call("f", "2")}
				synctest.Wait()

				start := time.Now()
				err := tt.stop(c)
				if d := time.Since(start); d != tt.took {
					t.Errorf("took %v, want %v", d, tt.took)
				}
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "2 calls abandoned") {
					t.Errorf("returned %v, want 2 calls abandoned and %v", err, tt.want)
				}
				for _, r := range calls {
					if res := r.wait(); res.Err == nil || res.Err.Code != broker.CodeCalleeLost {
						t.Errorf("got %q, %v; want code 502", res.Args, res.Err)
					}
					if cause := <-f.causes; cause != calleekit.ErrStopped {
						t.Errorf("a function's context ended with %v", cause)
					}
				}
				synctest.Wait()
				if st := c.Stats(); st.Running != 0 || st.Lost != 2 {
					t.Errorf("%+v, want none running and 2 lost", st)
				}
				if err := c.Shutdown(context.Background()); !errors.Is(err, calleekit.ErrStopped) {
					t.Errorf("Shutdown again: %v", err)
				}
			})
		})
	}
}

// A function that takes no notice of its context holds nobody up, and what it
// returns in the end goes nowhere.
func TestFunctionThatOutlivesItsCallee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil, calleekit.WithConcurrency(1))
		c.Handle("f", func(_ context.Context, c *calleekit.Call) (any, error) {
			time.Sleep(time.Hour)
			return c.Args, nil
		})
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		r := s.call("f", "1")
		synctest.Wait()
		if err := c.Close(); err == nil {
			t.Error("Close abandoned a call without an error")
		}
		r.wantError(broker.CodeCalleeLost, broker.ErrCalleeLost.Message)
		time.Sleep(2 * time.Hour) // deliver tells of a second result
	})
}

func TestStopOfIdleCallee(t *testing.T) {
	for _, stop := range []func(*calleekit.Callee) error{
		(*calleekit.Callee).Close,
		func(c *calleekit.Callee) error { return c.Shutdown(context.Background()) },
	} {
		s := newSystem(t)
		c := s.callee(nil)
		c.Handle("f", newSleeper().ServeCall)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := stop(c); err != nil {
				t.Errorf("stopping an idle callee: %v", err)
			}
		}
	}
}

func TestStopBeforeStart(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil)
	c.Handle("f", newSleeper().ServeCall)
	if err := c.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := c.Start(t.Context()); err != calleekit.ErrStopped {
		t.Errorf("Start: %v, want %v", err, calleekit.ErrStopped)
	}
	if err := c.Run(t.Context()); err != calleekit.ErrStopped {
		t.Errorf("Run: %v, want %v", err, calleekit.ErrStopped)
	}
}

func TestStopDuringStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := newSwitchable(s.engine)
		b.switchOff(errDown)
		c := s.callee(b)
		c.Handle("f", newSleeper().ServeCall)
		started := make(chan error, 1)
		go func() { started <- c.Start(context.Background()) }()
		synctest.Wait()
		if err := c.Start(t.Context()); err == nil || err == calleekit.ErrStopped {
			t.Errorf("a second Start: %v", err)
		}
		start := time.Now()
		if err := c.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-started; !errors.Is(err, calleekit.ErrStopped) || time.Since(start) != 0 {
			t.Errorf("Start returned %v after %v", err, time.Since(start))
		}
	})
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name   string
		drain  time.Duration
		took   time.Duration
		failed bool
	}{
		{"drains", 10 * time.Second, time.Second, false},
		{"for a bounded time", 300 * time.Millisecond, 300 * time.Millisecond, true},
		{"or not at all", 0, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				c := s.callee(nil, calleekit.WithDrainTimeout(tt.drain))
				c.Handle("f", newSleeper().ServeCall)
				ctx, cancel := context.WithCancel(context.Background())
				ran := make(chan error, 1)
				go func() { ran <- c.Run(ctx) }()
				synctest.Wait()
				r := s.call("f", "1")
				synctest.Wait()
				start := time.Now()
				cancel()
				err := <-ran
				if d := time.Since(start); d != tt.took || (err != nil) != tt.failed {
					t.Errorf("Run returned %v after %v", err, d)
				}
				if res := r.wait(); (res.Err != nil) != tt.failed {
					t.Errorf("got %q, error %v", res.Args, res.Err)
				}
				synctest.Wait()
			})
		})
	}
}

// A uninterruptible broker opens callees in its own time, whatever the context says.
type uninterruptible struct {
	broker.Callee
	opened chan struct{}
}

func (b uninterruptible) OpenCallee(_ context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	<-b.opened
	return b.Callee.OpenCallee(context.Background(), uris, cancelled)
}

// A callee that was stopped while it started does not run, not even if the
// broker did not heed that.
func TestStopDuringStartThatSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := uninterruptible{s.engine, make(chan struct{})}
		c := s.callee(b)
		c.Handle("f", newSleeper().ServeCall)
		started := make(chan error, 1)
		go func() { started <- c.Start(context.Background()) }()
		synctest.Wait()
		time.AfterFunc(time.Second, func() { close(b.opened) })
		if err := c.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		for _, err := range []error{<-started, c.Start(context.Background())} {
			if err != calleekit.ErrStopped {
				t.Errorf("Start: %v, want %v", err, calleekit.ErrStopped)
			}
		}
		s.wantWithdrawn("f")
	})
}

// A refusing broker does not open callees of one URI.
type refusing struct {
	broker.Callee
	refused string
}

func (b refusing) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	if uris[0] == b.refused {
		return nil, broker.ErrClosed
	}
	return b.Callee.OpenCallee(ctx, uris, cancelled)
}

// A start that fails at one URI leaves no other announced.
func TestStartThatFailsHalfWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(refusing{s.engine, "g"})
		for _, uri := range []string{"f", "g"} {
			c.Handle(uri, newSleeper().ServeCall, calleekit.WithConcurrency(1))
		}
		if err := c.Start(t.Context()); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("Start: %v, want %v", err, broker.ErrClosed)
		}
		s.wantWithdrawn("f")
	})
}

// wantWithdrawn waits longer than any grace and then finds no callee of uri.
func (s *system) wantWithdrawn(uri string) {
	s.t.Helper()
	time.Sleep(time.Hour)
	err := s.conn.Call(s.t.Context(), &broker.Call{URI: uri, ReplyTo: broker.Address{Node: broker.ID{1}}, Timeout: time.Second})
	if !errors.Is(err, broker.ErrNoCallee) {
		s.t.Errorf("Call of %s: %v, want %v", uri, err, broker.ErrNoCallee)
	}
}

func TestRunEndsWithShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil)
		c.Handle("f", newSleeper().ServeCall)
		ran := make(chan error, 1)
		go func() { ran <- c.Run(context.Background()) }()
		synctest.Wait()
		r := s.call("f", "1")
		synctest.Wait()
		start := time.Now()
		go c.Shutdown(context.Background())
		if err := <-ran; err != nil || time.Since(start) != time.Second {
			t.Errorf("Run returned %v after %v", err, time.Since(start))
		}
		r.want("1")
	})
}

// A hanging broker takes its time to close each connection.
type hanging struct{ broker.Callee }

type hangingConn struct{ broker.CalleeConn }

func (h hanging) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	conn, err := h.Callee.OpenCallee(ctx, uris, cancelled)
	return hangingConn{conn}, err
}

func (c hangingConn) Close() error {
	time.Sleep(time.Second)
	return c.CalleeConn.Close()
}

// However many URIs have limits of their own, a broker that hangs holds up a callee's end
// once.
func TestStopsAllPoolsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(hanging{s.engine})
		for _, uri := range []string{"a", "b", "c"} {
			c.Handle(uri, func(context.Context, *calleekit.Call) (any, error) { return nil, nil }, calleekit.WithConcurrency(1))
		}
		s.start(c)
		began := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v, want a second", took)
		}
	})
}
