package jugglertest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/caller"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func add(_ context.Context, in []int) (int, error) { return in[0] + in[1], nil }

func TestWholeSystem(t *testing.T) {
	t.Parallel()
	srv := jugglertest.New(t)
	srv.Handle("math.add", calleekit.Typed(add))
	c := srv.Client()
	var sum int
	if err := c.Call(t.Context(), "math.add", []int{1, 2}, &sum); err != nil || sum != 3 {
		t.Errorf("got %d, %v", sum, err)
	}
	sub, err := c.Subscribe(t.Context(), "news")
	if err != nil {
		t.Fatal(err)
	}
	srv.WaitSubscriptions(1)
	if err := srv.Handler.Publish(t.Context(), "news", "hello", nil); err != nil {
		t.Fatal(err)
	}
	e, err := sub.Next(t.Context())
	if err != nil || string(e.Args) != `"hello"` {
		t.Errorf("got %s, %v", e.Args, err)
	}
}

// A caller on the broker of the system sees its faults, as a client does.
func TestCallerOnBroker(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	srv := jugglertest.NewOn(t, b)
	began, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	srv.Handle("math.add", calleekit.Typed(add))
	srv.Handle("hold", func(ctx context.Context, _ *calleekit.Call) (any, error) {
		close(began)
		<-release
		return nil, ctx.Err()
	})
	c, err := caller.New(srv.Broker)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var sum int
	if err := c.Call(t.Context(), "math.add", []int{1, 2}, &sum); err != nil || sum != 3 {
		t.Errorf("got %d, %v", sum, err)
	}
	srv.Broker.Down()
	if err := c.Call(t.Context(), "math.add", []int{1, 2}, &sum); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("while the broker is down: got %v", err)
	}
	srv.Broker.Up()
	go func() { // ends with the call
		<-began
		b.Close()
	}()
	if err := c.Call(t.Context(), "hold", nil, nil); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("when the broker was closed: got %v", err)
	}
}

// An hour of a call takes no time in a bubble.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t)
		srv.Handle("slow", func(ctx context.Context, _ *calleekit.Call) (any, error) {
			select {
			case <-time.After(9 * time.Minute):
				return "done", nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		c := srv.Client()
		var got string
		err := c.Call(t.Context(), "slow", nil, &got, client.WithTimeout(10*time.Minute))
		if err != nil || got != "done" {
			t.Errorf("got %q, %v", got, err)
		}
		err = c.Call(t.Context(), "slow", nil, &got, client.WithTimeout(8*time.Minute))
		if !errors.Is(err, client.CodeExpired) {
			t.Errorf("a call that takes too long: %v", err)
		}
	})
}

func TestBrokerDown(t *testing.T) {
	srv := jugglertest.New(t)
	srv.Handle("math.add", calleekit.Typed(add))
	c := srv.Client()
	sub, err := c.Subscribe(t.Context(), "news")
	if err != nil {
		t.Fatal(err)
	}
	srv.Broker.Down()
	if err := c.Call(t.Context(), "math.add", []int{1, 2}, nil); !errors.Is(err, client.CodeUnavailable) {
		t.Errorf("call: %v", err)
	}
	if err := c.Publish(t.Context(), "news", 1); !errors.Is(err, client.CodeUnavailable) {
		t.Errorf("publish: %v", err)
	}
	if _, err := c.Subscribe(t.Context(), "other"); !errors.Is(err, client.CodeUnavailable) {
		t.Errorf("subscribe: %v", err)
	}
	srv.Broker.Up()
	if e, err := sub.Next(t.Context()); err != nil || !e.Gap {
		t.Errorf("got %+v, %v, want a gap", e, err)
	}
	if err := c.Call(t.Context(), "math.add", []int{1, 2}, nil); err != nil {
		t.Errorf("call after the outage: %v", err)
	}
}

func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t)
		c := srv.Client()
		sub, err := c.Subscribe(t.Context(), "news")
		if err != nil {
			t.Fatal(err)
		}
		first := c.Session()
		srv.Drop(c)
		if e, err := sub.Next(t.Context()); err != nil || !e.Gap {
			t.Errorf("got %+v, %v, want a gap", e, err)
		}
		if c.Session() == first {
			t.Error("the session is the same")
		}
		srv.WaitSessions(1)
		srv.WaitSubscriptions(1)
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithMaxQueueBytes(1<<17))
		ended := make(chan client.StateChange, 1)
		c := srv.Client(client.WithoutReconnect(), client.WithStateHook(func(ch client.StateChange) {
			if ch.State == client.Closed {
				ended <- ch
			}
		}))
		if _, err := c.Subscribe(t.Context(), "news"); err != nil {
			t.Fatal(err)
		}
		srv.Stall(c, true)
		for range 100 {
			if err := srv.Handler.Publish(t.Context(), "news", strings.Repeat("x", 4096), nil); err != nil {
				t.Fatal(err)
			}
		}
		srv.WaitSessions(0)
		<-ended
	})
}
