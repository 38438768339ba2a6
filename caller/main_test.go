package caller_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/caller"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newBroker returns an embedded broker that is closed at the end of the test.
func newBroker(t *testing.T, opts ...memory.Option) *memory.Broker {
	t.Helper()
	b, err := memory.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// newCaller returns a caller that is closed at the end of the test.
func newCaller(t *testing.T, b broker.Caller, opts ...caller.Option) *caller.Caller {
	t.Helper()
	c, err := caller.New(b, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serve starts a callee that is closed at the end of the test.
func serve(t *testing.T, b broker.Callee, functions map[string]calleekit.HandlerFunc) *calleekit.Callee {
	t.Helper()
	c, err := calleekit.New(b, calleekit.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	for uri, f := range functions {
		c.Handle(uri, f)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A holder is a function that ends with its call. It tells of its calls.
type holder struct{ began, ended chan error }

func newHolder() holder { return holder{make(chan error, 100), make(chan error, 100)} }

func (h holder) serve(ctx context.Context, _ *calleekit.Call) (any, error) {
	h.began <- nil
	<-ctx.Done()
	h.ended <- context.Cause(ctx)
	return nil, ctx.Err()
}

// wantError checks an error and the code of the Error in it; 0: there is none.
func wantError(t *testing.T, err, want error, code int, refused bool) {
	t.Helper()
	var failure *caller.Error
	has := errors.As(err, &failure)
	switch {
	case want != nil && !errors.Is(err, want):
		t.Errorf("got %v, want %v", err, want)
	case has != (code != 0), has && (int(failure.Code) != code || failure.Refused != refused):
		t.Errorf("got %#v of %v, want code %d, refused %v", failure, err, code, refused)
	}
}

// A faulty broker answers calls as it is told to.
type faulty struct {
	open func() error
	call func(c broker.Call, deliver func(...broker.Result)) error

	cancelTime time.Duration // of Cancel

	mu        sync.Mutex // guards the following
	cancelled []broker.Address
	closed    bool
}

func (f *faulty) OpenCaller(_ context.Context, _ broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	if f.open != nil {
		if err := f.open(); err != nil {
			return nil, err
		}
	}
	return &faultyConn{f, deliver}, nil
}

type faultyConn struct {
	*faulty
	deliver func([]broker.Result)
}

func (c *faultyConn) Call(_ context.Context, call *broker.Call) error {
	return c.call(*call, func(results ...broker.Result) { c.deliver(results) })
}

func (c *faultyConn) Cancel(ctx context.Context, _ string, to broker.Address) error {
	select {
	case <-time.After(c.cancelTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return broker.ErrClosed
	}
	c.cancelled = append(c.cancelled, to)
	return nil
}

func (c *faultyConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}
