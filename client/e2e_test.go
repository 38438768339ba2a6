package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/internal/waiting"
)

// cluster is the real thing: nodes on real sockets that share a broker, callees
// behind them, and one address for clients, which leads to the front node.
type cluster struct {
	t      testing.TB
	broker *memory.Broker

	mu    sync.Mutex
	front string // host:port of the node that new connections reach
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	cl := &cluster{t: t, broker: b}
	callee, err := calleekit.New(b)
	if err != nil {
		t.Fatal(err)
	}
	callee.Handle("test.echo", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil })
	callee.Handle("test.header", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Header("k"), nil })
	callee.Handle("test.fail", func(context.Context, *calleekit.Call) (any, error) {
		return nil, calleekit.Errorf(422, "not a number").WithData(map[string]int{"at": 1})
	})
	callee.Handle("test.wait", func(ctx context.Context, _ *calleekit.Call) (any, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	callee.Handle("test.slow", func(ctx context.Context, c *calleekit.Call) (any, error) {
		timer := time.NewTimer(20 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			return c.Args, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	if err := callee.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { callee.Close() })
	return cl
}

// node is one handler of a cluster, on a socket of its own.
type node struct {
	h    *juggler.Handler
	stop func() // at once, as a crash would
}

// start starts a node and makes it the front.
func (cl *cluster) start(opts ...juggler.Option) *node {
	cl.t.Helper()
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(cl.broker), juggler.WithLogger(slog.New(slog.DiscardHandler))}, opts...)...)
	if err != nil {
		cl.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cl.t.Fatal(err)
	}
	cl.mu.Lock()
	cl.front = l.Addr().String()
	cl.mu.Unlock()
	hs := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	var served sync.WaitGroup
	served.Go(func() { hs.Serve(l) })
	n := &node{h: h}
	n.stop = sync.OnceFunc(func() {
		hs.Close()
		served.Wait()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		h.Shutdown(now)
	})
	cl.t.Cleanup(n.stop)
	return n
}

// dial connects to the front.
func (cl *cluster) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	cl.mu.Lock()
	front := cl.front
	cl.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, network, front)
}

func (cl *cluster) client(opts ...client.Option) *client.Client {
	cl.t.Helper()
	opts = append([]client.Option{client.WithDialer(cl.dial), client.WithBackoff(time.Millisecond, 50*time.Millisecond)}, opts...)
	c, err := client.Dial(cl.t.Context(), "ws://cluster.test/ws", opts...)
	if err != nil {
		cl.t.Fatal(err)
	}
	cl.t.Cleanup(func() { c.Close() })
	return c
}

func TestRealCalls(t *testing.T) {
	for _, p := range []frame.Protocol{frame.Juggler1, frame.Juggler0} {
		t.Run(p.String(), func(t *testing.T) {
			cl := newCluster(t)
			cl.start()
			c := cl.client(client.WithProtocols(p))
			ctx := t.Context()
			for _, want := range []string{
				`null`, `0`, `"\u0000\ud800 \" \\ é 日本 \u2028"`, `{"a":{"b":[1,2,{"c":null}]}}`, `-1.5e-300`,
				`"` + strings.Repeat("x", 60_000) + `"`, strings.Repeat("[", 500) + strings.Repeat("]", 500),
			} {
				var got json.RawMessage
				if err := c.Call(ctx, "test.echo", json.RawMessage(want), &got); err != nil || string(got) != want {
					t.Errorf("echo of %.40s: got %.40s, %v", want, got, err)
				}
			}
			var e *client.Error
			if err := c.Call(ctx, "test.fail", nil, nil); !errors.As(err, &e) || e.Message != "not a number" || e.Refused {
				t.Errorf("callee's error: got %v", err)
			}
			if p == frame.Juggler1 && (e.Code != 422 || string(e.Data) != `{"at":1}`) {
				t.Errorf("callee's error: got %+v", e)
			}
			if err := c.Call(ctx, "nobody", nil, nil); !errors.Is(err, client.CodeNoCallee) {
				t.Errorf("nobody answers: got %v", err)
			}
			if p == frame.Juggler1 { // juggler.0 does not tell the limit
				if err := c.Call(ctx, "test.echo", strings.Repeat("x", 70_000), nil); !errors.Is(err, client.CodeTooLarge) {
					t.Errorf("too large: got %v", err)
				}
			}
			err := c.Call(ctx, "test.wait", nil, nil, client.WithTimeout(20*time.Millisecond))
			if !errors.Is(err, client.CodeExpired) {
				t.Errorf("expired: got %v", err)
			}
		})
	}
}

func TestRealCancelReachesTheCallee(t *testing.T) {
	cl := newCluster(t)
	cl.start()
	began, ended := make(chan bool), make(chan error, 1)
	callee, err := calleekit.New(cl.broker)
	if err != nil {
		t.Fatal(err)
	}
	callee.Handle("test.cancelled", func(ctx context.Context, _ *calleekit.Call) (any, error) {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	if err := callee.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer callee.Close()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := cl.client().Start(ctx, "test.cancelled", nil)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the callee saw %v", err)
	}
	if err := p.Result(t.Context(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRealHeaders(t *testing.T) {
	cl := newCluster(t)
	cl.start()
	c := cl.client()
	h := client.WithHeaders(map[string]string{"k": "v\n\"é"})
	var got string
	if err := c.Call(t.Context(), "test.header", nil, &got, h); err != nil || got != "v\n\"é" {
		t.Errorf("got %q, %v", got, err)
	}
	sub := subscribe(t, c, "ch")
	if err := c.Publish(t.Context(), "ch", nil, h); err != nil {
		t.Fatal(err)
	}
	if e, err := sub.Next(t.Context()); err != nil || e.Headers["k"] != "v\n\"é" {
		t.Errorf("got %+v, %v", e, err)
	}
}

// More calls at a time than the server allows a session.
func TestRealConcurrentCalls(t *testing.T) {
	cl := newCluster(t)
	cl.start(juggler.WithMaxCalls(16))
	c := cl.client()
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			var got int
			if err := c.Call(t.Context(), "test.echo", i, &got); err != nil || got != i {
				t.Errorf("call %d: got %d, %v", i, got, err)
			}
		})
	}
	wg.Wait()
}

func TestRealEventsInOrder(t *testing.T) {
	for _, p := range []frame.Protocol{frame.Juggler1, frame.Juggler0} {
		t.Run(p.String(), func(t *testing.T) {
			cl := newCluster(t)
			cl.start(juggler.WithSessionRates(juggler.Rates{})) // of which juggler.0 does not tell
			subscriber, publisher := cl.client(client.WithProtocols(p)), cl.client(client.WithProtocols(p))
			exact := subscribe(t, subscriber, "news.go")
			pattern := subscribe(t, subscriber, "news.*", client.Pattern())
			events := 10_000
			if race.Enabled {
				events = 1000 // they take much longer
			}
			var wg sync.WaitGroup
			for _, sub := range []*client.Subscription{exact, pattern} {
				wg.Go(func() {
					for want := range events {
						e, err := sub.Next(t.Context())
						var n int
						if err == nil {
							err = e.Decode(&n)
						}
						if err != nil || n != want {
							t.Errorf("%s: got %d, want %d, %v", sub.Channel(), n, want, err)
							return
						}
					}
				})
			}
			for i := range events {
				if err := publisher.Publish(t.Context(), "news.go", i); err != nil {
					t.Fatal(err)
				}
			}
			wg.Wait()
		})
	}
}

// TestRealDrain moves a client from node to node while it calls, publishes and
// subscribes: nothing fails, nothing is missed, nothing comes twice, no gap.
func TestRealDrain(t *testing.T) {
	cl := newCluster(t)
	current := cl.start()
	c := cl.client()
	sub := subscribe(t, c, "ch")

	var published, called atomic.Int64
	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stopped() {
				if err := c.Call(t.Context(), "test.slow", 1, nil); err != nil {
					t.Error(err)
				}
				called.Add(1)
			}
		})
	}
	wg.Go(func() {
		for !stopped() {
			if err := c.Publish(t.Context(), "ch", published.Add(1)); err != nil {
				t.Error(err)
			}
		}
		// The last one, for the reader below.
		if err := c.Publish(t.Context(), "ch", -1); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for want := int64(1); ; want++ {
			e, err := sub.Next(t.Context())
			var n int64
			if err == nil && !e.Gap {
				err = e.Decode(&n)
			}
			if n == -1 {
				if want != published.Load()+1 {
					t.Errorf("%d events, want %d", want-1, published.Load())
				}
				return
			}
			if err != nil || n != want {
				t.Errorf("got %d, want %d (gap: %v), %v", n, want, e.Gap, err)
				want = n
			}
		}
	})
	sessions := []string{c.Session()}
	for range 3 {
		next := cl.start()
		ctx, cancel := context.WithTimeout(t.Context(), waiting.Most)
		if err := current.h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		current.stop()
		current = next
		sessions = append(sessions, c.Session())
	}
	close(stop)
	wg.Wait()
	if slices.Sort(sessions); len(slices.Compact(sessions)) != 4 {
		t.Errorf("sessions %v, want 4 different ones", sessions)
	}
	t.Logf("%d calls and %d publications during three drains", called.Load(), published.Load())
}

// The node dies without a word, and another takes its place.
func TestRealCrash(t *testing.T) {
	cl := newCluster(t)
	first := cl.start()
	c := cl.client()
	sub := subscribe(t, c, "n*", client.Pattern())
	lost, err := c.Start(t.Context(), "test.wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Start(t.Context(), "test.slow", 1, client.Idempotent())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), "news", 1); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, sub, `1`)
	first.stop()
	cl.start()
	if err := lost.Result(t.Context(), nil); !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("call: got %v", err)
	}
	if err := again.Result(t.Context(), nil); err != nil {
		t.Errorf("idempotent call: got %v", err)
	}
	wantEvents(t, sub, "gap")
	if err := c.Publish(t.Context(), "news", 2); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, sub, `2`)
}

func TestRealAuth(t *testing.T) {
	signIn := func(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
		if token == "wrong" {
			return nil, &juggler.Error{Code: 401, Message: "wrong token"}
		}
		return &juggler.Identity{User: token, Expires: time.Now().Add(400 * time.Millisecond)}, nil
	}
	cl := newCluster(t)
	n := cl.start(juggler.WithDeferredAuth(signIn, time.Second))
	var asked atomic.Int32
	c := cl.client(client.WithToken(func(context.Context) (string, error) {
		return fmt.Sprint("user", asked.Add(1)), nil
	}))
	session := c.Session()
	for range 40 { // for longer than the credentials live
		if err := c.Call(t.Context(), "test.slow", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if c.Session() != session || asked.Load() < 2 {
		t.Errorf("session %s, want %s; asked for %d tokens", c.Session(), session, asked.Load())
	}
	if s, ok := n.h.Session(session); !ok || !strings.HasPrefix(s.User(), "user") {
		t.Errorf("session %v, %v", s, ok)
	}

	wrong := client.WithToken(func(context.Context) (string, error) { return "wrong", nil })
	_, err := client.Dial(t.Context(), "ws://cluster.test", client.WithDialer(cl.dial), wrong)
	if !errors.Is(err, client.CodeUnauthenticated) || errors.Is(err, client.ErrClosed) || strings.Contains(err.Error(), "client closed") {
		t.Errorf("wrong token: got %v", err) // nobody has closed a client
	}
	// Without a token the server allows nothing but AUTH, and not for long.
	anonymous := cl.client()
	if err := anonymous.Call(t.Context(), "test.echo", nil, nil); !errors.Is(err, client.CodeUnauthenticated) {
		t.Errorf("anonymous: got %v", err)
	}
}

func TestRealRefusals(t *testing.T) {
	cl := newCluster(t)
	cl.start(juggler.WithMaxSessions(1), juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			return nil, &juggler.Error{Code: 401, Message: "who are you?"}
		}
		return &juggler.Identity{User: "u"}, nil
	}))
	dial := func(opts ...client.Option) *client.HandshakeError {
		t.Helper()
		c, err := client.Dial(t.Context(), "ws://cluster.test", append(opts, client.WithDialer(cl.dial))...)
		if err == nil {
			c.Close()
		}
		var e *client.HandshakeError
		if !errors.As(err, &e) {
			t.Fatalf("got %v, want a HandshakeError", err)
		}
		return e
	}
	if e := dial(); e.Status != 401 || !e.Own || e.Reconnect() || !strings.Contains(e.Body, "who are you?") {
		t.Errorf("no authorization: got %+v", e)
	}
	secret := client.WithHTTPHeader(http.Header{"Authorization": {"Bearer secret"}})
	cl.client(secret)
	if e := dial(secret); e.Status != 503 || !e.Own || !e.Reconnect() || e.RetryAfter == 0 {
		t.Errorf("too many sessions: got %+v", e)
	}
}

// A client that is told how much it may send is never refused for more.
func TestRealPace(t *testing.T) {
	cl := newCluster(t)
	n := cl.start(juggler.WithSessionRates(juggler.Rates{
		Messages:      juggler.Rate{PerSecond: 2000, Burst: 100},
		Subscriptions: juggler.Rate{PerSecond: 500, Burst: 10},
	}))
	c := cl.client()
	for i := range 30 {
		if _, err := c.Subscribe(t.Context(), fmt.Sprintf("c%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		if err := c.Publish(t.Context(), "news", 1); err != nil {
			t.Fatal(err)
		}
	}
	if nacks := n.h.Stats().Nacks; nacks != 0 {
		t.Errorf("%d requests were refused", nacks)
	}
}
