package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a juggler server that does, right or wrong, what its test says. It
// works over connections in memory, so that it can live in a synctest bubble,
// unless tcp is set.
type server struct {
	t        *testing.T
	url      string
	listener net.Listener
	dial     client.DialFunc

	// What the server says of itself; to be set before the first connection.
	proto frame.Protocol
	hello frame.HelloBody
	// refuse may answer a handshake in place of the upgrade.
	refuse func(n int, w http.ResponseWriter) bool
	// other makes it speak the other protocol.
	other func(n int) bool
	// script serves the nth connection (from 1), whose HELLO has been sent.
	script func(n int, p *peer)

	// noHello may serve a connection from before its HELLO.
	noHello func(n int, p *peer) bool

	first *peer // for scripts to use

	mu    sync.Mutex
	count int
}

func newServer(t *testing.T, script func(n int, p *peer)) *server {
	l := newPipeListener()
	s := &server{t: t, url: "ws://server.test/ws", listener: l, dial: l.dial, proto: frame.Juggler1, script: script}
	s.run()
	return s
}

func newTCPServer(t *testing.T, script func(n int, p *peer)) *server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	s := &server{t: t, url: "ws://" + l.Addr().String(), listener: l, dial: d.DialContext, proto: frame.Juggler1, script: script}
	s.run()
	return s
}

func (s *server) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var conns sync.WaitGroup
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns.Add(1)
		defer conns.Done()
		s.serve(ctx, w, r)
	})}
	var served sync.WaitGroup
	served.Go(func() { hs.Serve(s.listener) })
	s.t.Cleanup(func() {
		cancel()
		hs.Close()
		served.Wait()
		conns.Wait()
	})
}

func (s *server) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.count++
	n := s.count
	s.mu.Unlock()
	if s.refuse != nil && s.refuse(n, w) {
		return
	}
	proto := s.proto
	if s.other != nil && s.other(n) {
		proto = 1 - proto
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{proto.String()}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	p := &peer{t: s.t, ws: ws, ctx: ctx, proto: s.proto}
	if s.noHello != nil && s.noHello(n, p) {
		return
	}
	if s.proto == frame.Juggler1 {
		p.send(&frame.Frame{Type: frame.Hello, Hello: s.hello})
	}
	s.script(n, p)
}

// connections returns how many handshakes there were.
func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// client returns a client of s, which is closed at the end of the test.
func (s *server) client(opts ...client.Option) *client.Client {
	s.t.Helper()
	c, err := client.New(s.url, append([]client.Option{client.WithDialer(s.dial)}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// peer is the server's side of one connection.
type peer struct {
	t     *testing.T
	ws    *websocket.Conn
	ctx   context.Context
	proto frame.Protocol
}

// next returns the next message of the client other than PONG, or nil when
// the connection has ended.
func (p *peer) next() *frame.Frame {
	for {
		_, message, err := p.ws.Read(p.ctx)
		if err != nil {
			return nil
		}
		f := new(frame.Frame)
		if err := p.proto.DecodeRequest(message, f); err != nil {
			p.t.Errorf("the client sent %s: %v", message, err)
			return nil
		}
		if f.Type != frame.Pong {
			return f
		}
	}
}

// expect returns the next message, which has to be of the type typ; nil when
// the connection has ended.
func (p *peer) expect(typ frame.Type) *frame.Frame {
	f := p.next()
	if f != nil && f.Type != typ {
		p.t.Errorf("the client sent %v, want %v", f.Type, typ)
	}
	if f == nil {
		p.t.Errorf("the client closed, want %v", typ)
		return &frame.Frame{}
	}
	return f
}

// untilClosed reads until the connection has ended, and returns why.
func (p *peer) untilClosed() error {
	for {
		if _, _, err := p.ws.Read(p.ctx); err != nil {
			return err
		}
	}
}

func (p *peer) send(f *frame.Frame) { p.raw(string(p.proto.Append(nil, f))) }

func (p *peer) raw(message string) { p.ws.Write(p.ctx, websocket.MessageText, []byte(message)) }

func (p *peer) ack(f *frame.Frame) {
	p.send(&frame.Frame{Type: frame.Ack, For: f.ID, ForType: f.Type, URI: f.URI, Channel: f.Channel})
}

func (p *peer) nack(f *frame.Frame, code int, retryAfter time.Duration) {
	p.send(&frame.Frame{Type: frame.Nack, For: f.ID, ForType: f.Type, URI: f.URI, Channel: f.Channel,
		Err: frame.ErrorBody{Code: code, Message: []byte("no"), RetryAfter: retryAfter}})
}

func (p *peer) result(f *frame.Frame, args string) {
	p.send(&frame.Frame{Type: frame.Res, For: f.ID, URI: f.URI, Args: []byte(args)})
}

// event sends an EVNT for the exact subscription of channel; id is the first
// byte of the publication's.
func (p *peer) event(id byte, channel, args string) {
	p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{id}, Channel: []byte(channel), Args: []byte(args)})
}

// answer does what a good server does with f: calls return their arguments.
func (p *peer) answer(f *frame.Frame) {
	if f.Type == frame.Cancel {
		return
	}
	p.ack(f)
	if f.Type == frame.Call {
		p.result(f, string(f.Args))
	}
}

// serve answers all that comes until the connection has ended.
func (p *peer) serve() {
	for f := p.next(); f != nil; f = p.next() {
		p.answer(f)
	}
}

func (p *peer) close(code int, reason string) { p.ws.Close(websocket.StatusCode(code), reason) }

// drop ends the connection without a close frame.
func (p *peer) drop() { p.ws.CloseNow() }

// serveAll is the script of a good server.
func serveAll(_ int, p *peer) { p.serve() }

// pipeListener hands out connections in memory.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- b:
		return a, nil
	case <-l.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// websocketCode returns the code of the close frame in err, or -1.
func websocketCode(err error) int { return int(websocket.CloseStatus(err)) }

// advance lets d pass on the clock of the synctest bubble.
func advance(d time.Duration) { time.Sleep(d) }
