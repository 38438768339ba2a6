package handshake

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestClientAddress(t *testing.T) {
	none := []string{}
	tests := []struct {
		name      string
		proxies   []string // nil: not known
		peer      string
		forwarded []string
		want      string // "": not known
	}{
		{"public peer", nil, "203.0.113.7:1234", nil, "203.0.113.7"},
		{"public peer without port", nil, "203.0.113.7", nil, "203.0.113.7"},
		{"IPv6 peer without port", nil, "2001:db8::1", nil, "2001:db8::1"},
		{"public peer says who it is", nil, "203.0.113.7:1234", []string{"198.51.100.1"}, "203.0.113.7"},
		{"peer of loopback", nil, "127.0.0.1:1234", []string{"198.51.100.1"}, ""},
		{"peer of a private network", nil, "10.1.2.3:1234", nil, ""},
		{"peer of a private network, IPv6", nil, "[fd00::1]:1234", nil, ""},
		{"loopback, no proxies", none, "127.0.0.1:1234", nil, "127.0.0.1"},
		{"no proxies, header", none, "127.0.0.1:1234", []string{"198.51.100.1"}, "127.0.0.1"},
		{"no address", none, "@", nil, ""},
		{"one proxy", []string{"10.0.0.0/8"}, "10.1.2.3:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"client invents hops", []string{"10.0.0.0/8"}, "10.1.2.3:1", []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1"},
		{"client invents a trusted hop", []string{"10.0.0.0/8"}, "10.1.2.3:1", []string{"10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		{"client invents a line", []string{"10.0.0.0/8"}, "10.1.2.3:1", []string{"1.1.1.1", "198.51.100.1"}, "198.51.100.1"},
		{"two proxies", []string{"10.0.0.0/8", "192.0.2.1"}, "10.1.2.3:1", []string{"198.51.100.1, 192.0.2.1"}, "198.51.100.1"},
		{"not a proxy", []string{"10.0.0.0/8"}, "203.0.113.7:1", []string{"198.51.100.1"}, "203.0.113.7"},
		{"proxy that says nothing", []string{"10.0.0.0/8"}, "10.1.2.3:1", nil, ""},
		{"proxy that says nonsense", []string{"10.0.0.0/8"}, "10.1.2.3:1", []string{"198.51.100.1, unknown"}, ""},
		{"hop with port", []string{"10.0.0.0/8"}, "10.1.2.3:1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6 hop with port", []string{"10.0.0.0/8"}, "10.1.2.3:1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"IPv4 in IPv6", none, "[::ffff:203.0.113.7]:1", nil, "203.0.113.7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Proxies
			if tt.proxies != nil {
				var err error
				if p, err = TrustedProxies(tt.proxies); err != nil {
					t.Fatal(err)
				}
			}
			r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
			want := netip.Addr{}
			if tt.want != "" {
				want = netip.MustParseAddr(tt.want)
			}
			if got := p.Client(r); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestTrustedProxiesRefused(t *testing.T) {
	for _, text := range []string{"", "10.0.0.0/33", "localhost", "fe80::1%eth0", "::ffff:10.0.0.0/104"} {
		if _, err := TrustedProxies([]string{text}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: error %v, want one that names it", text, err)
		}
	}
}

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{"198.51.100.1": "198.51.100.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::"} {
		if got := Network(netip.MustParseAddr(addr)); got != netip.MustParseAddr(want) {
			t.Errorf("%s: got %v, want %s", addr, got, want)
		}
	}
}

// FuzzForwardedFor expects the address of a client behind a proxy never to be one that
// the client made up: it is that of the last hop that is not trusted.
func FuzzForwardedFor(f *testing.F) {
	f.Add("1.1.1.1, 10.0.0.1", "198.51.100.1")
	f.Add("", "2001:db8::1")
	f.Fuzz(func(t *testing.T, invented, client string) {
		addr, err := netip.ParseAddr(client)
		p, _ := TrustedProxies([]string{"10.0.0.0/8"})
		if err != nil || addr.Zone() != "" || p.Trusts(addr.Unmap()) {
			return
		}
		r := &http.Request{RemoteAddr: "10.0.0.9:1", Header: http.Header{"X-Forwarded-For": {invented + "," + client}}}
		if got := p.Client(r); got != addr.Unmap() {
			t.Errorf("got %v, want %v", got, addr)
		}
	})
}
