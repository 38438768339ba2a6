package main_test

import (
	"net/http"
	"strings"
	"testing"
)

// handshakeFrom asks a server for a WebSocket as a proxy does for a client, and returns
// the status.
func handshakeFrom(t *testing.T, url, client string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", strings.Replace(url, "ws:", "http:", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "juggler.1", "X-Forwarded-For": client,
	} {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// The clients of a proxy that is trusted are told apart by their addresses.
func TestServeAddressRates(t *testing.T) {
	_, url := startServe(t, "--trusted-proxies", "127.0.0.1", "--address-rates", "handshakes=1/2", "--session-rates", "none")
	for i, want := range []int{101, 101, 429} {
		if got := handshakeFrom(t, url, "203.0.113.1"); got != want {
			t.Errorf("handshake %d: status %d, want %d", i+1, got, want)
		}
	}
	if got := handshakeFrom(t, url, "203.0.113.2"); got != 101 {
		t.Errorf("of another client: status %d", got)
	}
}

func TestRatesThatAreNone(t *testing.T) {
	for _, text := range []string{"", "messages", "messages=", "messages=0", "messages=-1", "messages=1/0", "messages=1/", "msgs=1", "handshakes=1", "messages=1,,calls=1"} {
		got := run(t, "", "serve", "--check", "--session-rates", text)
		if got.code != 2 || !strings.Contains(got.stderr, "session-rates") || !strings.Contains(got.stderr, "NAME=PER_SECOND") {
			t.Errorf("%q: %+v", text, got)
		}
	}
	got := run(t, "", "serve", "--check", "--session-rates", "messages=100/50, calls=5", "--address-rates", "failed-sign-ins=1,handshakes=10/100", "--user-rates", "none")
	if got.code != 0 {
		t.Errorf("rates: %+v", got)
	}
}
