package systemtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/caller"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/redistest"
)

// servers are what brokers, and the test behind their backs, connect to.
type servers struct {
	options  []redis.Option
	admin    goredis.UniversalClient
	patterns bool // can be subscribed to
}

func TestSystemStandalone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	testSystem(t, servers{[]redis.Option{withAddr(server.Addr)}, server.Client(), true})
}

// A system is two nodes and what they run on.
type system struct {
	servers
	one, two *node
}

// testSystem runs everything that clients and callees do, and looks at what is left.
func testSystem(t *testing.T, servers servers) {
	t.Run("run", func(t *testing.T) {
		options := calm(servers.options...)
		// Long enough for all to be told on a busy machine.
		forget := juggler.WithOutcomes(juggler.OutcomeRule{URIs: "*", Keep: 15 * time.Second})
		s := &system{servers, startNodeOn(t, newBroker(t, options...), forget), startNodeOn(t, newBroker(t, options...), forget)}
		t.Run("calls", s.testCalls)
		t.Run("calls that end early", s.testEarlyEnds)
		t.Run("callee leaves", s.testCalleeLeaves)
		t.Run("without a server", s.testWithoutServer)
		t.Run("calls with keys", s.testKeys)
		t.Run("events", s.testEvents)
		t.Run("captured messages of juggler.0", s.testCaptured)
		wantExpiry(t, servers.admin)
	})
	await(t, "no key is left", func() bool {
		keys := keysOf(t, servers.admin)
		maps.DeleteFunc(keys, func(key string, _ time.Duration) bool {
			return strings.Contains(key, ":parts-bytes:") // for a minute it says that a node has closed
		})
		return len(keys) == 0
	})
}

// Calls from both nodes reach callees that have brokers of their own.
func (s *system) testCalls(t *testing.T) {
	functions := map[string]calleekit.HandlerFunc{
		"echo": echo,
		"fail": func(context.Context, *calleekit.Call) (any, error) {
			return nil, &calleekit.Error{Code: 422, Message: "not <this>", Data: json.RawMessage(`{"at": 1}`)}
		},
		"tenant": func(_ context.Context, c *calleekit.Call) (any, error) { return c.Header("tenant"), nil },
	}
	for range 2 {
		startCallee(t, functions, calm(s.options...)...)
	}
	var calls sync.WaitGroup
	for i, n := range []*node{s.one, s.two} {
		c := n.dial(t)
		for j := range 100 {
			calls.Go(func() {
				in, out := [2]int{i, j}, [2]int{}
				if err := c.Call(t.Context(), "echo", in, &out); err != nil || out != in {
					t.Errorf("echo of %v: got %v, %v", in, out, err)
				}
			})
		}
		calls.Go(func() {
			var failure *client.Error
			err := c.Call(t.Context(), "fail", nil, nil)
			if !errors.As(err, &failure) || failure.Code != 422 || failure.Message != "not <this>" || string(failure.Data) != `{"at": 1}` {
				t.Errorf("fail: got %#v", err)
			}
		})
		calls.Go(func() {
			var tenant string
			headers := client.WithHeaders(map[string]string{"tenant": "a"})
			if err := c.Call(t.Context(), "tenant", nil, &tenant, headers); err != nil || tenant != "a" {
				t.Errorf("tenant: got %q, %v", tenant, err)
			}
		})
		calls.Go(func() {
			if err := c.Call(t.Context(), "nobody", nil, nil); !errors.Is(err, client.CodeNoCallee) {
				t.Errorf("nobody: got %v", err)
			}
		})
	}
	calls.Wait()
}

func echo(_ context.Context, c *calleekit.Call) (any, error) { return &c.Args, nil }

// A call that is cancelled, that expires, or whose session ends does so in the
// callee too.
func (s *system) testEarlyEnds(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan error, 1)
	startCallee(t, map[string]calleekit.HandlerFunc{
		"hold": func(ctx context.Context, _ *calleekit.Call) (any, error) {
			began <- struct{}{}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, ctx.Err()
		},
	}, calm(s.options...)...)
	c := s.one.dial(t)
	endsWith := func(what string, wanted error) {
		t.Helper()
		select {
		case cause := <-ended:
			if !errors.Is(cause, wanted) {
				t.Errorf("%s: the function's context ended with %v", what, cause)
			}
		case <-time.After(patience):
			t.Fatalf("%s: the function's context did not end", what)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends with the call
		<-began
		cancel()
	}()
	if err := c.Call(ctx, "hold", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call ended with %v", err)
	}
	endsWith("cancelled", calleekit.ErrCancelled)

	if err := c.Call(t.Context(), "hold", nil, nil, client.WithTimeout(500*time.Millisecond)); !errors.Is(err, client.CodeExpired) {
		t.Errorf("an expired call ended with %v", err)
	}
	<-began
	endsWith("expired", context.DeadlineExceeded)

	gone := s.two.dial(t)
	if _, err := gone.Start(t.Context(), "hold", nil); err != nil {
		t.Fatal(err)
	}
	<-began
	gone.Close()
	endsWith("session ended", calleekit.ErrCancelled)
}

// A callee that leaves finishes its call. Once the grace is over nobody waits
// for another one.
func (s *system) testCalleeLeaves(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	callee := startCallee(t, map[string]calleekit.HandlerFunc{
		"finish": func(context.Context, *calleekit.Call) (any, error) {
			close(began)
			<-finish
			return "finished", nil
		},
	}, calm(s.options...)...)
	c := s.one.dial(t)
	call, err := c.Start(t.Context(), "finish", nil)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	left := make(chan error, 1)
	go func() { left <- callee.Shutdown(t.Context()) }()
	close(finish)
	var got string
	if err := call.Result(t.Context(), &got); err != nil || got != "finished" {
		t.Errorf("the call that ran ended with %q, %v", got, err)
	}
	if err := <-left; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := c.Call(t.Context(), "finish", nil, nil); !errors.Is(err, client.CodeNoCallee) {
		t.Errorf("in the grace, after which nobody is there: got %v", err)
	}
	// A call that is queued for nobody would leave its key for a minute.
	await(t, "the grace is over", func() bool {
		for key := range keysOf(t, s.admin) {
			if strings.HasSuffix(key, ":served:finish") {
				return false
			}
		}
		return true
	})
	if err := c.Call(t.Context(), "finish", nil, nil); !errors.Is(err, client.CodeNoCallee) {
		t.Errorf("after the grace: got %v", err)
	}
}

// A program that has a broker and no server calls and publishes like a client.
func (s *system) testWithoutServer(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan error, 1)
	startCallee(t, map[string]calleekit.HandlerFunc{
		"echo": echo,
		"hold": func(ctx context.Context, _ *calleekit.Call) (any, error) {
			began <- struct{}{}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, ctx.Err()
		},
	}, calm(s.options...)...)
	b := newBroker(t, calm(s.options...)...)
	c, err := caller.New(b)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var calls sync.WaitGroup
	for i := range 100 {
		calls.Go(func() {
			var out int
			if err := c.Call(t.Context(), "echo", i, &out); err != nil || out != i {
				t.Errorf("echo of %d: got %d, %v", i, out, err)
			}
		})
	}
	calls.Wait()
	if err := c.Call(t.Context(), "nobody", nil, nil); !errors.Is(err, broker.ErrNoCallee) {
		t.Errorf("nobody: got %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if err := c.Call(ctx, "hold", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call ended with %v", err)
	}
	if cause := <-ended; cause != calleekit.ErrCancelled {
		t.Errorf("the function's context ended with %v", cause)
	}

	sub := subscribe(t, s.one.dial(t), "plain")
	if err := broker.Publish(t.Context(), b, "plain", "hello", nil); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, sub); string(e.Args) != `"hello"` {
		t.Errorf("got %+v", e)
	}

	go func() {
		<-began
		b.Close()
	}()
	if err := c.Call(t.Context(), "hold", nil, nil); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("when the broker was closed: got %v", err)
	}
}

// Events from either node, from a client or a handler, reach the subscribers
// of both, once and in the order published.
func (s *system) testEvents(t *testing.T) {
	const events = 200
	var subscriptions []*client.Subscription
	for _, n := range []*node{s.one, s.two} {
		subscriptions = append(subscriptions, subscribe(t, n.dial(t), "news.go"))
		if s.patterns {
			subscriptions = append(subscriptions, subscribe(t, n.dial(t), "news.*", client.Pattern()))
		}
	}
	publisher := s.two.dial(t)
	headers := client.WithHeaders(map[string]string{"tenant": "a"})
	for i := range events {
		if err := publisher.Publish(t.Context(), "news.go", i, headers); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.one.handler.Publish(t.Context(), "news.go", events, nil); err != nil {
		t.Fatal(err)
	}
	for _, sub := range subscriptions {
		// The handler's event comes after those of the client, which were
		// confirmed before, unless they travel between a cluster's nodes.
		next, handler := 0, false
		for next < events || !handler {
			e := receive(t, sub)
			switch got := string(e.Args); {
			case e.Gap:
				t.Fatalf("%s: a gap", sub.Channel())
			case got == fmt.Sprint(events):
				handler = true
			case got != fmt.Sprint(next) || e.Channel != "news.go" || e.Headers["tenant"] != "a":
				t.Fatalf("%s: got %+v with %s, want %d", sub.Channel(), e, got, next)
			default:
				next++
			}
		}
	}
	if !s.patterns {
		if _, err := s.one.dial(t).Subscribe(t.Context(), "news.*", client.Pattern()); err == nil {
			t.Error("a pattern was subscribed to with sharded channels")
		}
	}
}

func subscribe(t *testing.T, c *client.Client, channel string, options ...client.SubscribeOption) *client.Subscription {
	t.Helper()
	sub, err := c.Subscribe(t.Context(), channel, options...)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func receive(t *testing.T, sub *client.Subscription) client.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := sub.Next(ctx)
	if err != nil {
		t.Fatalf("%s: %v", sub.Channel(), err)
	}
	return e
}
