package caller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/caller"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/option/optiontest"
)

// Each of many calls at the same time gets its own result.
func TestCalls(t *testing.T) {
	b := newBroker(t)
	serve(t, b, map[string]calleekit.HandlerFunc{
		"echo":   func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil },
		"tenant": func(_ context.Context, c *calleekit.Call) (any, error) { return c.Header("tenant"), nil },
	})
	c := newCaller(t, b)
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			var out int
			if err := c.Call(t.Context(), "echo", i, &out); err != nil || out != i {
				t.Errorf("echo of %d: got %d, %v", i, out, err)
			}
		})
	}
	calls.Wait()
	tenant := caller.Typed[any, string](c, "tenant", caller.WithHeaders(map[string]string{"tenant": "a"}))
	if got, err := tenant(t.Context(), nil); err != nil || got != "a" {
		t.Errorf("got %q, %v", got, err)
	}
	var raw json.RawMessage
	if err := c.Call(t.Context(), "echo", json.RawMessage(`{"a": 1}`), &raw); err != nil || string(raw) != `{"a":1}` {
		t.Errorf("got %s, %v", raw, err)
	}
	if err := c.Call(t.Context(), "echo", 1, nil); err != nil {
		t.Error(err)
	}
	var text string
	if err := c.Call(t.Context(), "echo", 1, &text); err == nil {
		t.Error("a result that does not fit is no error")
	}
}

// What a callee answers arrives with code, message and data.
func TestErrorOfCallee(t *testing.T) {
	b := newBroker(t)
	serve(t, b, map[string]calleekit.HandlerFunc{
		"fail": func(context.Context, *calleekit.Call) (any, error) {
			return nil, &calleekit.Error{Code: 422, Message: "not a number", Data: json.RawMessage(`{"at":1}`)}
		},
	})
	err := newCaller(t, b).Call(t.Context(), "fail", nil, nil)
	wantError(t, err, nil, 422, false)
	var failure *caller.Error
	if errors.As(err, &failure); failure.Message != "not a number" || string(failure.Data) != `{"at":1}` {
		t.Errorf("got %#v", failure)
	}
}

// A callee passes on what another one has answered.
func TestErrorOfCalleeOfCallee(t *testing.T) {
	b := newBroker(t)
	c := newCaller(t, b)
	serve(t, b, map[string]calleekit.HandlerFunc{
		"inner": func(context.Context, *calleekit.Call) (any, error) {
			return nil, calleekit.Errorf(422, "not a number").WithData(1)
		},
		"outer": func(ctx context.Context, call *calleekit.Call) (any, error) {
			return nil, c.Call(ctx, "inner", call.Args, nil)
		},
		"nowhere": func(ctx context.Context, call *calleekit.Call) (any, error) {
			return nil, c.Call(ctx, "nobody", call.Args, nil)
		},
	})
	var failure *caller.Error
	err := c.Call(t.Context(), "outer", nil, nil)
	wantError(t, err, nil, 422, false)
	if errors.As(err, &failure); failure.Message != "not a number" || string(failure.Data) != "1" {
		t.Errorf("got %#v", failure)
	}
	err = c.Call(t.Context(), "nowhere", nil, nil)
	wantError(t, err, nil, frame.CodeNoCallee, false)
	if errors.As(err, &failure); failure.Message != "no callee for this URI" {
		t.Errorf("got %#v", failure)
	}
}

// A call that is refused was certainly not queued, and says so.
func TestRefusals(t *testing.T) {
	b := newBroker(t, memory.WithQueueCapacity(1))
	c := newCaller(t, b)
	wantError(t, c.Call(t.Context(), "nobody", 1, nil), broker.ErrNoCallee, frame.CodeNoCallee, true)
	wantError(t, c.Call(t.Context(), "", 1, nil), nil, frame.CodeBadRequest, true)
	wantError(t, c.Call(t.Context(), "u", 1, nil, caller.WithTimeout(0)), caller.ErrInvalidOption, 0, false)

	busy, err := b.OpenCallee(t.Context(), []string{"u"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	waiting, stop := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	defer calls.Wait()
	defer stop()
	var full atomic.Int32
	for range 3 { // whoever comes first is queued
		calls.Go(func() {
			err := c.Call(waiting, "u", 1, nil)
			if errors.Is(err, context.Canceled) {
				return
			}
			wantError(t, err, broker.ErrQueueFull, frame.CodeUnavailable, true)
			var failure *caller.Error
			if errors.As(err, &failure) && failure.RetryAfter == 0 {
				t.Error("a full queue does not say when to retry")
			}
			if full.Add(1) == 2 {
				stop()
			}
		})
	}
}

// A call ends when its time is over, whichever says how much that is, and its callee's
// function with it.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		h := newHolder()
		serve(t, b, map[string]calleekit.HandlerFunc{"hold": h.serve})
		c := newCaller(t, b, caller.WithCallTimeout(3*time.Second))
		within, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		for _, call := range []struct {
			ctx  context.Context
			opts []caller.CallOption
			want time.Duration
		}{
			{within, []caller.CallOption{caller.WithTimeout(time.Minute)}, 2 * time.Second},
			{t.Context(), nil, 3 * time.Second},
			{t.Context(), []caller.CallOption{caller.WithTimeout(time.Hour)}, time.Hour},
			{within, nil, 0},
		} {
			began := time.Now()
			err := c.Call(call.ctx, "hold", nil, nil, call.opts...)
			wantError(t, err, context.DeadlineExceeded, frame.CodeExpired, false)
			if took := time.Since(began); took != call.want {
				t.Errorf("took %v, want %v", took, call.want)
			}
			if call.want > 0 {
				if err := <-h.ended; err != context.DeadlineExceeded {
					t.Errorf("the callee's context ended with %v", err)
				}
			}
		}
	})
}

// A call whose context is cancelled ends at once, at its callee, too; it is not run if it
// was queued.
func TestCancel(t *testing.T) {
	b := newBroker(t)
	h := newHolder()
	callee := serve(t, b, map[string]calleekit.HandlerFunc{"hold": h.serve})
	c := newCaller(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-h.began
		cancel()
	}()
	wantError(t, c.Call(ctx, "hold", nil, nil), context.Canceled, 0, false)
	if err := <-h.ended; err != calleekit.ErrCancelled {
		t.Errorf("the callee's context ended with %v", err)
	}
	wantError(t, c.Call(ctx, "hold", nil, nil), context.Canceled, 0, false)
	if err := callee.Shutdown(t.Context()); err != nil || len(h.began) > 0 {
		t.Errorf("Shutdown: %v; %d calls more", err, len(h.began))
	}
}

// What a dead callee had taken ends in 502, what it had not in 404 when the grace is over.
func TestCalleeGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, memory.WithCalleeGrace(5*time.Second))
		h := newHolder()
		callee := serve(t, b, map[string]calleekit.HandlerFunc{"hold": h.serve})
		c := newCaller(t, b)
		lost, queued := make(chan error), make(chan error)
		go func() { lost <- c.Call(t.Context(), "hold", nil, nil) }()
		<-h.began
		callee.Close()
		began := time.Now()
		go func() { queued <- c.Call(t.Context(), "hold", nil, nil) }()
		wantError(t, <-lost, nil, frame.CodeCalleeLost, false)
		wantError(t, <-queued, nil, frame.CodeNoCallee, false)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the call that was queued took %v", took)
		}
	})
}

// A call that waits when its broker is closed ends then.
func TestBrokerCloses(t *testing.T) {
	b := newBroker(t)
	h := newHolder()
	serve(t, b, map[string]calleekit.HandlerFunc{"hold": h.serve})
	c := newCaller(t, b)
	go func() {
		<-h.began
		b.Close()
	}()
	err := c.Call(t.Context(), "hold", nil, nil)
	wantError(t, err, broker.ErrClosed, 0, false)
	wantError(t, err, broker.ErrUnknownOutcome, 0, false)
	wantError(t, c.Call(t.Context(), "hold", nil, nil), broker.ErrClosed, frame.CodeUnavailable, true)
}

// Close ends what is under way, at the callee, too.
func TestClose(t *testing.T) {
	b := newBroker(t)
	h := newHolder()
	serve(t, b, map[string]calleekit.HandlerFunc{"hold": h.serve})
	c := newCaller(t, b)
	done := make(chan error)
	go func() { done <- c.Call(t.Context(), "hold", nil, nil) }()
	<-h.began
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wantError(t, <-done, caller.ErrClosed, 0, false)
	if err := <-h.ended; err != calleekit.ErrCancelled {
		t.Errorf("the callee's context ended with %v", err)
	}
	wantError(t, c.Call(t.Context(), "hold", nil, nil), caller.ErrClosed, 0, false)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Shutdown waits for what is under way, as long as it may.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		h := newHolder()
		serve(t, b, map[string]calleekit.HandlerFunc{
			"hold": h.serve,
			"wait": func(context.Context, *calleekit.Call) (any, error) {
				h.began <- nil
				time.Sleep(time.Second)
				return 1, nil
			},
		})
		for uri, want := range map[string]error{"wait": nil, "hold": caller.ErrClosed} {
			c := newCaller(t, b)
			done := make(chan error, 1)
			go func() { done <- c.Call(t.Context(), uri, nil, nil) }()
			<-h.began
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			err := c.Shutdown(ctx)
			cancel()
			if got := <-done; !errors.Is(got, want) || want == nil && err != nil || want != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: Shutdown returned %v, the call %v", uri, err, got)
			}
			if err := c.Shutdown(t.Context()); err != nil {
				t.Errorf("the second Shutdown returned %v", err)
			}
		}
	})
}

// Results may come before the broker has confirmed the call, twice, late, or for calls
// that nobody has made: the first one counts, for its call only.
func TestResultsOfFaultyBroker(t *testing.T) {
	last := make(chan broker.Address, 1)
	b := &faulty{call: func(c broker.Call, deliver func(...broker.Result)) error {
		result := broker.Result{To: c.ReplyTo, Args: slices.Clone(c.Args)}
		again := broker.Result{To: c.ReplyTo, Err: broker.ErrCalleeLost}
		select {
		case late := <-last:
			deliver(broker.Result{To: late, Args: []byte("0")})
		default:
		}
		last <- c.ReplyTo
		deliver(broker.Result{}, result, again)
		result.Args[0] = 'x' // it belongs to the broker again
		deliver(again)
		return nil
	}}
	c := newCaller(t, b)
	for i := 1; i < 9; i++ {
		var out int
		if err := c.Call(t.Context(), "u", i, &out); err != nil || out != i {
			t.Errorf("got %d, %v; want %d", out, err, i)
		}
	}
}

// A call of which the broker does not know whether it is queued ends in its result.
func TestUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{call: func(c broker.Call, deliver func(...broker.Result)) error {
			if string(c.Args) == "1" {
				go func() {
					time.Sleep(time.Second)
					deliver(broker.Result{To: c.ReplyTo, Args: c.Args})
				}()
			}
			return fmt.Errorf("faulty: %w", broker.ErrUnknownOutcome)
		}}
		c := newCaller(t, b)
		if err := c.Call(t.Context(), "u", 1, nil); err != nil {
			t.Error(err)
		}
		err := c.Call(t.Context(), "u", 2, nil)
		wantError(t, err, context.DeadlineExceeded, frame.CodeExpired, false)
		wantError(t, err, broker.ErrUnknownOutcome, frame.CodeExpired, false)
		if want := "caller: call u: the call's time is over: faulty: " + broker.ErrUnknownOutcome.Error() + " (408)"; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, c.Call(ctx, "u", 2, nil), context.DeadlineExceeded, frame.CodeExpired, false)
		if len(b.cancelled) > 0 {
			t.Errorf("%d calls were cancelled whose time was over", len(b.cancelled))
		}
	})
}

// A broker that is out of reach refuses calls; a later one opens the connection.
func TestOpening(t *testing.T) {
	fails := []error{broker.ErrUnavailable, errors.New("of a kind of its own")}
	left := slices.Clone(fails)
	b := &faulty{
		open: func() error {
			if len(left) == 0 {
				return nil
			}
			err := left[0]
			left = left[1:]
			return err
		},
		call: func(c broker.Call, deliver func(...broker.Result)) error {
			deliver(broker.Result{To: c.ReplyTo})
			return nil
		},
	}
	c := newCaller(t, b)
	for _, fail := range fails {
		wantError(t, c.Call(t.Context(), "u", nil, nil), fail, frame.CodeUnavailable, true)
	}
	if err := c.Call(t.Context(), "u", nil, nil); err != nil {
		t.Error(err)
	}
}

// A broker that takes its time holds up no call that ends, and is told of all cancellations
// before Close ends the connection.
func TestSlowCancellations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{
			call:       func(broker.Call, func(...broker.Result)) error { return nil },
			cancelTime: 10 * time.Millisecond,
		}
		c := newCaller(t, b)
		ctx, cancel := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		for range 20 {
			calls.Go(func() { wantError(t, c.Call(ctx, "u", nil, nil), context.Canceled, 0, false) })
		}
		synctest.Wait()
		began := time.Now()
		cancel()
		calls.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("calls waited %v for their cancellation", took)
		}
		c.Close()
		if len(b.cancelled) != 20 || !b.closed {
			t.Errorf("%d of 20 calls were cancelled; closed: %v", len(b.cancelled), b.closed)
		}
	})
}

// A broker that does not answer holds up Close for a moment only.
func TestCloseOfHangingBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{
			call:       func(broker.Call, func(...broker.Result)) error { return nil },
			cancelTime: time.Hour,
		}
		c := newCaller(t, b)
		done := make(chan error)
		for range 20 {
			go func() { done <- c.Call(t.Context(), "u", nil, nil) }()
		}
		synctest.Wait()
		began := time.Now()
		c.Close()
		for range 20 {
			wantError(t, <-done, caller.ErrClosed, 0, false)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

func TestOptions(t *testing.T) {
	b := newBroker(t)
	optiontest.Range(t, option.CallerCallTimeout, caller.WithCallTimeout, func(o caller.Option) error {
		_, err := caller.New(b, o)
		return err
	})
	if _, err := caller.New(b, nil); !errors.Is(err, caller.ErrInvalidOption) {
		t.Errorf("New with a nil option: %v", err)
	}
	if _, err := caller.New(nil); err == nil {
		t.Error("New without a broker")
	}
}
