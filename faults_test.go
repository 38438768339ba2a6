package juggler_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/internal/memnet"
	"github.com/juggler-go/juggler/internal/waiting"
)

// A way leads into a server: plain TCP to an event loop, the others to the
// portable path.
type way struct {
	name string
	dial func(*testing.T) net.Conn
}

// faultServer is a server whose clients misbehave, but for one bystander who
// must not notice.
type faultServer struct {
	*testServer
	log       *logRecorder
	ways      []way
	bystander *testClient
	waiting   atomic.Int64 // calls that run
}

func newFaultServer(t *testing.T, opts ...juggler.Option) *faultServer {
	t.Helper()
	s := &faultServer{log: &logRecorder{}}
	s.testServer = newServer(t, append(opts, juggler.WithLogger(slog.New(s.log)))...)
	juggler.LogAll(s.h) // the tests look at the end of each session
	front := httptest.NewUnstartedServer(s.h)
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	front.StartTLS()
	t.Cleanup(front.Close)
	memory := serveMemory(t, s.h)
	s.ways = []way{
		{"event loop", func(t *testing.T) net.Conn {
			conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}},
		{"TLS", func(t *testing.T) net.Conn {
			conn, err := tls.Dial("tcp", front.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}},
		{"memory", func(t *testing.T) net.Conn {
			conn, err := memory.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}},
	}
	s.handle("echo", echo)
	s.handle("wait", func(ctx context.Context, c *calleeCall) (any, error) {
		s.waiting.Add(1)
		defer s.waiting.Add(-1)
		return wait(ctx, c)
	})
	s.bystander = s.dial("juggler.1")
	s.bystander.send(`{"type":"SUB","id":"1","channel":"bystander"}`)
	s.bystander.expect(`{"type":"ACK","for":"1"}`)
	return s
}

// serveMemory serves h on a network in memory until the test ends.
func serveMemory(t testing.TB, h http.Handler) *memnet.Listener {
	t.Helper()
	l := memnet.Listen()
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
	return l
}

// onAllWays runs f for each way into the server and each protocol.
func (s *faultServer) onAllWays(t *testing.T, f func(t *testing.T, w way, protocol string)) {
	for _, w := range s.ways {
		for _, protocol := range []string{"juggler.1", "juggler.0"} {
			t.Run(w.name+", "+protocol, func(t *testing.T) { f(t, w, protocol) })
		}
	}
}

// openRaw makes a session over conn and takes its HELLO.
func openRaw(t testing.TB, conn net.Conn, protocol string) *rawClient {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(waiting.Most)); err != nil { // nothing hangs for ever
		t.Fatal(err)
	}
	r := upgrade("http://server/")
	r.Header.Set("Sec-WebSocket-Protocol", protocol)
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{conn, bufio.NewReader(conn)}
	c.skipHandshake(t)
	if protocol == "juggler.1" {
		c.read(t, 1)
	}
	return c
}

// The requests of a client in either protocol.
var subscribeAndWait = map[string][]string{
	"juggler.1": {`{"type":"SUB","id":"1","channel":"c"}`, `{"type":"CALL","id":"2","uri":"wait"}`},
	"juggler.0": {`{"meta":{"type":3,"uuid":""},"payload":{"channel":"c"}}`, `{"meta":{"type":1,"uuid":""},"payload":{"uri":"wait"}}`},
}

// victim is a client with a subscription and a call that runs.
func (s *faultServer) victim(t *testing.T, w way, protocol string) *rawClient {
	t.Helper()
	c := openRaw(t, w.dial(t), protocol)
	if _, err := c.conn.Write(maskedText(subscribeAndWait[protocol]...)); err != nil {
		t.Fatal(err)
	}
	c.read(t, 2) // ACKs
	waitFor(t, "the call to run", func() bool { return s.waiting.Load() == 1 })
	s.log.reset()
	return c
}

// aftermath checks that the victim's session has left nothing but one log
// line, and that the bystander is well.
func (s *faultServer) aftermath(t *testing.T, level slog.Level, code int) {
	t.Helper()
	waitFor(t, "the session to be gone", func() bool { return s.h.NumSessions() == 1 })
	waitFor(t, "its call to be cancelled", func() bool { return s.waiting.Load() == 0 })
	if n := s.h.Stats().Subscriptions; n != 1 {
		t.Errorf("%d subscriptions, want the bystander's", n)
	}
	want := fmt.Sprintf("%v session ended %d", level, code)
	if got := s.log.read(); !slices.Equal(got, []string{want}) {
		t.Errorf("logged %q, want %q", got, want)
	}
	s.bystander.t = t
	s.bystander.send(`{"type":"CALL","id":"2","uri":"echo","args":"well"}`)
	s.bystander.expect(`{"type":"ACK","for":"2"}`)
	s.bystander.expect(`{"type":"RES","for":"2","args":"well"}`)
	s.bystander.send(`{"type":"PUB","id":"3","channel":"bystander"}`)
	s.bystander.expect(`{"type":"ACK","for":"3"}`)
	s.bystander.expect(`{"type":"EVNT","channel":"bystander"}`)
}

// logRecorder keeps the level, message and close code of what is logged.
type logRecorder struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (l *logRecorder) Enabled(context.Context, slog.Level) bool { return true }

func (l *logRecorder) Handle(_ context.Context, r slog.Record) error {
	line := fmt.Sprint(r.Level, " ", r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "code" {
			line += " " + a.Value.String()
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

func (l *logRecorder) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logRecorder) WithGroup(string) slog.Handler      { return l }

func (l *logRecorder) read() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func (l *logRecorder) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = nil
}

// untilClose reads up to a close frame.
func (c *rawClient) untilClose(t testing.TB) (code int, reason string) {
	t.Helper()
	code, reason, _, err := c.toClose()
	if err != nil {
		t.Fatalf("no close frame: %v", err)
	}
	return code, reason
}

// toClose reads up to a close frame, and counts the frames before it.
func (c *rawClient) toClose() (code int, reason string, before int, err error) {
	for ; ; before++ {
		op, payload, err := c.frame()
		switch {
		case err != nil:
			return 0, "", before, err
		case op == ws.OpClose && len(payload) == 0:
			return int(ws.StatusNoStatusRcvd), "", before, nil
		case op == ws.OpClose:
			status, reason := ws.ParseCloseFrameData(payload)
			return int(status), reason, before, nil
		}
	}
}

// maskedFrame is a client's frame.
func maskedFrame(fin bool, op ws.OpCode, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload))))
}

func maskedClose(code int, reason string) []byte {
	return maskedFrame(true, ws.OpClose, string(ws.NewCloseFrameBody(ws.StatusCode(code), reason)))
}

// Faults of the WebSocket protocol, each with the close code that it gets.
func TestWebSocketFaults(t *testing.T) {
	largest := strings.Repeat("x", 64<<10)
	tests := []struct {
		name string
		send []byte
		code int
	}{
		{"unmasked text", ws.MustCompileFrame(ws.NewTextFrame([]byte("{}"))), 1002},
		{"unmasked ping", ws.CompiledPing, 1002},
		{"reserved bit 1", []byte{0xc1, 0x80, 0, 0, 0, 0}, 1002},
		{"reserved bit 2", []byte{0xa1, 0x80, 0, 0, 0, 0}, 1002},
		{"reserved bit 3", []byte{0x91, 0x80, 0, 0, 0, 0}, 1002},
		{"opcode 3", []byte{0x83, 0x80, 0, 0, 0, 0}, 1002},
		{"opcode 11", []byte{0x8b, 0x80, 0, 0, 0, 0}, 1002},
		{"continuation of nothing", maskedFrame(true, ws.OpContinuation, "x"), 1002},
		{"message within a message", slices.Concat(maskedFrame(false, ws.OpText, `{"type":`), maskedText(`{"type":"PONG"}`)), 1002},
		{"fragmented ping", maskedFrame(false, ws.OpPing, ""), 1002},
		{"fragmented close frame", maskedFrame(false, ws.OpClose, ""), 1002},
		{"ping of 126 bytes", maskedFrame(true, ws.OpPing, largest[:126]), 1002},
		{"length not in its shortest form", []byte{0x81, 0x80 | 126, 0, 1, 0, 0, 0, 0, 'x'}, 1002},
		{"length with the highest bit", []byte{0x81, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, 1002},
		{"frame too large", maskedText(largest + "x"), 1009},
		{"frame said to be huge", []byte{0x81, 0x80 | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 1009},
		{"message too large", slices.Concat(maskedFrame(false, ws.OpText, largest), maskedFrame(true, ws.OpContinuation, "x")), 1009},
		{"binary message", maskedFrame(true, ws.OpBinary, `{"type":"PONG"}`), 1003},
		{"binary message in fragments", maskedFrame(false, ws.OpBinary, `{"type":`), 1003},
		{"invalid UTF-8", maskedText("{\"type\":\"SUB\",\"id\":\"1\",\"channel\":\"\xff\"}"), 1007},
		{"character cut by the end", maskedText(`{"type":"SUB","id":"1","channel":"` + "\xf0\x9f\x98"), 1007},
		{"close frame with one byte", maskedFrame(true, ws.OpClose, "\x03"), 1002},
		{"close code 0", maskedClose(0, ""), 1002},
		{"close code 999", maskedClose(999, ""), 1002},
		{"close code 1004", maskedClose(1004, ""), 1002},
		{"close code 1005", maskedClose(1005, ""), 1002},
		{"close code 1006", maskedClose(1006, ""), 1002},
		{"close code 1015", maskedClose(1015, ""), 1002},
		{"close code 2999", maskedClose(2999, ""), 1002},
		{"close code 5000", maskedClose(5000, ""), 1002},
		{"close reason that is not UTF-8", maskedClose(1000, "\xff"), 1007},
	}
	s := newFaultServer(t)
	s.onAllWays(t, func(t *testing.T, w way, protocol string) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := s.victim(t, w, protocol)
				if _, err := c.conn.Write(tt.send); err != nil {
					t.Fatal(err)
				}
				if code, reason := c.untilClose(t); code != tt.code || reason == "" {
					t.Errorf("closed with %d %q, want %d and a reason", code, reason, tt.code)
				}
				c.conn.Close()
				s.aftermath(t, slog.LevelInfo, tt.code)
			})
		}
	})
}

// A client's close frame is answered with its code, and what follows it does
// not count.
func TestClientCloses(t *testing.T) {
	s := newFaultServer(t)
	s.onAllWays(t, func(t *testing.T, w way, protocol string) {
		for _, code := range []int{1000, 1001, 1011, 3000, 4100, 4999, 1005} {
			t.Run(fmt.Sprint(code), func(t *testing.T) {
				c := s.victim(t, w, protocol)
				frame := maskedClose(code, "bye")
				if code == 1005 { // stands for no code
					frame = maskedFrame(true, ws.OpClose, "")
				}
				if _, err := c.conn.Write(append(frame, maskedText("not JSON")...)); err != nil {
					t.Fatal(err)
				}
				if got, _ := c.untilClose(t); got != code {
					t.Errorf("answered with %d", got)
				}
				c.conn.Close()
				s.aftermath(t, slog.LevelDebug, code)
			})
		}
	})
}

// The server closes with the application's code, which the client answers, or
// not: then it is gone after the write timeout. juggler.0 knows no 44xx and 45xx.
func TestServerCloses(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]bool{"answered": true, "not answered": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			opts := []juggler.Option{juggler.WithAuthenticator(userOfHost)}
			if !answers {
				opts = append(opts, juggler.WithWriteTimeout(100*time.Millisecond))
			}
			s := newFaultServer(t, opts...)
			s.onAllWays(t, func(t *testing.T, w way, protocol string) {
				for _, code := range []int{1001, 4100, 4403, 4500, 4600} {
					t.Run(fmt.Sprint(code), func(t *testing.T) { s.testServerClose(t, w, protocol, code, answers) })
				}
			})
		})
	}
}

// userOfHost tells the victim, "server", from the bystander.
func userOfHost(r *http.Request) (*juggler.Identity, error) {
	return &juggler.Identity{User: r.Host}, nil
}

func (s *faultServer) testServerClose(t *testing.T, w way, protocol string, code int, answers bool) {
	want, level := code, slog.LevelInfo
	if code >= 4400 && code < 4600 {
		want = closeSeen(protocol, code)
	}
	if code == juggler.CloseGoingAway {
		level = slog.LevelDebug
	}
	c := s.victim(t, w, protocol)
	if n := s.h.DisconnectUser("server", uint16(code), "go away"); n != 1 {
		t.Fatalf("%d sessions of the victim", n)
	}
	if got, reason := c.untilClose(t); got != want || reason != "go away" {
		t.Errorf("closed with %d %q, want %d", got, reason, want)
	}
	if answers {
		if _, err := c.conn.Write(maskedClose(want, "")); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := c.br.ReadByte(); err == nil {
		t.Errorf("byte %#x after the close frame", b)
	}
	s.aftermath(t, level, want)
}

// resetConn breaks the connection under conn.
func resetConn(conn net.Conn) {
	switch conn := conn.(type) {
	case *memnet.Conn:
		conn.Reset()
	case *tls.Conn:
		resetConn(conn.NetConn())
	case *net.TCPConn:
		conn.SetLinger(0)
		conn.Close()
	}
}

// Connections that end without a close frame, wherever the client was.
func TestLostConnections(t *testing.T) {
	call := maskedText(`{"type":"CALL","id":"9","uri":"echo"}`)
	part := maskedFrame(false, ws.OpText, `{"type":`)
	points := map[string][]byte{
		"between messages": nil,
		"in a header":      call[:1],
		"in a payload":     call[:len(call)-1],
		"between frames":   part,
		"in a ping":        slices.Concat(part, maskedFrame(true, ws.OpPing, "ping")[:8]),
	}
	ends := map[string]func(net.Conn){
		"reset": resetConn,
		"end":   func(c net.Conn) { c.Close() },
		"half-closed": func(c net.Conn) {
			if half, ok := c.(interface{ CloseWrite() error }); ok {
				half.CloseWrite()
				return
			}
			c.Close() // in memory there is only the whole
		},
	}
	s := newFaultServer(t)
	s.onAllWays(t, func(t *testing.T, w way, protocol string) {
		for at, sent := range points {
			for name, end := range ends {
				t.Run(name+" "+at, func(t *testing.T) {
					c := s.victim(t, w, protocol)
					if _, err := c.conn.Write(sent); err != nil {
						t.Fatal(err)
					}
					end(c.conn)
					s.aftermath(t, slog.LevelDebug, 1006)
				})
			}
		}
	})
}

// closeSeen is what a client of a protocol sees of the server's close code.
func closeSeen(protocol string, code int) int {
	if protocol == "juggler.0" {
		return juggler.ClosePolicy
	}
	return code
}

// A message that is begun has to be completed in time.
func TestMessageLeftHalfSent(t *testing.T) {
	t.Parallel() // it mostly waits
	call := maskedText(`{"type":"CALL","id":"9","uri":"echo"}`)
	s := newFaultServer(t, juggler.WithReadTimeout(100*time.Millisecond))
	s.onAllWays(t, func(t *testing.T, w way, protocol string) {
		for at, sent := range map[string][]byte{
			"header": call[:1], "payload": call[:10], "fragment": maskedFrame(false, ws.OpText, `{"type":`),
		} {
			t.Run(at, func(t *testing.T) {
				c := s.victim(t, w, protocol)
				if _, err := c.conn.Write(sent); err != nil {
					t.Fatal(err)
				}
				want := closeSeen(protocol, juggler.CloseIdle)
				if code, _ := c.untilClose(t); code != want {
					t.Errorf("closed with %d, want %d", code, want)
				}
				c.conn.Close()
				s.aftermath(t, slog.LevelInfo, want)
			})
		}
	})
}

// flood publishes more on the victim's channel than any socket buffers.
func (s *faultServer) flood(t *testing.T) {
	t.Helper()
	text := strings.Repeat("x", 256<<10)
	for range 64 {
		if err := s.h.Publish(t.Context(), "c", text, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// A client that reads too late still learns why it was closed.
func TestClientThatReadsTooLate(t *testing.T) {
	s := newFaultServer(t, juggler.WithMaxQueueBytes(300<<10), juggler.WithWriteTimeout(time.Minute))
	s.onAllWays(t, func(t *testing.T, w way, protocol string) {
		c := s.victim(t, w, protocol)
		s.flood(t)
		want := closeSeen(protocol, juggler.CloseSlowConsumer)
		if code, _ := c.untilClose(t); code != want {
			t.Errorf("closed with %d, want %d", code, want)
		}
		c.conn.Close()
		s.aftermath(t, slog.LevelInfo, want)
	})
}

// Clients that each have no more waiting than they may are closed when it is too much for
// the node, and no more of them than it takes.
func TestTooManyClientsThatReadTooLate(t *testing.T) {
	s := newFaultServer(t, juggler.WithMaxQueueBytes(20<<20), juggler.WithMaxNodeQueueBytes(20<<20), juggler.WithWriteTimeout(time.Minute))
	for range 3 {
		c := openRaw(t, s.ways[0].dial(t), "juggler.1")
		if _, err := c.conn.Write(maskedText(`{"type":"SUB","id":"1","channel":"c"}`)); err != nil {
			t.Fatal(err)
		}
		c.read(t, 1) // ACK
	}
	s.flood(t)
	waitFor(t, "one to be closed", func() bool { return s.h.Stats().SlowConsumers > 0 })
	s.bystander.send(`{"type":"CALL","id":"2","uri":"echo","args":"well"}`)
	s.bystander.expect(`{"type":"ACK","for":"2"}`)
	s.bystander.expect(`{"type":"RES","for":"2","args":"well"}`)
	if n := s.h.Stats().SlowConsumers; n > 2 {
		t.Errorf("all %d are closed", n)
	}
}

// A client that never reads is gone after the write timeout.
func TestClientThatNeverReads(t *testing.T) {
	s := newFaultServer(t, juggler.WithMaxQueueBytes(300<<10), juggler.WithWriteTimeout(100*time.Millisecond))
	s.onAllWays(t, func(t *testing.T, w way, protocol string) {
		c := s.victim(t, w, protocol)
		s.flood(t)
		s.aftermath(t, slog.LevelInfo, closeSeen(protocol, juggler.CloseSlowConsumer))
		if _, err := io.Copy(io.Discard, c.conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection was left open")
		}
	})
}

// What is unusual and allowed: fragments of any size, with control frames
// between them, in pieces of any size.
func TestFragmentsAndInterleavedControlFrames(t *testing.T) {
	s := newFaultServer(t)
	message := `{"type":"CALL","id":"9","uri":"echo","args":"ä€😀"}`
	for _, w := range s.ways {
		t.Run(w.name, func(t *testing.T) {
			c := openRaw(t, w.dial(t), "juggler.1")
			var sent []byte
			for i := range message { // between characters; the next loop cuts them
				op := ws.OpContinuation
				if i == 0 {
					op = ws.OpText
				}
				sent = append(sent, maskedFrame(false, op, message[i:i+1])...)
				sent = append(sent, maskedFrame(true, ws.OpPing, fmt.Sprint(i))...)
				sent = append(sent, maskedFrame(true, ws.OpPong, "not asked for")...)
				if n := len(string([]rune(message[i:])[:1])); n > 1 {
					sent = append(sent, maskedFrame(false, ws.OpContinuation, message[i+1:i+n])...)
				}
			}
			sent = append(sent, maskedFrame(true, ws.OpContinuation, "")...)
			for size := 1; len(sent) > 0; size = size%7 + 1 {
				n := min(size, len(sent))
				if _, err := c.conn.Write(sent[:n]); err != nil {
					t.Fatal(err)
				}
				sent = sent[n:]
			}
			for i := range message {
				if op, payload, err := c.frame(); op != ws.OpPong || string(payload) != fmt.Sprint(i) {
					t.Fatalf("got %v %q, %v; want the pong for ping %d", op, payload, err, i)
				}
			}
			for _, want := range []string{`{"type":"ACK","for":"9"}`, `{"type":"RES","for":"9","args":"ä€😀"}`} {
				if op, payload, err := c.frame(); op != ws.OpText || string(payload) != want {
					t.Errorf("got %v %s, %v; want %s", op, payload, err, want)
				}
			}
		})
	}
}
