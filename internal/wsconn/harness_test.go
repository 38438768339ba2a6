package wsconn_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"github.com/juggler-go/juggler/internal/netpoll"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/internal/wsconn"
)

func TestMain(m *testing.M) {
	waiting.AtOnce(8)
	goleak.VerifyTestMain(m)
}

// watchdog ends what hangs. No test waits for it when it passes.
const watchdog = waiting.Most

// wrapped is a connection whose concrete type is not a plain socket's.
type wrapped struct{ net.Conn }

func plain(nc net.Conn) net.Conn { return nc }

// onBothPaths runs a test on an event loop and on the portable path.
func onBothPaths(t *testing.T, f func(t *testing.T, wrap func(net.Conn) net.Conn)) {
	if netpoll.Supported {
		t.Run("loop", func(t *testing.T) { f(t, plain) })
	}
	t.Run("portable", func(t *testing.T) { f(t, func(nc net.Conn) net.Conn { return wrapped{nc} }) })
}

// server is a pool whose handlers echo unless a test says otherwise.
type server struct {
	t    testing.TB
	cfg  wsconn.Config
	pool *wsconn.Pool
	wrap func(net.Conn) net.Conn

	window uint8 // of connections that have agreed on compression
	hooks
}

// hooks are what a test may replace, before the first connection.
type hooks struct {
	made       func(g *wsconn.Group)
	message    func(s *session, op ws.OpCode, payload []byte)
	quiet      func(s *session)
	drained    func(s *session)
	unheard    func(s *session)
	closing    func(s *session, e *wsconn.CloseError)
	turn       func(g *wsconn.Group, now int64) int64
	frame      func(*wsconn.Conn)
	endReading func() bool
	hasWork    func() bool // nil: the other two are not called
	work       func(n uint64)
	recall     func(n uint64)
}

// session is an owner's part of a connection.
type session struct {
	wsconn.Conn
	server *server
	h      *handler
	closed chan *wsconn.CloseError
}

// handler is that of one group. What tests want done on its turns is queued.
type handler struct {
	server *server
	group  *wsconn.Group

	mu    sync.Mutex
	queue []func()
	byTag []*session
}

func config() wsconn.Config {
	return wsconn.Config{
		MaxMessage:   1 << 20,
		MaxQueue:     4 << 20,
		ReadTimeout:  watchdog,
		WriteTimeout: watchdog,
		CloseTimeout: watchdog,
		Binary:       true,
		CheckUTF8:    true,
	}
}

// served is how the server configures its connections. Binary messages are refused,
// and text is checked by the handler, which decodes it.
func served() wsconn.Config {
	cfg := config()
	cfg.Binary, cfg.CheckUTF8 = false, false
	return cfg
}

// checkAndEcho is the message hook of a handler that checks text itself.
func checkAndEcho(s *session, _ ws.OpCode, payload []byte) {
	if !utf8.Valid(payload) {
		s.Close(1007, "not valid UTF-8")
		return
	}
	s.WriteText(payload)
}

// inEachConfig runs a test with all that wsconn can check, and with the server's
// configuration; both on event loops and on the portable path.
func inEachConfig(t *testing.T, f func(t *testing.T, srv *server)) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		t.Run("all checks", func(t *testing.T) { f(t, newServer(t, wrap, config())) })
		t.Run("as served", func(t *testing.T) {
			srv := newServer(t, wrap, served())
			srv.message = checkAndEcho
			f(t, srv)
		})
	})
}

func newServer(t testing.TB, wrap func(net.Conn) net.Conn, cfg wsconn.Config) *server {
	srv := &server{t: t, cfg: cfg, wrap: wrap}
	cfg.NewHandler = func(g *wsconn.Group) wsconn.Handler {
		h := &handler{server: srv, group: g}
		if srv.made != nil {
			srv.made(g)
		}
		return h
	}
	srv.pool = wsconn.NewPool(cfg)
	t.Cleanup(func() {
		if err := srv.pool.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if s := srv.pool.Stats(); s != (wsconn.Stats{}) {
			t.Errorf("after Close there are still connections: %+v", s)
		}
	})
	return srv
}

func (h *handler) session(c *wsconn.Conn) *session { return h.byTag[c.Tag] }

func (h *handler) Message(c *wsconn.Conn, op ws.OpCode, payload []byte) {
	if f := h.server.message; f != nil {
		f(h.session(c), op, payload)
	} else if op == ws.OpText {
		c.WriteText(payload)
	} else {
		c.WriteBinary(payload)
	}
}

func (h *handler) Quiet(c *wsconn.Conn) {
	if f := h.server.quiet; f != nil {
		f(h.session(c))
	}
}

func (h *handler) Kept(*wsconn.Conn) int { return 0 }

func (h *handler) Unheard(c *wsconn.Conn) {
	if f := h.server.unheard; f != nil {
		f(h.session(c))
	}
}

func (h *handler) Closing(c *wsconn.Conn, e *wsconn.CloseError) {
	if f := h.server.closing; f != nil {
		f(h.session(c), e)
	}
}

func (h *handler) Closed(c *wsconn.Conn, e *wsconn.CloseError) {
	h.session(c).closed <- e // of room for one: a second would block the test
}

func (h *handler) Turn(now int64) int64 {
	h.mu.Lock()
	queue := h.queue
	h.queue = nil
	h.mu.Unlock()
	for _, f := range queue {
		f()
	}
	if f := h.server.turn; f != nil {
		return f(h.group, now)
	}
	return 0
}

func (h *handler) Frame(c *wsconn.Conn) {
	if f := h.server.frame; f != nil {
		f(c)
	}
}

func (h *handler) EndReading() bool {
	if f := h.server.endReading; f != nil {
		return f()
	}
	return false
}

func (h *handler) Drained(c *wsconn.Conn) { h.server.drained(h.session(c)) }

func (h *handler) HasWork() bool { return h.server.hasWork != nil && h.server.hasWork() }

func (h *handler) Work(n uint64) (more, yield bool) {
	h.server.work(n)
	return false, false
}

func (h *handler) Recall(n uint64) { h.server.recall(n) }

// on runs f on a turn of s's group and waits for it.
func (s *session) on(f func()) {
	s.server.t.Helper()
	done := make(chan struct{})
	s.h.mu.Lock()
	s.h.queue = append(s.h.queue, func() { f(); close(done) })
	s.h.mu.Unlock()
	s.Group().Wake()
	await(s.server.t, done, "a turn")
}

func await[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(watchdog):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// open returns what to pass to Adopt, and the session it will attach.
func (srv *server) open(response string) (*session, func(*wsconn.Group)) {
	s := &session{server: srv, closed: make(chan *wsconn.CloseError, 1)}
	return s, func(g *wsconn.Group) {
		g.Attach(&s.Conn, []byte(response))
		s.Deflate(srv.window)
		s.h = g.Handler().(*handler)
		s.Tag = uint32(len(s.h.byTag))
		s.h.byTag = append(s.h.byTag, s)
	}
}

// sockets returns both ends of a TCP connection.
func sockets(t testing.TB) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

// connect makes a connection whose handshake is done.
func (srv *server) connect() (*session, *peer) {
	srv.t.Helper()
	return srv.adopt(sockets(srv.t))
}

// connectNarrow makes one that is stuck when its peer has not read a few
// hundred kilobytes.
func (srv *server) connectNarrow() (*session, *peer) {
	srv.t.Helper()
	nc, client := sockets(srv.t)
	err := errors.Join(nc.(*net.TCPConn).SetWriteBuffer(16<<10), client.(*net.TCPConn).SetReadBuffer(16<<10))
	if err != nil {
		srv.t.Fatal(err)
	}
	return srv.adopt(nc, client)
}

func (srv *server) adopt(nc, client net.Conn) (*session, *peer) {
	srv.t.Helper()
	s, open := srv.open("")
	opened := make(chan struct{})
	if err := srv.pool.Adopt(srv.wrap(nc), nil, func(g *wsconn.Group) { open(g); close(opened) }); err != nil {
		srv.t.Fatal(err)
	}
	await(srv.t, opened, "open")
	return s, newPeer(srv.t, client)
}

// end waits for s to be closed and checks how.
func (s *session) end(code uint16, remote bool, cause error) {
	s.server.t.Helper()
	e := await(s.server.t, s.closed, "Closed")
	if e.Code != code || e.Remote != remote || !errors.Is(e.Err, cause) {
		s.server.t.Errorf("closed with %+v, want code %d, remote %v, cause %v", e, code, remote, cause)
	}
}

// peer is a client that can do everything wrong.
type peer struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	_ = nc.SetDeadline(time.Now().Add(watchdog))
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, Conn: nc, r: bufio.NewReader(nc)}
}

// frame is a masked frame.
func frame(fin bool, op ws.OpCode, payload []byte) []byte {
	f := ws.NewFrame(op, fin, payload)
	return ws.MustCompileFrame(ws.MaskFrameWith(f, [4]byte{0x12, 0x34, 0x56, 0x78}))
}

func text(s string) []byte { return frame(true, ws.OpText, []byte(s)) }

func closeFrame(code uint16, reason string) []byte {
	return frame(true, ws.OpClose, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}

// send writes raw bytes, all at once.
func (p *peer) send(b ...[]byte) {
	p.t.Helper()
	if _, err := p.Write(bytes.Join(b, nil)); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// read reads one frame, as it is.
func (p *peer) read() (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(p.r); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(p.r, f.Payload)
	return f, err
}

// expect reads one frame.
func (p *peer) expect(op ws.OpCode, payload string) {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatalf("expected frame %v %.40q: %v", op, payload, err)
	}
	if f.Header.Masked || f.Header.Rsv != 0 || !f.Header.Fin || f.Header.OpCode != op || string(f.Payload) != payload {
		p.t.Fatalf("got frame %+v %.80q, want op code %v %.80q", f.Header, f.Payload, op, payload)
	}
}

// expectClose reads a close frame and returns its reason.
func (p *peer) expectClose(code uint16) string {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatalf("expected a close frame: %v", err)
	}
	if f.Header.OpCode != ws.OpClose || len(f.Payload) < 2 || binary.BigEndian.Uint16(f.Payload) != code {
		p.t.Fatalf("got frame %+v %.80q, want a close frame with %d", f.Header, f.Payload, code)
	}
	return string(f.Payload[2:])
}

// expectEnd reads until the server has shut its side, of which nothing but
// the end may be left.
func (p *peer) expectEnd() {
	p.t.Helper()
	if b, err := p.r.ReadByte(); err != io.EOF {
		p.t.Fatalf("got byte %#x, %v, want the end", b, err)
	}
}

// hangUp shuts the writing side, so that the server sees the end.
func (p *peer) hangUp() {
	p.t.Helper()
	if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		p.t.Fatal(err)
	}
}
