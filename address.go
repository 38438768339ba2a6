package juggler

import (
	"net/http"
	"net/netip"

	"github.com/juggler-go/juggler/internal/handshake"
)

// clientAddr returns the address that a request comes from: that of the client, as far
// as the proxies between are known and say it, or else of the peer by RemoteAddr, which
// middleware may have set. It is not valid if there is none, as with Unix sockets.
func (h *Handler) clientAddr(r *http.Request) netip.Addr {
	if addr := h.cfg.proxies.Client(r); addr.IsValid() {
		return addr
	}
	return handshake.Peer(r)
}

// keepAddr keeps the address of s, which has a slot: there is room for one of IPv4 in a
// session, but not for one of IPv6. The caller holds slotsMu.
func (sh *shard) keepAddr(s *session, addr netip.Addr) {
	switch {
	case addr.Is4():
		s.ip4 = addr.As4()
	case addr.Is6():
		for len(sh.ip6) <= int(s.Tag) {
			sh.ip6 = append(sh.ip6, [16]byte{})
		}
		sh.ip6[s.Tag] = addr.As16()
	}
}

// RemoteAddr returns the IP address of the session's client, or of the last proxy before
// it that is not known; see [WithTrustedProxies]. It is not valid if there is none, as
// with Unix sockets, and may not be once the session has ended: [Disconnect] has it then.
func (s Session) RemoteAddr() netip.Addr {
	if s.s.ip4 != [4]byte{} {
		return netip.AddrFrom4(s.s.ip4)
	}
	sh, slot := s.s.shard, int(s.s.Tag)
	sh.slotsMu.RLock()
	defer sh.slotsMu.RUnlock()
	if sh.slots[slot] != s.s || slot >= len(sh.ip6) || sh.ip6[slot] == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(sh.ip6[slot])
}
