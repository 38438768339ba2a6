package listen

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are those whose word about clients is believed.
type Proxies struct {
	nets []netip.Prefix
	unix bool
}

// ParseProxies parses addresses, networks (10.0.0.0/8), and "unix" for whoever
// connects to a Unix socket.
func ParseProxies(texts []string) (*Proxies, error) {
	p := &Proxies{}
	for _, text := range texts {
		if text == "unix" {
			p.unix = true
			continue
		}
		if !strings.Contains(text, "/") {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%q: want an address, a network such as 10.0.0.0/8, or unix", text)
			}
			p.nets = append(p.nets, netip.PrefixFrom(address, address.BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q: want an address, a network such as 10.0.0.0/8, or unix", text)
		}
		p.nets = append(p.nets, network.Masked())
	}
	return p, nil
}

// trusts reports whether an address is that of a proxy.
func (p *Proxies) trusts(address string) bool {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, n := range p.nets {
		if n.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// Client returns the address of the client of a request: that of its
// connection, or if that is a proxy's, the last in X-Forwarded-For that is not.
func (p *Proxies) Client(r *http.Request) string {
	peer := peerAddress(r.RemoteAddr)
	if peer == "" && !p.unix || peer != "" && !p.trusts(peer) {
		return peer
	}
	var hops []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		for hop := range strings.SplitSeq(line, ",") {
			hops = append(hops, strings.TrimSpace(hop))
		}
	}
	for i := len(hops) - 1; i >= 0; i-- {
		hop := peerAddress(hops[i])
		if hop == "" {
			return peer // not an address: whoever wrote it is not to be believed
		}
		if peer = hop; !p.trusts(hop) {
			break
		}
	}
	return peer
}

// peerAddress returns the address of HOST:PORT or HOST, "" if there is none, as
// with Unix sockets.
func peerAddress(text string) string {
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().String()
	}
	if alone, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return alone.Unmap().String()
	}
	return ""
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
