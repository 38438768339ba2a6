package listen_test

import (
	"net/http"
	"testing"

	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
)

func TestClientAddress(t *testing.T) {
	proxies, err := listen.ParseProxies([]string{"10.0.0.0/8", "192.168.1.1", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"203.0.113.9:1234", nil, "203.0.113.9"},
		{"203.0.113.9:1234", []string{"198.51.100.1"}, "203.0.113.9"}, // not a proxy: not believed
		{"10.1.2.3:1234", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.1.2.3:1234", nil, "10.1.2.3"},
		{"10.1.2.3:1234", []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1"}, // 1.1.1.1 was sent by the client
		{"10.1.2.3:1234", []string{"1.1.1.1", "198.51.100.1, 192.168.1.1"}, "198.51.100.1"},
		{"10.1.2.3:1234", []string{"10.9.9.9"}, "10.9.9.9"},
		{"10.1.2.3:1234", []string{"nonsense"}, "10.1.2.3"},
		{"10.1.2.3:1234", []string{"198.51.100.1:5555"}, "198.51.100.1"},
		{"[fd00::1]:1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[::ffff:10.1.2.3]:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"@", []string{"198.51.100.1"}, ""}, // a Unix socket, and unix is not trusted
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
		if got := proxies.Client(r); got != tt.want {
			t.Errorf("%s with %q: %q, want %q", tt.peer, tt.forwarded, got, tt.want)
		}
	}
	unix, err := listen.ParseProxies([]string{"unix"})
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{RemoteAddr: "@", Header: http.Header{"X-Forwarded-For": {"198.51.100.1"}}}
	if got := unix.Client(r); got != "198.51.100.1" {
		t.Errorf("by a trusted Unix socket: %q", got)
	}
	if _, err := listen.ParseProxies([]string{"10.0.0.0/33"}); err == nil {
		t.Error("10.0.0.0/33 is no network")
	}
}
