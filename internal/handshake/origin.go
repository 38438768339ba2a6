package handshake

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// An origin is where a web page comes from (RFC 6454): scheme, host and port, in one
// form for all ways to write it. In a pattern the host may be "*." and the end of a
// host, for one label or more in place of the star, and the port may be "*".
type origin struct{ scheme, host, port string }

// parseOrigin reads an origin, or a pattern.
func parseOrigin(s string, pattern bool) (o origin, ok bool) {
	scheme, authority, ok := strings.Cut(lower(s), "://")
	if !ok || !isScheme(scheme) {
		return o, false
	}
	host, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		host, port = authority[:i], authority[i+1:]
		if port != "*" || !pattern {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return o, false
			}
			port = strconv.FormatUint(n, 10)
		}
	}
	if port == defaultPorts[scheme] {
		port = ""
	}
	host, ok = parseHost(host, pattern)
	return origin{scheme, host, port}, ok
}

// lower returns s with its ASCII letters in lower case. Others stay, and are refused:
// Unicode has letters whose lower case is in ASCII.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// defaultPorts are those that browsers leave out.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

func isScheme(s string) bool {
	for i, c := range []byte(s) {
		if letter := c >= 'a' && c <= 'z'; !letter && (i == 0 || (c < '0' || c > '9') && !strings.ContainsRune("+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// parseHost reads a host, in lower case: a name, or an IPv6 address in brackets.
func parseHost(s string, pattern bool) (host string, ok bool) {
	if inner, found := strings.CutPrefix(s, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		return "[" + addr.String() + "]", found && err == nil && addr.Is6() && addr.Zone() == ""
	}
	name := s
	if pattern {
		name = strings.TrimPrefix(name, "*.")
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return "", false
		}
	}
	return s, name != ""
}

// matches reports whether the pattern o allows other.
func (o origin) matches(other origin) bool {
	host := o.host == other.host
	if tail, found := strings.CutPrefix(o.host, "*"); found {
		host = strings.HasSuffix(other.host, tail) && len(other.host) > len(tail)
	}
	return host && o.scheme == other.scheme && (o.port == other.port || o.port == "*")
}

// originOf reads the Origin of a request.
func originOf(r *http.Request) (o origin, ok bool) {
	values := r.Header.Values("Origin")
	if len(values) != 1 {
		return o, false
	}
	return parseOrigin(values[0], false)
}

// SameOrigin reports whether the origin of a request is the server's own, by Host. The
// scheme may differ, as a proxy in front of the server may speak TLS in its place.
func SameOrigin(r *http.Request) bool {
	o, ok := originOf(r)
	if !ok {
		return false
	}
	own, ok := parseOrigin(o.scheme+"://"+r.Host, false)
	return ok && own == o
}

// foreignOrigin refuses a request whose origin is not allowed, and names the option that
// would allow it.
func foreignOrigin(r *http.Request, option string) *Refusal {
	origin, host := cite(strings.Join(r.Header.Values("Origin"), ", ")), cite(r.Host)
	message := "the page's origin " + origin + " is not allowed: the server is " + host +
		" by the Host header. Allow the origin with " + option + ", or have the proxy in front of the server pass Host on"
	return &Refusal{Status: http.StatusForbidden, Reason: Origin, Subject: origin + host, Message: message}
}

// Origins returns a check that allows the server's own origin and those that the
// patterns match.
func Origins(patterns []string) (func(*http.Request) bool, error) {
	allowed := make([]origin, len(patterns))
	for i, p := range patterns {
		var ok bool
		if allowed[i], ok = parseOrigin(p, true); !ok {
			return nil, fmt.Errorf("%q: want scheme://host or scheme://host:port, where the host may begin with \"*.\" and the port be \"*\"", p)
		}
	}
	return func(r *http.Request) bool {
		o, ok := originOf(r)
		if !ok {
			return false
		}
		for _, a := range allowed {
			if a.matches(o) {
				return true
			}
		}
		return SameOrigin(r)
	}, nil
}
