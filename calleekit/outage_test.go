package calleekit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
)

// A switchable broker can be switched off: then its methods, also those that wait,
// return an error.
type switchable struct {
	broker.Callee

	mu    sync.Mutex // guards the following
	err   error      // while off
	off   chan struct{}
	tries []time.Time // of anything while off
}

func newSwitchable(b broker.Callee) *switchable {
	return &switchable{Callee: b, off: make(chan struct{})}
}

func (f *switchable) switchOff(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	close(f.off)
}

func (f *switchable) switchOn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.off = nil, make(chan struct{})
}

// state returns a channel that is closed when the broker is switched off, and
// the error to return if it is.
func (f *switchable) state() (chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		f.tries = append(f.tries, time.Now())
	}
	return f.off, f.err
}

func (f *switchable) failures() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tries)
}

func (f *switchable) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	if _, err := f.state(); err != nil {
		return nil, err
	}
	conn, err := f.Callee.OpenCallee(ctx, uris, cancelled)
	return &switchableConn{conn, f}, err
}

type switchableConn struct {
	broker.CalleeConn
	f *switchable
}

func (c *switchableConn) Take(ctx context.Context, dst []broker.Call) (int, error) {
	off, err := c.f.state()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-off:
			cancel()
		case <-ctx.Done():
		}
	}()
	n, err := c.CalleeConn.Take(ctx, dst)
	if _, offErr := c.f.state(); err != nil && offErr != nil {
		return 0, offErr
	}
	return n, err
}

func (c *switchableConn) Reply(ctx context.Context, results []broker.Result) error {
	if _, err := c.f.state(); err != nil {
		return err
	}
	return c.CalleeConn.Reply(ctx, results)
}

var errDown = fmt.Errorf("redis: take: %w", broker.ErrUnavailable)

func TestSurvivesOutage(t *testing.T) {
	for _, err := range []error{errDown, errors.New("something unclassified")} {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t)
			b := newSwitchable(s.engine)
			var log logBook
			c := s.callee(b, calleekit.WithLogger(log.logger()))
			c.Handle("f", func(context.Context, *calleekit.Call) (any, error) { return 1, nil })
			s.start(c)
			s.call("f", "").want("1")
			synctest.Wait()
			b.switchOff(err)
			time.Sleep(time.Minute)
			tries := b.failures()
			pause := 50 * time.Millisecond
			for i, at := range tries[1:] {
				if d := at.Sub(tries[i]); d < pause/2 || d > pause {
					t.Errorf("pause %d is %v, want %v to %v", i, d, pause/2, pause)
				}
				pause = min(2*pause, 5*time.Second)
			}
			if len(tries) < 17 {
				t.Errorf("%d tries in a minute", len(tries))
			}
			b.switchOn()
			r := s.call("f", "")
			start := time.Now()
			r.want("1")
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v to come back", d)
			}
			for _, want := range []string{"trying again", "operation=take", "works again", err.Error()} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("no %q in the log:\n%s", want, log.String())
				}
			}
			if n := strings.Count(log.String(), "level=WARN"); n != 1 {
				t.Errorf("%d warnings for one outage", n)
			}
		})
	}
}

func TestOutageAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := newSwitchable(s.engine)
		b.switchOff(errDown)
		c := s.callee(b)
		c.Handle("f", func(context.Context, *calleekit.Call) (any, error) { return 1, nil })

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := c.Start(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("Start during an outage: %v", err)
		}
		time.AfterFunc(time.Second, b.switchOn)
		s.start(c)
		s.call("f", "").want("1")
	})
}

func TestHeedsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := newSwitchable(s.engine)
		b.switchOff(broker.WithRetryAfter(errDown, 3*time.Second))
		c := s.callee(b)
		c.Handle("f", func(context.Context, *calleekit.Call) (any, error) { return 1, nil })
		start := time.Now()
		time.AfterFunc(time.Second, b.switchOn)
		s.start(c)
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("tried again after %v, want 3s", d)
		}
	})
}

// Results are kept during an outage, and stored after it.
func TestResultsSurviveOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b := newSwitchable(s.engine)
		c := s.callee(b)
		c.Handle("f", func(_ context.Context, c *calleekit.Call) (any, error) {
			time.Sleep(time.Second)
			return c.Args, nil
		})
		s.start(c)
		calls := []*request{s.call("f", "1"), s.call("f", "2")}
		synctest.Wait()
		b.switchOff(errDown)
		time.Sleep(30 * time.Second)
		if st := c.Stats(); st.Calls != 2 || st.Unanswered != 2 {
			t.Errorf("%+v, want 2 calls, unanswered", st)
		}
		b.switchOn()
		calls[0].want("1")
		calls[1].want("2")
		synctest.Wait()
		if st := c.Stats(); st.Lost != 0 || st.Unanswered != 0 {
			t.Errorf("%+v, want none lost or unanswered", st)
		}
	})
}

// When the broker is closed for good the callee stops, and Run says why.
func TestBrokerClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		var log logBook
		c := s.callee(nil, calleekit.WithLogger(log.logger()))
		var cause error
		c.Handle("f", func(ctx context.Context, _ *calleekit.Call) (any, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil, nil
		})
		ran := make(chan error, 1)
		go func() { ran <- c.Run(context.Background()) }()
		synctest.Wait()
		s.call("f", "")
		synctest.Wait()
		s.engine.Close()
		if err := <-ran; !errors.Is(err, broker.ErrClosed) {
			t.Errorf("Run returned %v, want %v", err, broker.ErrClosed)
		}
		synctest.Wait()
		if cause != calleekit.ErrStopped {
			t.Errorf("the function's context ended with %v", cause)
		}
		if !strings.Contains(log.String(), "broker failed for good") {
			t.Errorf("log: %s", log.String())
		}
		if err := c.Start(context.Background()); err != calleekit.ErrStopped {
			t.Errorf("Start after that: %v", err)
		}
	})
}

// What a drain could not store, since the broker was closed, is not passed over.
func TestBrokerClosedWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil)
		c.Handle("f", newSleeper().ServeCall)
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- c.Run(ctx) }()
		synctest.Wait()
		s.call("f", "1")
		synctest.Wait()
		cancel()
		synctest.Wait()
		s.engine.Close()
		if err := <-ran; !errors.Is(err, broker.ErrClosed) || !strings.Contains(err.Error(), "1 calls abandoned") {
			t.Errorf("Run returned %v, want 1 call abandoned and %v", err, broker.ErrClosed)
		}
		if st := c.Stats(); st.Calls != 1 || st.Lost != 1 {
			t.Errorf("%+v, want 1 call, lost", st)
		}
	})
}

// slowWriter gives whatever must not happen meanwhile an opportunity to.
type slowWriter struct{ io.Writer }

func (w slowWriter) Write(p []byte) (int, error) {
	for range 1000 {
		runtime.Gosched()
	}
	return w.Writer.Write(p)
}

// A broker that says it is closed is not asked again: until the callee had
// stopped, Take was called over and over, with a goroutine and a line in the
// log for each time.
func TestClosedBrokerIsNotAskedAgain(t *testing.T) {
	s := newSystem(t)
	b := newSwitchable(s.engine)
	var log logBook
	c := s.callee(b, calleekit.WithLogger(slog.New(slog.NewTextHandler(slowWriter{&log}, nil))))
	for _, uri := range []string{"f", "g"} {
		c.Handle(uri, func(context.Context, *calleekit.Call) (any, error) { return 1, nil }, calleekit.WithConcurrency(2))
	}
	if err := c.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.call("f", "").want("1")
	b.switchOff(broker.ErrClosed)
	for c.Start(context.Background()) != calleekit.ErrStopped || log.String() == "" {
		runtime.Gosched()
	}
	if err := c.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if n := len(b.failures()); n > 2 {
		t.Errorf("Take failed %d times, for two URIs", n)
	}
	if n := strings.Count(log.String(), "for good"); n != 1 {
		t.Errorf("logged %d times:\n%.1000s", n, log.String())
	}
}

func TestStartOnClosedBroker(t *testing.T) {
	s := newSystem(t)
	s.engine.Close()
	c := s.callee(nil)
	c.Handle("f", func(context.Context, *calleekit.Call) (any, error) { return 1, nil })
	if err := c.Start(context.Background()); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Start: %v, want %v", err, broker.ErrClosed)
	}
}
