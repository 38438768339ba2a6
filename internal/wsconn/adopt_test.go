package wsconn_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/netpoll"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// countingConn is a portable connection that counts its writes.
type countingConn struct {
	net.Conn
	mu     sync.Mutex
	writes int
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func TestTheResponseAndWhatFollowsLeaveInOneWrite(t *testing.T) {
	nc, client := sockets(t)
	counting := &countingConn{Conn: nc}
	srv := newServer(t, nil, config())
	s, open := srv.open("HTTP/1.1 101 Switching Protocols\r\n\r\n")
	err := srv.pool.Adopt(counting, text("early"), func(g *wsconn.Group) {
		open(g)
		s.WriteText([]byte("hello"))
	})
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, client)
	for _, want := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "\r\n"} {
		if line, err := p.r.ReadString('\n'); err != nil || line != want {
			t.Fatalf("got %q, %v; want %q", line, err, want)
		}
	}
	p.expect(ws.OpText, "hello")
	p.expect(ws.OpText, "early")
	counting.mu.Lock()
	defer counting.mu.Unlock()
	if counting.writes != 1 {
		t.Errorf("that took %d writes, want 1", counting.writes)
	}
}

func TestWhatWasReadWithTheHandshakeComesFirst(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		nc, client := sockets(t)
		p := newPeer(t, client)
		early := bytes.Join([][]byte{text("one"), frame(false, ws.OpText, []byte("tw"))}, nil)
		p.send(frame(true, ws.OpContinuation, []byte("o")), text("three"))
		_, open := srv.open("")
		if err := srv.pool.Adopt(wrap(nc), early, open); err != nil {
			t.Fatal(err)
		}
		p.expect(ws.OpText, "one")
		p.expect(ws.OpText, "two")
		p.expect(ws.OpText, "three")
	})
}

func TestASlowPeerStillGetsTheWholeResponse(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.MaxQueue = 1000
		srv := newServer(t, wrap, cfg)
		nc, client := sockets(t)
		s, open := srv.open("RESPONSE\n")
		if err := srv.pool.Adopt(wrap(nc), nil, func(g *wsconn.Group) {
			open(g)
			s.WriteText(make([]byte, 1001)) // more than will ever fit
		}); err != nil {
			t.Fatal(err)
		}
		p := newPeer(t, client)
		if line, err := p.r.ReadString('\n'); err != nil || line != "RESPONSE\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		p.expectClose(wsconn.CodeSlowConsumer)
		p.send(closeFrame(1000, ""))
		s.end(wsconn.CodeSlowConsumer, false, wsconn.ErrSlowConsumer)
	})
}

func TestOpenMayRefuse(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		nc, client := sockets(t)
		if err := srv.pool.Adopt(wrap(nc), text("early"), func(*wsconn.Group) {}); err != nil {
			t.Fatal(err)
		}
		newPeer(t, client).expectEnd()
		if s := srv.pool.Stats(); s.Loop+s.Portable != 0 {
			t.Errorf("Stats count it: %+v", s)
		}
	})
}

func TestOnlyPlainSocketsAreServedByLoops(t *testing.T) {
	if !netpoll.Supported {
		t.Log("no loops on this system: all is portable")
	}
	dir, err := os.MkdirTemp("", "ws")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	unixClient, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	unixServer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	tcpServer, tcpClient := sockets(t)
	wrappedServer, wrappedClient := sockets(t)
	pipeServer, pipeClient := net.Pipe()
	type embedding struct{ *net.TCPConn }
	embeddedServer, embeddedClient := sockets(t)

	var log bytes.Buffer
	cfg := config()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	srv := newServer(t, nil, cfg)
	loops := 0
	for _, tt := range []struct {
		name           string
		server, client net.Conn
		plain          bool
	}{
		{"TCP", tcpServer, tcpClient, true},
		{"Unix", unixServer, unixClient, true},
		{"wrapped", wrapped{wrappedServer}, wrappedClient, false},
		{"embedded", embedding{embeddedServer.(*net.TCPConn)}, embeddedClient, false},
		{"pipe", pipeServer, pipeClient, false},
	} {
		_, open := srv.open("")
		if err := srv.pool.Adopt(tt.server, nil, open); err != nil {
			t.Fatal(err)
		}
		p := newPeer(t, tt.client)
		p.send(text("echo"))
		p.expect(ws.OpText, "echo")
		if tt.plain && netpoll.Supported {
			loops++
		}
		if got := srv.pool.Stats().Loop; got != loops {
			t.Errorf("%s: %d connections on loops, want %d", tt.name, got, loops)
		}
	}
	if n := strings.Count(log.String(), "portable path"); netpoll.Supported && n != 3 {
		t.Errorf("%d log lines for 3 listeners:\n%s", n, &log)
	}
}

// tlsPair returns a TLS connection's ends before their handshake.
func tlsPair(t *testing.T) (server, client *tls.Conn) {
	t.Helper()
	a, b := sockets(t)
	return secure(t, a, b)
}

// secure puts TLS on both ends of a connection. Its handshake comes with the first bytes.
func secure(t *testing.T, server, client net.Conn) (*tls.Conn, *tls.Conn) {
	t.Helper()
	ts := httptest.NewUnstartedServer(nil)
	ts.StartTLS()
	cert := ts.TLS.Certificates
	ts.Close()
	return tls.Server(server, &tls.Config{Certificates: cert}), tls.Client(client, &tls.Config{InsecureSkipVerify: true})
}

func TestTLSTakesThePortablePath(t *testing.T) {
	srv := newServer(t, nil, config())
	nc, client := tlsPair(t)
	s, open := srv.open("")
	if err := srv.pool.Adopt(nc, nil, open); err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, client)
	big := strings.Repeat("x", 200_000)
	p.send(text("a"), text(big))
	p.expect(ws.OpText, "a")
	p.expect(ws.OpText, big)
	p.send(header(0x83, 0x80))
	p.expectClose(1002)
	p.expectEnd() // the server shut its side, which TLS can
	p.Close()
	s.end(1002, false, wsconn.ErrProtocol)
}

func TestABrokenTLSHandshakeIsAnEndLikeOthers(t *testing.T) {
	srv := newServer(t, nil, config())
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff", ""} {
		nc, client := tlsPair(t)
		s, open := srv.open("")
		if err := srv.pool.Adopt(nc, nil, open); err != nil {
			t.Fatal(err)
		}
		raw := client.NetConn()
		if _, err := io.WriteString(raw, garbage); err != nil {
			t.Fatal(err)
		}
		raw.Close()
		if e := await(t, s.closed, "Closed"); e.Code != 1006 || e.Err == nil {
			t.Errorf("after %q: closed with %+v", garbage, e)
		}
	}
}

func TestAPeerThatNeverEndsItsTLSHandshakeCanBeAborted(t *testing.T) {
	srv := newServer(t, nil, config())
	nc, client := tlsPair(t)
	s, open := srv.open("")
	if err := srv.pool.Adopt(nc, nil, open); err != nil {
		t.Fatal(err)
	}
	defer client.NetConn().Close()
	s.on(func() {
		s.WriteText([]byte("waits for the handshake"))
		s.Abort()
	})
	s.end(1006, false, wsconn.ErrAborted)
}

func TestADescriptorsNumberThatIsReusedConfusesNobody(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.Loops = 1
		srv := newServer(t, wrap, cfg)
		// In one turn the first message closes the other connection, whose
		// event is already fetched, and number and slot go to new ones.
		var victim *session
		srv.message = func(s *session, op ws.OpCode, b []byte) {
			if string(b) == "kill" {
				victim.Abort()
				return
			}
			s.WriteText(b)
		}
		for range 100 {
			killer, kp := srv.connect()
			v, vp := srv.connect()
			killer.on(func() { victim = v })
			kp.send(text("kill"))
			_, _ = vp.Write(text("lost"))
			n, np := srv.connect()
			np.send(text("mine"))
			np.expect(ws.OpText, "mine")
			v.end(1006, false, wsconn.ErrAborted)
			for s, p := range map[*session]*peer{killer: kp, n: np} {
				p.send(closeFrame(1000, ""))
				p.expectClose(1000)
				s.end(1000, true, nil)
			}
		}
	})
}

func TestThousandsOfConnectionsComeAndGo(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for i := range 250 {
					s, p := srv.connect()
					p.send(text("hello"))
					p.expect(ws.OpText, "hello")
					switch i % 3 {
					case 0:
						p.send(closeFrame(1000, ""))
						p.expectClose(1000)
						p.expectEnd()
						p.Close()
						s.end(1000, true, nil)
					case 1:
						p.Close()
						s.end(1006, false, io.EOF)
					case 2:
						s.on(s.Abort)
						s.end(1006, false, wsconn.ErrAborted)
						p.Close()
					}
				}
			})
		}
		all.Wait()
		if s := srv.pool.Stats(); s != (wsconn.Stats{}) {
			t.Errorf("left: %+v", s)
		}
	})
}

func TestWithoutADescriptorTheConnectionIsLeftToTheCaller(t *testing.T) {
	srv := newServer(t, nil, config())
	nc, client := sockets(t)
	p := newPeer(t, client)
	nc.Close() // as good as no descriptor left: it cannot be duplicated
	if err := srv.pool.Adopt(nc, nil, nil); netpoll.Supported && !errors.Is(err, net.ErrClosed) {
		t.Errorf("Adopt: %v", err)
	}
	p.expectEnd()
}
