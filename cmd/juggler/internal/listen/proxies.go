package listen

import (
	"fmt"
	"net/http"

	"github.com/juggler-go/juggler/internal/handshake"
)

// Proxies are those whose word about clients is believed.
type Proxies struct {
	nets handshake.Proxies
	unix bool
}

// ParseProxies parses addresses, networks (10.0.0.0/8), and "unix" for whoever
// connects to a Unix socket.
func ParseProxies(texts []string) (*Proxies, error) {
	p := &Proxies{}
	var nets []string
	for _, text := range texts {
		if text == "unix" {
			p.unix = true
			continue
		}
		nets = append(nets, text)
	}
	var err error
	if p.nets, err = handshake.TrustedProxies(nets); err != nil {
		return nil, fmt.Errorf("%w, or unix", err)
	}
	return p, nil
}

// Client returns the address of the client of a request: that of its
// connection, or if that is a proxy's, the last in X-Forwarded-For that is not.
func (p *Proxies) Client(r *http.Request) string {
	addr := handshake.Peer(r)
	if p.unix && !addr.IsValid() || p.nets.Trusts(addr) {
		addr, _ = p.nets.Forwarded(r, addr)
	}
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}

// Handler puts the address of the client in r.RemoteAddr, where next looks.
func (p *Proxies) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client := p.Client(r); client != "" {
			r.RemoteAddr = client
		}
		next.ServeHTTP(w, r)
	})
}
