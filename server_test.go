package juggler_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/jugglertest"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(idleClientsEnv); addr != "" {
		idleClients(addr) // this process is the other side of TestIdleSessions
		return
	}
	waiting.AtOnce(4)
	goleak.VerifyTestMain(m,
		// The thread that starts programs stays to the end of the process.
		goleak.IgnoreAnyFunction("github.com/juggler-go/juggler/internal/child.runOnOneThread"))
}

// testServer is a handler on a real socket, with its broker.
type testServer struct {
	t      *testing.T
	h      *juggler.Handler
	broker *memory.Broker
	http   *httptest.Server
}

func newServer(t *testing.T, opts ...juggler.Option) *testServer {
	t.Helper()
	return newServerOn(t, itself, opts...)
}

// itself is how newServer looks at its broker; mayWait is another way.
func itself(b *memory.Broker) jugglertest.Roles { return b }

// newServerOn is newServer with the broker that roles makes of the embedded one.
func newServerOn(t *testing.T, roles func(*memory.Broker) jugglertest.Roles, opts ...juggler.Option) *testServer {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	return newServerWith(t, b, roles, opts...)
}

// newServerWith is newServerOn with an embedded broker of the test, which it closes.
func newServerWith(t *testing.T, b *memory.Broker, roles func(*memory.Broker) jugglertest.Roles, opts ...juggler.Option) *testServer {
	t.Helper()
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(roles(b)), juggler.WithAuthorizer(juggler.AllowAll())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{t, h, b, httptest.NewServer(h)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waiting.Most)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		s.http.Close()
		if err := b.Close(); err != nil {
			t.Errorf("broker: Close: %v", err)
		}
	})
	return s
}

// quiet is a logger for tests whose subject makes noise.
var quiet = slog.New(slog.DiscardHandler)

// waitSessions waits until the server has n sessions.
func (s *testServer) waitSessions(n int) {
	s.t.Helper()
	waitFor(s.t, "the number of sessions", func() bool { return s.h.NumSessions() == n })
}

// waitFor waits until cond holds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	waiting.Until(t, what, cond)
}

// handle answers uri with f until the test ends.
func (s *testServer) handle(uri string, f calleekit.HandlerFunc) {
	s.t.Helper()
	c, err := calleekit.New(s.broker)
	if err != nil {
		s.t.Fatal(err)
	}
	c.Handle(uri, f)
	if err := c.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
}

type calleeCall = calleekit.Call

// echo and wait are what callees of the tests do.
func echo(_ context.Context, c *calleeCall) (any, error) { return c.Args, nil }

func wait(ctx context.Context, _ *calleeCall) (any, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// asUser authenticates everybody as user.
func asUser(user string) func(*http.Request) (*juggler.Identity, error) {
	return func(*http.Request) (*juggler.Identity, error) { return &juggler.Identity{User: user}, nil }
}

// testClient speaks a protocol as text.
type testClient struct {
	t    *testing.T
	conn *websocket.Conn
}

// dial connects and, on juggler.1, takes the HELLO.
func (s *testServer) dial(protocol string) *testClient {
	s.t.Helper()
	return s.dialHeader(protocol, nil)
}

// dialHeader does so with HTTP headers.
func (s *testServer) dialHeader(protocol string, header http.Header) *testClient {
	s.t.Helper()
	c := s.connect(protocol, header)
	if protocol == "juggler.1" {
		c.expect(`{"type":"HELLO"}`)
	}
	return c
}

// connect connects, and takes nothing.
func (s *testServer) connect(protocol string, header http.Header) *testClient {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), waiting.Most)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, strings.Replace(s.http.URL, "http", "ws", 1), &websocket.DialOptions{
		Subprotocols: []string{protocol},
		HTTPHeader:   header,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.CloseNow() })
	return &testClient{s.t, conn}
}

func (c *testClient) send(message string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), waiting.Most)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		c.t.Fatalf("send %s: %v", message, err)
	}
}

// receive returns the next message.
func (c *testClient) receive() []byte {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), waiting.Most)
	defer cancel()
	_, b, err := c.conn.Read(ctx)
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	return b
}

// expect takes the next message, which must have at least the fields of want.
func (c *testClient) expect(want string) map[string]any {
	c.t.Helper()
	return c.compare(c.receive(), want)
}

// compare checks that the message b has at least the fields of want.
func (c *testClient) compare(b []byte, want string) map[string]any {
	c.t.Helper()
	got := decode(c.t, b)
	if !contains(got, decode(c.t, []byte(want))) {
		c.t.Fatalf("got %s, want %s", b, want)
	}
	return got
}

// decode returns the JSON object b.
func decode(t *testing.T, b []byte) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// contains reports whether got has everything that want has.
func contains(got, want any) bool {
	w, ok := want.(map[string]any)
	if !ok {
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		return string(a) == string(b)
	}
	g, ok := got.(map[string]any)
	if !ok {
		return false
	}
	for k, v := range w {
		if gv, ok := g[k]; !ok || !contains(gv, v) {
			return false
		}
	}
	return true
}

// expectClose waits for the server to close with code.
func (c *testClient) expectClose(code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), waiting.Most)
	defer cancel()
	for {
		if _, _, err := c.conn.Read(ctx); err != nil {
			if got := websocket.CloseStatus(err); int(got) != code {
				c.t.Fatalf("closed with %d (%v), want %d", got, err, code)
			}
			var end websocket.CloseError
			if errors.As(err, &end) && !utf8.ValidString(end.Reason) {
				c.t.Fatalf("the reason is not UTF-8: %q", end.Reason)
			}
			return
		}
	}
}

// serveTCP serves h on a real socket until the test ends.
func serveTCP(t testing.TB, h http.Handler) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() { // ends with Close
		srv.Serve(l)
		close(served)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	return l.Addr().String()
}

// The roles of a broker, under names of their own so that one struct can
// embed them all.
type (
	brokerCaller interface{ broker.Caller }
	brokerCallee interface{ broker.Callee }
	brokerPubSub interface{ broker.PubSub }
)

// dialIn connects to a server in memory, as dial does to one on a socket.
func dialIn(t *testing.T, srv *jugglertest.Server, protocol string, header http.Header) *testClient {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return srv.Dial(ctx) }}
	conn, _, err := websocket.Dial(t.Context(), jugglertest.URL, &websocket.DialOptions{
		Subprotocols: []string{protocol},
		HTTPHeader:   header,
		HTTPClient:   &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	c := &testClient{t, conn}
	if protocol == "juggler.1" {
		c.expect(`{"type":"HELLO"}`)
	}
	return c
}
