package client_test

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// tlsServer is a good server behind TLS.
func tlsServer(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Test") != "yes" {
			http.Error(w, "no header", http.StatusForbidden)
			return
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"juggler.1"}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		ws.SetReadLimit(-1)
		p := &peer{t: t, ws: ws, ctx: t.Context(), proto: frame.Juggler1}
		p.send(&frame.Frame{Type: frame.Hello})
		p.serve()
	})
	s := httptest.NewUnstartedServer(mux)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTLS(t *testing.T) {
	s := tlsServer(t)
	url := strings.Replace(s.URL, "https", "wss", 1) + "/ws"
	header := client.WithHTTPHeader(http.Header{"X-Test": {"yes"}})
	trusted := s.Client().Transport.(*http.Transport).TLSClientConfig
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	own := &http.Client{Transport: &http.Transport{TLSClientConfig: trusted.Clone()}, Jar: jar}
	defer own.CloseIdleConnections()
	for name, opts := range map[string][]client.Option{
		"WithTLSConfig":  {header, client.WithTLSConfig(trusted)},
		"WithHTTPClient": {header, client.WithHTTPClient(own)},
	} {
		c, err := client.Dial(t.Context(), url, opts...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		big := strings.Repeat("x", 50_000)
		var got string
		if err := c.Call(t.Context(), "u", big, &got); err != nil || got != big {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
		c.Close()
	}

	_, err = client.Dial(t.Context(), url, header, client.WithTLSConfig(&tls.Config{}))
	var untrusted *tls.CertificateVerificationError
	if !errors.As(err, &untrusted) {
		t.Errorf("untrusted certificate: got %v", err)
	}
	_, err = client.Dial(t.Context(), url, client.WithTLSConfig(trusted))
	var refused *client.HandshakeError
	if !errors.As(err, &refused) || refused.Body != "no header" {
		t.Errorf("without the header: got %v", err)
	}
}

// What is not a juggler server at all gives Dial a clear error.
func TestNotAWebSocketServer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("<html>hello"))
	}))
	defer s.Close()
	_, err := client.Dial(t.Context(), s.URL)
	var refused *client.HandshakeError
	if !errors.As(err, &refused) || refused.Status != 200 || refused.Own {
		t.Errorf("got %v", err)
	}
}
