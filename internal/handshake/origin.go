package handshake

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// SameOrigin reports whether the origin of a request is the server's own.
func SameOrigin(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// Origins returns a check that allows the server's own origin and these.
func Origins(origins []string) (func(*http.Request) bool, error) {
	allowed := make(map[string]bool, len(origins))
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			return nil, fmt.Errorf("%q: want scheme://host or scheme://host:port", o)
		}
		allowed[strings.ToLower(o)] = true
	}
	return func(r *http.Request) bool {
		return allowed[strings.ToLower(r.Header.Get("Origin"))] || SameOrigin(r)
	}, nil
}
