package playground_test

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/cmd/juggler/internal/playground"
)

func get(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// The page has its settings, whatever is in them, and all that it names is there.
func TestPage(t *testing.T) {
	want := playground.Config{WebSocket: `/"><script>alert(1)</script>?a=b&c={{.}}`, URIs: []string{"a"}}
	h := playground.New(want)
	page := get(h, "GET", playground.Path)
	if page.Code != http.StatusOK {
		t.Fatalf("status %d", page.Code)
	}
	meta := regexp.MustCompile(`<meta name="playground" content="([^"<>]*)"`).FindStringSubmatch(page.Body.String())
	if meta == nil {
		t.Fatalf("no settings in\n%s", page.Body)
	}
	var got playground.Config
	if err := json.Unmarshal([]byte(html.UnescapeString(meta[1])), &got); err != nil || got.WebSocket != want.WebSocket || len(got.URIs) != 1 {
		t.Errorf("settings %+v, %v; want %+v", got, err, want)
	}
	named := regexp.MustCompile(`(?:src|href)="\./([^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1)
	if len(named) != 3 { // script, style, icon
		t.Errorf("the page names %q", named)
	}
	for _, m := range named {
		if w := get(h, "GET", playground.Path+m[1]); w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: status %d, %d bytes", m[1], w.Code, w.Body.Len())
		}
	}
}

// Nothing may come from elsewhere or go there, and no other page may show this one.
func TestHeaders(t *testing.T) {
	h := playground.New(playground.Config{WebSocket: "/"})
	for name, mediaType := range map[string]string{"": "text/html; charset=utf-8", "app.js": "text/javascript; charset=utf-8", "app.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"} {
		got := get(h, "GET", playground.Path+name).Header()
		policy := strings.Split(got.Get("Content-Security-Policy"), "; ")
		sources := make(map[string]string)
		for _, directive := range policy {
			d, source, _ := strings.Cut(directive, " ")
			sources[d] = source
			if source != "'none'" && source != "'self'" && d != "require-trusted-types-for" {
				t.Errorf("%q: the policy has %s", name, directive)
			}
		}
		for _, d := range []string{"default-src", "base-uri", "form-action", "frame-ancestors"} {
			if sources[d] != "'none'" {
				t.Errorf("%q: the policy has %s %s", name, d, sources[d])
			}
		}
		for header, want := range map[string]string{
			"Content-Type": mediaType, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got.Get(header) != want {
				t.Errorf("%q: %s is %q, want %q", name, header, got.Get(header), want)
			}
		}
	}
}

// A browser that has a file is told that it is the same. Other settings make another page.
func TestCaching(t *testing.T) {
	one, two := playground.New(playground.Config{WebSocket: "/"}), playground.New(playground.Config{WebSocket: "/ws"})
	for _, name := range []string{"", "app.js"} {
		tag := get(one, "GET", playground.Path+name).Header().Get("ETag")
		if w := get(one, "GET", playground.Path+name, "If-None-Match", tag); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("%q: status %d with %d bytes", name, w.Code, w.Body.Len())
		}
		want := http.StatusNotModified
		if name == "" {
			want = http.StatusOK
		}
		if w := get(two, "GET", playground.Path+name, "If-None-Match", tag); w.Code != want {
			t.Errorf("%q with other settings: status %d, want %d", name, w.Code, want)
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	h := playground.New(playground.Config{WebSocket: "/"})
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"HEAD", "", http.StatusOK},
		{"HEAD", "app.js", http.StatusOK},
		{"POST", "", http.StatusMethodNotAllowed},
		{"DELETE", "app.js", http.StatusMethodNotAllowed},
		{"GET", "index.html", http.StatusNotFound},
		{"GET", "app.js.map", http.StatusNotFound},
		{"GET", "assets/", http.StatusNotFound},
		{"GET", "..%2f..%2fplayground.go", http.StatusNotFound},
	} {
		w := get(h, tt.method, playground.Path+tt.path)
		if w.Code != tt.status || tt.method == "HEAD" && w.Body.Len() > 0 {
			t.Errorf("%s %s: status %d with %d bytes, want %d", tt.method, tt.path, w.Code, w.Body.Len(), tt.status)
		}
	}
}
