package handshake

import (
	"net/http"
	"testing"
)

func TestOriginPatterns(t *testing.T) {
	tests := []struct {
		pattern, origin string
		want            bool
	}{
		{"https://app.example.com", "https://app.example.com", true},
		{"HTTPS://App.Example.com", "https://app.example.com", true},
		{"https://app.example.com:443", "https://app.example.com", true},
		{"http://app.example.com:80", "http://app.example.com", true},
		{"http://app.example.com:443", "https://app.example.com", false},
		{"https://app.example.com:0443", "https://app.example.com", true},
		{"https://app.example.com", "https://app.example.com:8443", false},
		{"https://*.example.com", "https://app.example.com", true},
		{"https://*.example.com", "https://a.b.example.com", true},
		{"https://*.example.com", "https://example.com", false},
		{"https://*.example.com", "https://.example.com", false},
		{"https://*.example.com", "https://evilexample.com", false},
		{"https://*.example.com", "https://app.example.com.evil.org", false},
		{"https://*.example.com", "http://app.example.com", false},
		{"https://*.example.com:*", "https://app.example.com:8443", true},
		{"http://localhost:*", "http://localhost:5173", true},
		{"http://localhost:*", "http://localhost", true},
		{"http://localhost:*", "http://localhost.evil.org:5173", false},
		{"http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000", true},
		{"http://[::1]:*", "http://[::1]:3000", true},
		{"capacitor://localhost", "capacitor://localhost", true},
		{"chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop", true},
		{"https://xn--bcher-kva.example", "https://xn--bcher-kva.example", true},
		{"https://app.example.com", "null", false},
		{"https://app.example.com", "https://app.example.com, https://evil.org", false},
		{"https://app.example.com", "https://evil.org/https://app.example.com", false},
		{"https://app.example.com", "https://app.example.com@evil.org", false},
	}
	for _, tt := range tests {
		check, err := Origins([]string{"https://other.example", tt.pattern})
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		r := &http.Request{Host: "api.other.com", Header: http.Header{"Origin": {tt.origin}}}
		if got := check(r); got != tt.want {
			t.Errorf("%s and origin %s: got %v, want %v", tt.pattern, tt.origin, got, tt.want)
		}
	}
}

// What could never match is refused.
func TestOriginPatternsThatAreRefused(t *testing.T) {
	for _, pattern := range []string{
		"", "*", "null", "file://", "https://", "app.example.com", "//app.example.com", "https:app.example.com",
		"https://app.example.com/", "https://app.example.com/path", "https://app.example.com?q", "https://app.example.com#f",
		"https://user@app.example.com", "https://app.example.com:", "https://app.example.com:0", "https://app.example.com:65536",
		"https://app.example.com:http", "https://a.*.example.com", "https://app*.example.com", "https://*", "https://*.",
		"https://b\u00fccher.example", "https://app.example.com ", "https://a,https://b", "https://[::1", "https://[1.2.3.4]",
		"https://[::1%25eth0]", "https://::1", "1https://app.example.com", "ht tp://app.example.com",
	} {
		if _, err := Origins([]string{pattern}); err == nil {
			t.Errorf("%q is taken", pattern)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	tests := []struct {
		host, origin string
		want         bool
	}{
		{"example.com", "https://example.com", true},
		{"Example.COM", "https://example.com", true},
		{"example.com:443", "https://example.com", true},
		{"example.com", "https://example.com:443", true},
		{"example.com:80", "http://example.com", true},
		{"example.com:80", "https://example.com", false},
		{"example.com:8443", "https://example.com:8443", true},
		{"example.com:8443", "https://example.com", false},
		{"example.com.", "https://example.com", false},
		{"[::1]:8080", "http://[::1]:8080", true},
		{"[::1]:80", "http://[::1]", true},
		{"127.0.0.1:8080", "http://localhost:8080", false},
		{"example.com", "http://example.com", true},
		{"example.com", "null", false},
		{"example.com", "https://example.com.evil.org", false},
		{"example.com", "https://evil.org@example.com", false},
		{"example.com", "https://evil.org#example.com", false},
		{"*.example.com", "https://app.example.com", false},
		{"*", "https://example.com", false},
		{"kiosk.example", "https://\u212aiosk.example", false},
		{"", "https://example.com", false},
	}
	for _, tt := range tests {
		r := &http.Request{Host: tt.host, Header: http.Header{"Origin": {tt.origin}}}
		if got := SameOrigin(r); got != tt.want {
			t.Errorf("host %s, origin %s: got %v, want %v", tt.host, tt.origin, got, tt.want)
		}
	}
	two := &http.Request{Host: "example.com", Header: http.Header{"Origin": {"https://example.com", "https://evil.org"}}}
	if SameOrigin(two) {
		t.Error("two Origin lines are taken")
	}
}

func FuzzOrigins(f *testing.F) {
	f.Add("https://*.example.com:*", "https://app.example.com:8443")
	f.Add("http://[::1]", "http://[0:0::1]:80")
	f.Fuzz(func(t *testing.T, pattern, o string) {
		p, ok := parseOrigin(pattern, true)
		if !ok {
			return
		}
		text := p.scheme + "://" + p.host
		if p.port != "" {
			text += ":" + p.port
		}
		if again, ok := parseOrigin(text, true); !ok || again != p {
			t.Fatalf("%q is %+v, whose text %q is %+v, %v", pattern, p, text, again, ok)
		}
		if q, ok := parseOrigin(o, false); ok && p.matches(q) && q.scheme != p.scheme {
			t.Fatalf("%q matches %q", pattern, o)
		}
	})
}
