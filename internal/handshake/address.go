package handshake

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the peers whose word about a client's address counts. The nil Proxies
// are not known.
type Proxies []netip.Prefix

// TrustedProxies reads prefixes ("10.0.0.0/8") and addresses. It never returns nil
// Proxies without an error: none says that there are none.
func TrustedProxies(list []string) (Proxies, error) {
	proxies := make(Proxies, 0, len(list))
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, notAddr := netip.ParseAddr(text)
			if notAddr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%q: want an address or a network such as 10.0.0.0/8", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("%q: want an IPv4 prefix written as one", text)
		}
		proxies = append(proxies, prefix.Masked())
	}
	return proxies, nil
}

// Client returns the address of the client that sent r: that of the peer or, if this is
// a proxy, what the last proxy in X-Forwarded-For that is not trusted itself has as its
// peer. It is not valid if it cannot be told. If the proxies are not known, peers of
// loopback and of private networks (RFC 1918, RFC 4193, RFC 3927) are taken for
// proxies, since they are rarely clients that one has to tell apart.
func (p Proxies) Client(r *http.Request) netip.Addr {
	peer := Peer(r)
	if p == nil && (peer.IsLoopback() || peer.IsPrivate() || peer.IsLinkLocalUnicast()) {
		return netip.Addr{}
	}
	if !p.Trusts(peer) {
		return peer
	}
	if client, ok := p.Forwarded(r, peer); ok {
		return client
	}
	return netip.Addr{} // the proxy does not say, or the client is one itself
}

// Forwarded follows X-Forwarded-For from a peer that is trusted, and returns the first
// address that is not. If there is none, or what stands there is no address, ok is false,
// and addr the last one that is.
func (p Proxies) Forwarded(r *http.Request, peer netip.Addr) (addr netip.Addr, ok bool) {
	for _, line := range slices.Backward(r.Header.Values("X-Forwarded-For")) {
		for _, hop := range slices.Backward(strings.Split(line, ",")) {
			hop := parseHop(strings.TrimSpace(hop))
			if !hop.IsValid() {
				return peer, false
			}
			if peer = hop; !p.Trusts(hop) {
				return hop, true
			}
		}
	}
	return peer, false
}

// Peer returns the address that the connection of r comes from, or that middleware for
// proxies has put there. It is not valid if there is none, as with Unix sockets.
func Peer(r *http.Request) netip.Addr { return parseHop(r.RemoteAddr) }

// parseHop reads an address, as of an entry of X-Forwarded-For, with or without a port.
func parseHop(hop string) netip.Addr {
	addr, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	if err != nil {
		withPort, _ := netip.ParseAddrPort(hop)
		addr = withPort.Addr() // the zero Addr, if it is none
	}
	return addr.Unmap().WithZone("")
}

// Trusts reports whether an address is that of a proxy.
func (p Proxies) Trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// Network returns what one client has of addresses: of IPv6 a /64, in which it can
// choose.
func Network(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}
