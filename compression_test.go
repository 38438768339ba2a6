package juggler_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/internal/waiting"
)

// A deflateClient speaks a protocol and says how messages came.
type deflateClient struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
}

// dialDeflate connects with these extensions, "" for none, and takes HELLO. It returns
// what the server has answered them with.
func dialDeflate(t *testing.T, addr, protocol, extensions string) (c *deflateClient, answer string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(waiting.Most))
	r := upgrade("http://" + addr)
	r.Header.Set("Sec-WebSocket-Protocol", protocol)
	if extensions != "" {
		r.Header.Set("Sec-WebSocket-Extensions", extensions)
	}
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	c = &deflateClient{t, conn, bufio.NewReader(conn)}
	resp, err := http.ReadResponse(c.br, r)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %+v, %v", resp, err)
	}
	if protocol != "juggler.0" {
		if hello, _ := c.receive(); !strings.Contains(hello, `"HELLO"`) {
			t.Fatalf("got %s, want HELLO", hello)
		}
	}
	return c, resp.Header.Get("Sec-WebSocket-Extensions")
}

// send sends a message, compressed or not.
func (c *deflateClient) send(message string, compressed bool) {
	c.t.Helper()
	f := ws.NewTextFrame([]byte(message))
	if compressed {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, 6)
		io.WriteString(w, message) // a Buffer never fails
		w.Flush()
		f = ws.NewTextFrame(bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff")))
		f.Header.Rsv = 4
	}
	if _, err := c.conn.Write(ws.MustCompileFrame(ws.MaskFrame(f))); err != nil {
		c.t.Fatal(err)
	}
}

// receive takes a message, and says whether it came compressed.
func (c *deflateClient) receive() (message string, compressed bool) {
	c.t.Helper()
	h, err := ws.ReadHeader(c.br)
	if err != nil {
		c.t.Fatal(err)
	}
	payload := make([]byte, h.Length)
	if _, err = io.ReadFull(c.br, payload); err == nil && h.Rsv == 4 {
		payload, err = io.ReadAll(flate.NewReader(bytes.NewReader(append(payload, "\x00\x00\xff\xff\x01\x00\x00\xff\xff"...))))
	}
	if err != nil || h.OpCode != ws.OpText {
		c.t.Fatalf("got frame %+v %.80q, %v", h, payload, err)
	}
	return string(payload), h.Rsv == 4
}

// expect takes a message that has all of parts in it.
func (c *deflateClient) expect(parts string, compressed bool) {
	c.t.Helper()
	message, got := c.receive()
	for part := range strings.SplitSeq(parts, "…") {
		if !strings.Contains(message, part) {
			c.t.Fatalf("got %.200s, want one with %.200s", message, parts)
		}
	}
	if got != compressed {
		c.t.Fatalf("%.100s came compressed: %v, want %v", message, got, compressed)
	}
}

// closed waits for a close frame.
func (c *deflateClient) closed(code ws.StatusCode) {
	c.t.Helper()
	op, payload, err := (&rawClient{c.conn, c.br}).frame()
	if got, _ := ws.ParseCloseFrameData(payload); err != nil || op != ws.OpClose || got != code {
		c.t.Fatalf("got a frame of type %d, %q, %v; want a close frame with %d", op, payload, err, code)
	}
}

// onBothPaths runs a test with the address of a server on event loops, and on goroutines.
func onBothPaths(t *testing.T, f func(t *testing.T, s *testServer, addr string), opts ...juggler.Option) {
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"event loop": func(w http.ResponseWriter) http.ResponseWriter { return w },
		"portable":   func(w http.ResponseWriter) http.ResponseWriter { return hiddenSocket{w} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeptServer(t, itself, []memory.Option{keep}, opts...)
			f(t, s, serveTCP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.h.ServeHTTP(wrap(w), r) })))
		})
	}
}

func TestCompression(t *testing.T) {
	compress := juggler.WithCompression(juggler.Compression{Exempt: []string{"account.*", "room.secret"}})
	onBothPaths(t, func(t *testing.T, s *testServer, addr string) {
		s.handle("echo", echo)
		s.handle("account.show", echo)
		for _, protocol := range []string{"juggler.1", "juggler.1.batch", "juggler.0"} {
			t.Run(protocol, func(t *testing.T) { s.compress(t, addr, protocol) })
		}
	}, compress)
}

// compress has a session of a protocol that takes compressed messages, beside one that does
// not.
func (s *testServer) compress(t *testing.T, addr, protocol string) {
	before := s.h.Stats()
	ack, res, evnt := answers(protocol)
	plain, answer := dialDeflate(t, addr, protocol, "")
	if answer != "" {
		t.Errorf("nothing was offered, and is answered with %q", answer)
	}
	c, answer := dialDeflate(t, addr, protocol, "permessage-deflate; client_max_window_bits")
	if want := "permessage-deflate; server_no_context_takeover; client_no_context_takeover"; answer != want {
		t.Errorf("the offer is answered with %q, want %q", answer, want)
	}
	waitFor(t, "a session that takes compressed messages", func() bool { return s.h.Stats().Deflating == 1 })

	for _, compressed := range []bool{true, false} {
		c.send(requestOf(protocol, "CALL", "uri", "echo", `"short"`), compressed)
		c.expect(ack, false)
		c.expect(res+"…short", false)
	}
	for uri, compressed := range map[string]bool{"echo": true, "account.show": false} {
		c.send(requestOf(protocol, "CALL", "uri", uri, long), true)
		c.expect(ack, false)
		c.expect(res+"…"+long, compressed)
	}
	for channel, compressed := range map[string]bool{"room.open": true, "room.secret": false} {
		for _, c := range []*deflateClient{c, plain} {
			c.send(requestOf(protocol, "SUB", "channel", channel, ""), false)
			c.expect(ack, false)
		}
		for _, args := range []string{long, `"short"`} {
			if err := s.h.Publish(t.Context(), channel, json.RawMessage(args), nil); err != nil {
				t.Fatal(err)
			}
			c.expect(evnt+"…"+args, compressed && args == long)
			plain.expect(evnt+"…"+args, false)
		}
	}
	if protocol != "juggler.0" { // which has no history
		again, _ := dialDeflate(t, addr, protocol, "permessage-deflate")
		again.send(`{"type":"SUB","id":"1","channel":"room.open","last":2}`, false)
		again.expect(ack, false)
		again.expect(evnt+"…"+long, true)
		again.expect(evnt+"…short", false)
		again.conn.Close()
	}

	after := s.h.Stats()
	if from, to := after.DeflatedFrom-before.DeflatedFrom, after.DeflatedTo-before.DeflatedTo; from < uint64(2*len(long)) || to == 0 || to > from/3 {
		t.Errorf("%d bytes were sent as %d", from, to)
	}
	if from, to := after.InflatedFrom-before.InflatedFrom, after.InflatedTo-before.InflatedTo; to < uint64(2*len(long)) || from == 0 || from > to/3 {
		t.Errorf("%d bytes came as %d", to, from)
	}
	c.conn.Close()
	plain.conn.Close()
	s.waitSessions(0)
	if n := s.h.Stats().Deflating; n != 0 {
		t.Errorf("%d sessions take compressed messages, want none", n)
	}
}

// long is JSON that gets smaller.
var long = `[` + strings.Repeat(`{"name":"value","number":42},`, 100) + `0]`

// answers are how messages of a protocol begin.
func answers(protocol string) (ack, res, evnt string) {
	if protocol == "juggler.0" {
		return `"type":8`, `"type":9`, `"type":10`
	}
	return `"type":"ACK"`, `"type":"RES"`, `"type":"EVNT"`
}

// requestOf is a message of a protocol. One without args has "".
func requestOf(protocol, typ, key, name, args string) string {
	body := fmt.Sprintf("%q:%q", key, name)
	if args != "" {
		body += `,"args":` + args
	}
	if protocol == "juggler.0" {
		number := map[string]int{"CALL": 1, "SUB": 3}[typ]
		return fmt.Sprintf(`{"meta":{"type":%d,"uuid":"9c9cc467-28ff-4871-97ed-7b3b2c2d4460"},"payload":{%s}}`, number, body)
	}
	return fmt.Sprintf(`{"type":%q,"id":"1",%s}`, typ, body)
}

// The parts of an answer are compressed as its result is, and so is the news of who is in
// a channel.
func TestPartsAndNoticesAreCompressed(t *testing.T) {
	compress := juggler.WithCompression(juggler.Compression{Threshold: 128, Exempt: []string{"secret.*"}})
	info := strings.Repeat("x", 200)
	onBothPaths(t, func(t *testing.T, s *testServer, addr string) {
		parts := func(ctx context.Context, c *calleeCall) (any, error) { return nil, c.Send(ctx, json.RawMessage(long)) }
		s.handle("parts", parts)
		s.handle("secret.parts", parts)
		c, _ := dialDeflate(t, addr, "juggler.1", "permessage-deflate")
		for uri, compressed := range map[string]bool{"parts": true, "secret.parts": false} {
			c.send(fmt.Sprintf(`{"type":"CALL","id":"1","uri":%q,"parts":9}`, uri), false)
			c.expect(`"ACK"`, false)
			c.expect(`"PART"…`+long, compressed)
			c.expect(`"RES"`, false)
		}
		for channel, compressed := range map[string]bool{"crowd": true, "secret.crowd": false} {
			c.send(fmt.Sprintf(`{"type":"SUB","id":"1","channel":%q,"here":true}`, channel), false)
			c.receive() // the ACK, with who is there
			other, _ := dialDeflate(t, addr, "juggler.1", "")
			other.send(fmt.Sprintf(`{"type":"SUB","id":"1","channel":%q}`, channel), false)
			for {
				message, got := c.receive()
				if !strings.Contains(message, `"HERE"`) || !strings.Contains(message, other.conn.LocalAddr().String()) {
					continue // that it is there itself
				}
				if got != compressed {
					t.Errorf("%s came compressed: %v, want %v", message, got, compressed)
				}
				break
			}
		}
	}, compress, juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
		return &juggler.Identity{User: r.RemoteAddr}, nil
	}), juggler.WithPresence(juggler.PresenceRule{
		Channels: "*", Info: func(juggler.Session, string) any { return info },
	}))
}

// Who follows a session is told what it is sent, compressed or not.
func TestFollowOfACompressedSession(t *testing.T) {
	s := newServer(t, juggler.WithCompression(juggler.Compression{}), juggler.WithLogger(quiet))
	s.handle("echo", echo)
	c, _ := dialDeflate(t, s.http.Listener.Addr().String(), "juggler.1", "permessage-deflate")
	frames := s.follow(t.Context(), juggler.FollowOptions{Session: s.onlySession().ID(), Frames: 7})
	c.send(requestOf("juggler.1", "SUB", "channel", "c", ""), false)
	c.expect(`"ACK"`, false)
	c.send(requestOf("juggler.1", "CALL", "uri", "echo", long), true)
	c.expect(`"ACK"`, false)
	c.expect(`"RES"`, true)
	for range 2 {
		if err := s.h.Publish(t.Context(), "c", json.RawMessage(long), nil); err != nil {
			t.Fatal(err)
		}
		c.expect(`"EVNT"`, true)
	}
	want := []string{"> SUB 1 c 0", "< ACK 1  0", "> CALL 1 echo 0", "< ACK 1  0", "< RES 1  0", "< EVNT  c 0", "< EVNT  c 0", "end: it has as many frames as were asked for"}
	if got := lines(frames); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A message is bounded by what it holds, not by how it comes.
func TestBombsAreRefused(t *testing.T) {
	onBothPaths(t, func(t *testing.T, s *testServer, addr string) {
		c, _ := dialDeflate(t, addr, "juggler.1", "permessage-deflate")
		c.send(`{"type":"PUB","id":"1","channel":"c","args":"`+strings.Repeat(" ", 1<<20)+`"}`, true)
		c.closed(ws.StatusMessageTooBig)
		c, _ = dialDeflate(t, addr, "juggler.1", "permessage-deflate")
		c.send(`{"type":"PUB","id":"1","channel":"c","args":"`+"\xff"+`"}`, true)
		c.closed(ws.StatusInvalidFramePayloadData)
	}, juggler.WithCompression(juggler.Compression{}))
}

// Rates count what a message holds.
func TestRatesCountInflatedBytes(t *testing.T) {
	onBothPaths(t, func(t *testing.T, s *testServer, addr string) {
		c, _ := dialDeflate(t, addr, "juggler.1", "permessage-deflate")
		pub := `{"type":"PUB","id":"1","channel":"c","args":"` + strings.Repeat(" ", 20<<10) + `"}`
		c.send(pub, true)
		c.expect(`"ACK"`, false)
		c.send(pub, true)
		c.expect(`"NACK"…429`, false)
	}, juggler.WithCompression(juggler.Compression{}), juggler.WithSessionRates(juggler.Rates{Messages: juggler.Rate{PerSecond: 1, Burst: 30}}))
}

func TestCompressionIsOffByDefault(t *testing.T) {
	onBothPaths(t, func(t *testing.T, s *testServer, addr string) {
		c, answer := dialDeflate(t, addr, "juggler.1", "permessage-deflate")
		if answer != "" {
			t.Errorf("the offer is answered with %q", answer)
		}
		c.send(requestOf("juggler.1", "SUB", "channel", "c", ""), true)
		c.closed(ws.StatusProtocolError)
	})
}

func TestWrongCompressionIsRefused(t *testing.T) {
	for want, c := range map[string]juggler.Compression{
		"WithCompression: Threshold is 127, want 128 to 1048576":   {Threshold: 127},
		"WithCompression: Threshold is -1, want 128 to 1048576":    {Threshold: -1},
		"WithCompression: Level is 7, want 1 to 6":                 {Level: 7},
		`WithCompression: Exempt has "a*b", want a name, or how`:   {Exempt: []string{"a*b"}},
		"WithCompression: Exempt has 257 names, want up to 256":    {Exempt: make([]string, 257)},
		"WithCompression: Threshold is 1048577, want 128 to 10485": {Threshold: 1<<20 + 1},
	} {
		if _, err := juggler.New(juggler.WithCompression(c)); !errors.Is(err, juggler.ErrInvalidOption) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}

// An idle session that takes compressed messages, and has got and sent some, costs what
// another one does.
func TestIdleCompressedSessionsCostNothing(t *testing.T) {
	const n = 1000
	each := func(extensions string) int {
		s := newServer(t, juggler.WithEventLoops(1), juggler.WithCompression(juggler.Compression{}))
		s.handle("echo", echo)
		addr := s.http.Listener.Addr().String()
		use := func() {
			c, _ := dialDeflate(t, addr, "juggler.1", extensions)
			c.send(requestOf("juggler.1", "CALL", "uri", "echo", long), extensions != "")
			c.expect(`"ACK"`, false)
			c.expect(`"RES"`, extensions != "")
		}
		use() // what all have together
		before := heapInUse()
		for range n {
			use()
		}
		return (heapInUse() - before) / n
	}
	with, without := each("permessage-deflate"), each("")
	t.Logf("%d bytes a session with its client, %d without compression", with, without)
	if with > without+256 && !race.Enabled {
		t.Errorf("a session that takes compressed messages costs %d bytes, another one %d", with, without)
	}
}
