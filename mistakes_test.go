package juggler_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/juggler-go/juggler"
)

// fronts are servers of a handler on both I/O paths: plain sockets are on event loops,
// those of TLS on goroutines.
func fronts(t *testing.T, h http.Handler) map[string]*httptest.Server {
	plain, secure := httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	return map[string]*httptest.Server{"loops": plain, "TLS": secure}
}

// tokenExpired is an authenticator that knows no token.
func tokenExpired(r *http.Request) (*juggler.Identity, error) {
	if r.Header.Get("Authorization") != "" {
		return nil, &juggler.Error{Code: juggler.CodeUnauthenticated, Message: "token expired"}
	}
	return nil, nil
}

func setHeader(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// A handshake that is refused says why in its answer, and in one warning for all that are
// refused for the same reason.
func TestRefusedHandshakesSayWhatIsWrong(t *testing.T) {
	tests := []struct {
		reason string
		change func(*http.Request)
		says   []string
	}{
		{juggler.RefusedOrigin, setHeader("Origin", "http://localhost:5173"), []string{`"http://localhost:5173"`, `"api.example"`, "WithOrigins", "--origins", "pass Host on"}},
		{juggler.RefusedSubprotocol, setHeader("Sec-WebSocket-Protocol", "graphql-ws"), []string{`"graphql-ws"`, "juggler.1", "juggler.0"}},
		{juggler.RefusedSubprotocol, func(r *http.Request) { r.Header.Del("Sec-WebSocket-Protocol") }, []string{"no protocol", "juggler.1"}},
		{juggler.RefusedMethod, func(r *http.Request) { r.Method = http.MethodPost }, []string{`"POST"`, "GET"}},
		{juggler.RefusedNotWebSocket, func(r *http.Request) { r.Header.Del("Upgrade") }, []string{"Upgrade: websocket", "proxy"}},
		{juggler.RefusedRequest, setHeader("Sec-WebSocket-Version", "8"), []string{"Sec-WebSocket-Version: 13"}},
		{juggler.RefusedByUser, setHeader("Authorization", "Bearer x"), []string{"token expired"}},
	}
	var log lockedBuffer
	s := newServer(t, juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), juggler.WithAuthenticator(tokenExpired))
	for path, front := range fronts(t, s.h) {
		for _, tt := range tests {
			for range 2 {
				r := upgrade(front.URL)
				r.Host = "api.example"
				tt.change(r)
				resp, err := front.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if body := readAll(t, resp); !containsAll(body, tt.says) {
					t.Errorf("%s, %s: answered %q", path, tt.reason, body)
				}
			}
			if n := warnings(log.String(), "why="+tt.reason+" ", tt.says); n != 1 {
				t.Errorf("%s, %s: %d warnings:\n%s", path, tt.reason, n, log.String())
			}
		}
	}
	counts := map[string]uint64{}
	for _, r := range s.h.Stats().Refusals {
		counts[r.Reason] = r.Count
	}
	for _, tt := range tests {
		if n := counts[tt.reason]; n != 4 && (n != 8 || tt.reason != juggler.RefusedSubprotocol) {
			t.Errorf("%s is counted %d times", tt.reason, n)
		}
	}
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// warnings counts the warnings in a log that contain all parts.
func warnings(log, kind string, parts []string) (n int) {
	for line := range strings.Lines(strings.ReplaceAll(log, `\"`, `"`)) {
		if strings.Contains(line, "level=WARN") && strings.Contains(line, kind) && containsAll(line, parts) {
			n++
		}
	}
	return n
}

// Strangers who make up origins do not flood the log.
func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	var log lockedBuffer
	h, err := juggler.New(juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Shutdown(t.Context())
	for i := range 1000 {
		r := upgrade("http://localhost/")
		r.Header.Set("Origin", fmt.Sprintf("https://%d.example", i)+strings.Repeat("x", 500))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Body.Len() > 500 {
			t.Fatalf("answered %d bytes", w.Body.Len())
		}
	}
	if lines := strings.Count(log.String(), "\n"); lines > 80 {
		t.Errorf("logged %d lines:\n%.2000s", lines, log.String())
	}
}

// A call that nobody answers, and a SUB that forgets to say that it means a pattern, are
// warned of once for each name, and a client that makes names up does not flood the log.
func TestMistakesInRequestsAreSaidOnce(t *testing.T) {
	var log lockedBuffer
	s := newServer(t, juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), juggler.WithMaxSubscriptions(1000))
	c := s.dial("juggler.1")
	mistakes := func(name string) {
		c.send(`{"type":"CALL","id":"1","uri":"` + name + `"}`)
		c.expect(`{"type":"NACK","error":{"code":404}}`)
		c.send(`{"type":"SUB","id":"2","channel":"` + name + `.*"}`)
		c.expect(`{"type":"ACK"}`)
	}
	for range 3 {
		mistakes("math.ad")
	}
	c.send(`{"type":"SUB","id":"3","channel":"news.*","pattern":true}`)
	c.expect(`{"type":"ACK"}`)
	if n := warnings(log.String(), "nobody serves this URI", []string{"uri=math.ad ", "callee"}); n != 1 {
		t.Errorf("%d warnings of the URI:\n%s", n, log.String())
	}
	if n := warnings(log.String(), "pattern", []string{"channel=math.ad.* "}); n != 1 || strings.Contains(log.String(), "news.*") {
		t.Errorf("%d warnings of the channel:\n%s", n, log.String())
	}
	for i := range 500 {
		mistakes(fmt.Sprint("made.up.", i))
	}
	if lines := strings.Count(log.String(), "\n"); lines > 130 {
		t.Errorf("logged %d lines", lines)
	}
}

// Where the handler has made the broker no callee can be on it, and the warning says so.
func TestNobodyCanServeOnTheDefaultBroker(t *testing.T) {
	var log lockedBuffer
	h, err := juggler.New(juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(h)
	defer front.Close()
	defer h.Shutdown(t.Context())
	c := dialRaw(t, front.Listener.Addr().String())
	if _, err := c.conn.Write(maskedText(`{"type":"CALL","id":"1","uri":"math.add"}`)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the warning", func() bool {
		return warnings(log.String(), "nobody serves this URI", []string{"WithBroker"}) == 1
	})
	c.conn.Close() // or Shutdown waits for it
}
