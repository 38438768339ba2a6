package juggler_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/waiting"
)

// upgrade is a request that is in order; tests change it.
func upgrade(url string) *http.Request {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Connection", "keep-alive, Upgrade")
	r.Header.Set("Upgrade", "WebSocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	r.Header.Set("Sec-WebSocket-Protocol", "juggler.1")
	return r
}

// try sends r and returns the response, whose body is read.
func try(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestHandshake(t *testing.T) {
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	tests := []struct {
		name   string
		change func(*http.Request)
		status int
		body   string // part of it
	}{
		{"in order", func(*http.Request) {}, 101, ""},
		{"POST", func(r *http.Request) { r.Method = "POST" }, 405, "GET"},
		{"no Upgrade", set("Upgrade", ""), 400, "Upgrade: websocket"},
		{"other Upgrade", set("Upgrade", "h2c"), 400, "Upgrade: websocket"},
		{"no Connection", set("Connection", "close"), 400, "Connection: Upgrade"},
		{"version 8", set("Sec-WebSocket-Version", "8"), 426, "Sec-WebSocket-Version: 13"},
		{"no key", set("Sec-WebSocket-Key", ""), 400, "Sec-WebSocket-Key"},
		{"short key", set("Sec-WebSocket-Key", "AAAA"), 400, "Sec-WebSocket-Key"},
		{"no protocol", set("Sec-WebSocket-Protocol", ""), 400, "Sec-WebSocket-Protocol: juggler.1"},
		{"unknown protocol", set("Sec-WebSocket-Protocol", "wamp.2.json"), 400, "Sec-WebSocket-Protocol: juggler.1"},
		{"protocol in other case", set("Sec-WebSocket-Protocol", "JUGGLER.1"), 400, "Sec-WebSocket-Protocol: juggler.1"},
		{"foreign origin", set("Origin", "https://evil.example.com"), 403, "origin"},
		{"foreign origin on a second line", func(r *http.Request) { r.Header["Origin"] = []string{"", "https://evil.example.com"} }, 403, "origin"},
		{"a body", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), 5 }, 400, "no body"},
		{"a body in chunks", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), -1 }, 400, "no body"},
		{"opaque origin", set("Origin", "null"), 403, "origin"},
		{"allow nothing known", set("Juggler-Allowed-Messages", "foo"), 400, "Juggler-Allowed-Messages"},
		{"allow commas", set("Juggler-Allowed-Messages", " , "), 400, "Juggler-Allowed-Messages"},
		{"allow query of nothing known", func(r *http.Request) { r.URL.RawQuery = "allow=res" }, 400, "allow"},
		{"allow query that cannot be read", func(r *http.Request) { r.URL.RawQuery = "allow=sub;call" }, 400, "query"},
		{"allow query with a broken escape", func(r *http.Request) { r.URL.RawQuery = "allow=%zz" }, 400, "query"},
		{"allow some", set("Juggler-Allowed-Messages", "Call, foo"), 101, ""},
		{"allow query", func(r *http.Request) { r.URL.RawQuery = "allow=sub,unsb" }, 101, ""},
		{"allow all", set("Juggler-Allowed-Messages", "*"), 101, ""},
	}
	s := newServer(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := upgrade(s.http.URL)
			tt.change(r)
			resp, body := try(t, r)
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("got %d %q, want %d with %q", resp.StatusCode, body, tt.status, tt.body)
			}
		})
	}
}

func TestHandshakeSaysWhatItWants(t *testing.T) {
	s := newServer(t)
	r := upgrade(s.http.URL)
	r.Method = "PUT"
	if resp, _ := try(t, r); resp.Header.Get("Allow") != "GET" {
		t.Errorf("Allow: %q", resp.Header.Get("Allow"))
	}
	r = upgrade(s.http.URL)
	r.Header.Set("Sec-WebSocket-Version", "7")
	if resp, _ := try(t, r); resp.Header.Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("Sec-WebSocket-Version: %q", resp.Header.Get("Sec-WebSocket-Version"))
	}
}

func TestHandshakePicksTheHighestProtocol(t *testing.T) {
	tests := []struct {
		offered []string
		want    string
	}{
		{[]string{"juggler.0"}, "juggler.0"},
		{[]string{"juggler.1"}, "juggler.1"},
		{[]string{"juggler.0, juggler.1"}, "juggler.1"},
		{[]string{"mqtt", "juggler.0"}, "juggler.0"},
		{[]string{"juggler.1, juggler.1.batch"}, "juggler.1.batch"},
		{[]string{"juggler.1.batch"}, "juggler.1.batch"},
	}
	s := newServer(t)
	for _, tt := range tests {
		r := upgrade(s.http.URL)
		r.Header["Sec-Websocket-Protocol"] = tt.offered
		resp, _ := try(t, r)
		if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != tt.want {
			t.Errorf("%q: got %q", tt.offered, got)
		}
		// The example of RFC 6455, section 1.3.
		if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("Sec-WebSocket-Accept: %q", got)
		}
	}
}

// Who offers to take several events as one message gets those of one turn so, and each
// answer still as one of its own.
func TestBatchSubprotocol(t *testing.T) {
	s := newServer(t)
	const n = 20
	requests := []string{`{"type":"SUB","id":"sub","channel":"c"}`}
	for i := range n {
		requests = append(requests, fmt.Sprintf(`{"type":"PUB","id":"%d","channel":"c","args":%d}`, i, i))
	}
	for protocol, batches := range map[string]bool{"juggler.1": false, "juggler.1.batch": true} {
		c := dialRaw(t, s.http.Listener.Addr().String(), "Sec-WebSocket-Protocol: "+protocol)
		if _, err := c.conn.Write(maskedText(requests...)); err != nil {
			t.Fatal(err)
		}
		events, answers, joined := 0, 0, false
		for events < n || answers < n+1 {
			_, payload, err := c.frame()
			if err != nil {
				t.Fatal(err)
			}
			if payload[0] != '[' {
				payload = fmt.Appendf(nil, "[%s]", payload)
			} else {
				joined = true
			}
			var messages []struct {
				Type string
				Args int
			}
			if err := json.Unmarshal(payload, &messages); err != nil {
				t.Fatalf("%s: %v", payload, err)
			}
			for _, m := range messages {
				switch {
				case m.Type == "ACK" && len(messages) == 1:
					answers++
				case m.Type == "EVNT" && m.Args == events:
					events++
				default:
					t.Fatalf("%s: after %d events came %s", protocol, events, payload)
				}
			}
		}
		if joined != batches {
			t.Errorf("%s: events are joined: %t", protocol, joined)
		}
	}
}

func TestDefaultProtocol(t *testing.T) {
	s := newServer(t, juggler.WithDefaultProtocol(frame.Juggler0))
	s.handle("echo", echo)
	c := s.dial("")
	c.send(`{"meta":{"type":1,"uuid":"13374918-84ac-47bc-b1f8-6a89a3a0ca0f"},"payload":{"uri":"echo","args":1}}`)
	c.expect(`{"meta":{"type":8},"payload":{"for_type":1}}`)
	c.expect(`{"meta":{"type":9},"payload":{"args":1}}`)

	r := upgrade(s.http.URL)
	r.Header.Set("Sec-WebSocket-Protocol", "mqtt")
	if resp, _ := try(t, r); resp.StatusCode != 400 {
		t.Errorf("a client that offers something else: %d", resp.StatusCode)
	}
}

func TestOrigins(t *testing.T) {
	s := newServer(t, juggler.WithOrigins("https://app.example.com"))
	for origin, status := range map[string]int{
		"https://app.example.com":     101,
		"https://APP.example.com":     101,
		"http://app.example.com":      403,
		"https://app.example.com:444": 403,
		s.http.URL:                    101,
		"":                            101,
	} {
		r := upgrade(s.http.URL)
		r.Header.Set("Origin", origin)
		if origin == "" {
			r.Header.Del("Origin")
		}
		if resp, _ := try(t, r); resp.StatusCode != status {
			t.Errorf("origin %q: got %d, want %d", origin, resp.StatusCode, status)
		}
	}
}

func TestAuthenticatorRefuses(t *testing.T) {
	tests := []struct {
		name      string
		err       error
		status    int
		closeCode int
		body      string
	}{
		{"unauthenticated", juggler.ErrUnauthenticated, 401, 4400, "not authenticated"},
		{"forbidden", juggler.ErrForbidden, 403, 4403, "not allowed"},
		{"chosen message", &juggler.Error{Code: 401, Message: "token expired"}, 401, 4400, "token expired"},
		{"gone", &juggler.Error{Code: 404, Message: "no such room"}, 404, 4403, "no such room"},
		{"message that is not UTF-8", &juggler.Error{Code: 403, Message: "not \xff"}, 403, 4403, "not "},
		{"busy", &juggler.Error{Code: 429, Message: "slow down", RetryAfter: 2500 * time.Millisecond}, 429, 1013, "slow down"},
		{"failure", errors.New("db: secret host unreachable"), 503, 1013, "cannot authenticate now"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) { return nil, tt.err }))
			resp, body := try(t, upgrade(s.http.URL))
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) || strings.Contains(body, "secret") {
				t.Errorf("got %d %q", resp.StatusCode, body)
			}
			if tt.status == 429 && resp.Header.Get("Retry-After") != "3" {
				t.Errorf("Retry-After: %q", resp.Header.Get("Retry-After"))
			}
			// A browser sees a close code in place of the status.
			header := http.Header{"Origin": {s.http.URL}}
			conn, _, err := websocket.Dial(t.Context(), s.http.URL, &websocket.DialOptions{
				Subprotocols: []string{"juggler.1"}, HTTPHeader: header,
			})
			if err != nil {
				t.Fatal(err)
			}
			c := &testClient{t, conn}
			c.expectClose(tt.closeCode)
			// juggler.0 and an option get the status all the same.
			if _, resp, err := websocket.Dial(t.Context(), s.http.URL, &websocket.DialOptions{
				Subprotocols: []string{"juggler.0"}, HTTPHeader: header,
			}); err == nil || resp.StatusCode != tt.status {
				t.Errorf("juggler.0 was not refused with %d: %v", tt.status, err)
			}
		})
	}
}

func TestHiddenRefusals(t *testing.T) {
	s := newServer(t, juggler.WithVisibleRefusals(false),
		juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) { return nil, juggler.ErrUnauthenticated }))
	r := upgrade(s.http.URL)
	r.Header.Set("Origin", s.http.URL)
	if resp, _ := try(t, r); resp.StatusCode != 401 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestPanickingAuthenticatorAndOriginCheck(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet),
		juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) { panic("secret") }))
	if resp, body := try(t, upgrade(s.http.URL)); resp.StatusCode != 500 || strings.Contains(body, "secret") {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	s = newServer(t, juggler.WithLogger(quiet), juggler.WithOriginCheck(func(*http.Request) bool { panic("secret") }))
	r := upgrade(s.http.URL)
	r.Header.Set("Origin", s.http.URL)
	if resp, _ := try(t, r); resp.StatusCode != 403 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestTooManySessions(t *testing.T) {
	s := newServer(t, juggler.WithMaxSessions(1))
	c := s.dial("juggler.1")
	resp, body := try(t, upgrade(s.http.URL))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "too many sessions") {
		t.Errorf("got %d %q, Retry-After %q", resp.StatusCode, body, resp.Header.Get("Retry-After"))
	}
	c.conn.Close(websocket.StatusNormalClosure, "")
	s.waitSessions(0)
	s.dial("juggler.1")
}

func TestMiddlewareOfNetHTTP(t *testing.T) {
	s := newServer(t)
	wrapped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "a=b")
		s.h.ServeHTTP(unwrapper{w}, r)
	})
	front := httptest.NewServer(wrapped)
	defer front.Close()
	resp, _ := try(t, upgrade(front.URL))
	if resp.StatusCode != 101 || resp.Header.Get("Set-Cookie") != "a=b" {
		t.Errorf("got %d, Set-Cookie %q", resp.StatusCode, resp.Header.Get("Set-Cookie"))
	}
}

// unwrapper hides everything of a ResponseWriter but Unwrap, as middleware does.
type unwrapper struct{ http.ResponseWriter }

func (u unwrapper) Unwrap() http.ResponseWriter { return u.ResponseWriter }

func TestResponseWriterThatCannotBeTakenOver(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet))
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, upgrade(s.http.URL))
	if w.Code != 500 {
		t.Errorf("got %d", w.Code)
	}
	s.waitSessions(0)
}

// A ResponseWriter that panics, as one of somebody's middleware may, costs no place.
func TestResponseWriterThatPanics(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet), juggler.WithMaxSessions(1))
	for range 3 {
		func() {
			defer func() {
				if p := recover(); p == nil {
					t.Error("the panic has not reached the server")
				}
			}()
			s.h.ServeHTTP(panicking{httptest.NewRecorder()}, upgrade(s.http.URL))
		}()
	}
	s.waitSessions(0)
	s.dial("juggler.1")
}

type panicking struct{ http.ResponseWriter }

func (panicking) Hijack() (net.Conn, *bufio.ReadWriter, error) { panic("no") }

// The client's first frame may come in the same segment as the handshake. It is
// answered at once, not with the next thing that the event loop has to do.
func TestFrameSentWithTheHandshake(t *testing.T) {
	s := newServer(t, quietly)
	s.handle("echo", echo)
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(waiting.Most)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	upgrade(s.http.URL).Write(&b)
	b.Write(maskedText(`{"type":"CALL","id":"1","uri":"echo","args":1}`))
	if _, err := conn.Write([]byte(b.String())); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{conn, bufio.NewReader(conn)}
	c.skipHandshake(t)
	c.read(t, 3) // HELLO, ACK, RES
}

func TestTLS(t *testing.T) {
	s := newServer(t)
	s.handle("echo", echo)
	front := httptest.NewTLSServer(s.h)
	defer front.Close()
	conn, _, err := websocket.Dial(t.Context(), front.URL, &websocket.DialOptions{
		Subprotocols: []string{"juggler.1"},
		HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	c := &testClient{t, conn}
	c.expect(`{"type":"HELLO"}`)
	c.send(`{"type":"CALL","id":"1","uri":"echo","args":[1]}`)
	c.expect(`{"type":"ACK"}`)
	c.expect(`{"type":"RES","args":[1]}`)
	if st := s.h.Stats(); st.PortableConnections != 1 {
		t.Errorf("TLS connections on the portable path: %d", st.PortableConnections)
	}
}

func TestShutdownRefusesHandshakes(t *testing.T) {
	s := newServer(t)
	c := s.dial("juggler.1")
	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), waiting.Most)
		defer cancel()
		down <- s.h.Shutdown(ctx)
	}()
	c.expect(`{"type":"GOAWAY","after":0}`)
	c.conn.CloseNow() // or Shutdown waits for it
	if err := <-down; err != nil {
		t.Fatal(err)
	}
	if resp, _ := try(t, upgrade(s.http.URL)); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}

// HTTP/1.0, which some proxies speak unless told otherwise, has no upgrades.
func TestHandshakeOfOldHTTP(t *testing.T) {
	s := newServer(t)
	nc, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	r := upgrade(s.http.URL)
	_, _ = io.WriteString(nc, "GET / HTTP/1.0\r\nConnection: Upgrade\r\n")
	_ = r.Header.WriteSubset(nc, map[string]bool{"Connection": true})
	_, _ = io.WriteString(nc, "\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 400 || !strings.Contains(string(body), "HTTP/1.1") {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}

// A client opens a WebSocket over HTTP/2 only where the server's settings offer it (RFC
// 8441), which those of net/http do not. So clients use HTTP/1.1, which is served.
func TestHTTP2DoesNotOfferWebSockets(t *testing.T) {
	s := newServer(t)
	front := httptest.NewUnstartedServer(s.h)
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	nc, err := tls.Dial("tcp", front.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Fatalf("the server speaks %q", got)
	}
	// The preface of HTTP/2 with settings that say nothing (RFC 9113, section 3.4).
	if _, err := io.WriteString(nc, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(nc, head); err != nil || head[3] != 4 {
		t.Fatalf("got frame %x, %v, want SETTINGS", head, err)
	}
	settings := make([]byte, int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(nc, settings); err != nil {
		t.Fatal(err)
	}
	for ; len(settings) >= 6; settings = settings[6:] {
		if id := binary.BigEndian.Uint16(settings); id == 8 && binary.BigEndian.Uint32(settings[2:]) != 0 {
			t.Error("the server offers extended CONNECT")
		}
	}
}

// readAll reads and closes the body of a response.
func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
