package jugglertest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/memnet"
)

// waitTime is how long something that a test waits for may take.
const waitTime = 20 * time.Second

// Roles is a broker that plays all three roles.
type Roles interface {
	broker.Caller
	broker.Callee
	broker.PubSub
}

// Server is a juggler system in one process. Its methods may be called
// concurrently; but all except Dial may fail the test, and therefore belong on the
// test's own goroutine.
type Server struct {
	// Handler is the node.
	Handler *juggler.Handler

	// Broker is the broker, with switches for faults.
	Broker *Broker

	t        testing.TB
	listener *memnet.Listener
	http     *http.Server
	log      *slog.Logger // to the test's output

	mu      sync.Mutex // guards the following
	links   map[*client.Client]*link
	callees []*calleekit.Callee
}

// link is what a client's connection runs over at present.
type link struct {
	mu      sync.Mutex   // guards the following
	conn    *memnet.Conn // nil if the client has a dialer of its own
	stalled bool
}

// New starts a system on an embedded broker with the given options of the
// handler, and ends it with the test. Clients may do everything, unless
// juggler.WithAuthorizer is among the options.
func New(t testing.TB, opts ...juggler.Option) *Server {
	t.Helper()
	return NewWithHistory(t, nil, opts...)
}

// NewWithHistory is [New] on an embedded broker that keeps events by rules (see
// [broker.HistoryRule]).
func NewWithHistory(t testing.TB, rules []broker.HistoryRule, opts ...juggler.Option) *Server {
	t.Helper()
	b, err := memory.New(memory.WithHistory(rules...))
	if err != nil {
		t.Fatalf("jugglertest: %v", err)
	}
	t.Cleanup(func() { // after that of NewOn
		if err := b.Close(); err != nil {
			t.Errorf("jugglertest: broker: Close: %v", err)
		}
	})
	return NewOn(t, b, opts...)
}

// NewOn is [New] on a broker of the caller's, which has to outlive the test:
// close it in a t.Cleanup registered before.
func NewOn(t testing.TB, b Roles, opts ...juggler.Option) *Server {
	t.Helper()
	s := &Server{
		Broker:   &Broker{roles: b},
		t:        t,
		listener: memnet.Listen(),
		links:    make(map[*client.Client]*link),
		log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	labelGoroutines(t)
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(s.Broker.front()), juggler.WithLogger(s.log), juggler.WithAuthorizer(juggler.AllowAll())}, opts...)...)
	if err != nil {
		t.Fatalf("jugglertest: %v", err)
	}
	s.Handler = h
	s.http = &http.Server{Handler: h}
	served := make(chan struct{})
	go func() { // ends with close
		_ = s.http.Serve(s.listener) // always http.ErrServerClosed
		close(served)
	}()
	t.Cleanup(func() {
		s.close()
		<-served
	})
	return s
}

// close ends clients, sessions, the server, calls with keys and callees: in this order, so
// that calls without an outcome are cancelled at their callees.
func (s *Server) close() {
	s.mu.Lock()
	clients, callees := s.links, s.callees
	s.links, s.callees = nil, nil
	s.mu.Unlock()
	for c, l := range clients {
		l.stall(false)
		if err := c.Close(); err != nil {
			s.t.Errorf("jugglertest: client: Close: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitTime)
	defer cancel()
	if err := s.Handler.Shutdown(ctx); err != nil {
		s.t.Errorf("jugglertest: Shutdown: %v", err)
	}
	if n := s.Handler.NumSessions(); n != 0 {
		s.t.Errorf("jugglertest: %d sessions are left after Shutdown", n)
	}
	if err := s.http.Close(); err != nil {
		s.t.Errorf("jugglertest: http.Server: Close: %v", err)
	}
	if err := s.Broker.stopCalls(ctx); err != nil && !errors.Is(err, broker.ErrClosed) { // closed by the test
		s.t.Errorf("jugglertest: stop calls: %v", err)
	}
	for _, c := range callees {
		if err := c.Shutdown(ctx); err != nil && !errors.Is(err, calleekit.ErrStopped) && !errors.Is(err, broker.ErrClosed) { // closed by the test
			s.t.Errorf("jugglertest: callee: Shutdown: %v", err)
		}
	}
}

// Dial opens a connection to the server, without the WebSocket handshake.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) { return s.listener.Dial(ctx) }

// URL is the address for clients that dial with [Server.Dial].
const URL = "ws://jugglertest/"

// Client returns a client that is connected, and closes it with the test.
// opts come after the ones that it needs.
func (s *Server) Client(opts ...client.Option) *client.Client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), waitTime)
	defer cancel()
	l := &link{}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx, s.listener) }
	c, err := client.Dial(ctx, URL, append([]client.Option{client.WithDialer(dial), client.WithLogger(s.log)}, opts...)...)
	if err != nil {
		s.t.Fatalf("jugglertest: client: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links[c] = l
	return c
}

func (l *link) dial(ctx context.Context, to *memnet.Listener) (net.Conn, error) {
	conn, err := to.Dial(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	conn.Stall(l.stalled)
	l.conn = conn
	return conn, nil
}

func (l *link) stall(stalled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = stalled
	if l.conn != nil {
		l.conn.Stall(stalled)
	}
}

// link finds what c runs over.
func (s *Server) link(c *client.Client) *link {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[c]
	if l == nil {
		s.t.Fatal("jugglertest: not a client of this server")
	}
	l.mu.Lock()
	foreign := l.conn == nil
	l.mu.Unlock()
	if foreign {
		s.t.Fatal("jugglertest: a client with a dialer of its own")
	}
	return l
}

// Drop breaks the connection of c, without a close frame: both sides see it
// reset. c connects again, unless its options say otherwise.
func (s *Server) Drop(c *client.Client) {
	s.t.Helper()
	l := s.link(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn.Reset()
}

// Stall makes c stop reading from its connection, or go on. What the server
// sends meanwhile piles up there.
func (s *Server) Stall(c *client.Client, stalled bool) {
	s.t.Helper()
	s.link(c).stall(stalled)
}

// Handle answers calls to uri with f until the test ends.
func (s *Server) Handle(uri string, f calleekit.HandlerFunc, opts ...calleekit.HandleOption) {
	s.t.Helper()
	c := s.NewCallee()
	c.Handle(uri, f, opts...)
	s.Start(c)
}

// NewCallee returns a callee on the server's broker, to be given functions
// and passed to [Server.Start].
func (s *Server) NewCallee(opts ...calleekit.Option) *calleekit.Callee {
	s.t.Helper()
	c, err := calleekit.New(s.Broker, append([]calleekit.Option{calleekit.WithLogger(s.log)}, opts...)...)
	if err != nil {
		s.t.Fatalf("jugglertest: callee: %v", err)
	}
	return c
}

// Start starts c: when it returns, calls are accepted. c is shut down with the
// test, which fails if a function of c does not end with its context. The test
// may close it before.
func (s *Server) Start(c *calleekit.Callee) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), waitTime)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		s.t.Fatalf("jugglertest: callee: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callees = append(s.callees, c)
}

// Wait waits until cond returns true, and fails the test if that takes longer
// than 20 seconds. what says what is waited for.
func (s *Server) Wait(what string, cond func() bool) {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(waitTime); !cond(); <-tick.C {
		if time.Now().After(end) {
			s.t.Fatalf("jugglertest: waited in vain for %s", what)
		}
	}
}

// WaitSessions waits until the node has n sessions.
func (s *Server) WaitSessions(n int) {
	s.t.Helper()
	s.Wait("the number of sessions", func() bool { return s.Handler.NumSessions() == n })
}

// WaitSubscriptions waits until the sessions of the node have n subscriptions
// together.
func (s *Server) WaitSubscriptions(n int) {
	s.t.Helper()
	s.Wait("the number of subscriptions", func() bool { return s.Handler.Stats().Subscriptions == n })
}
