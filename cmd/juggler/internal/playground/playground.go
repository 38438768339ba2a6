// Package playground serves a web page on which people try out the server that it comes
// from: connect, call, subscribe, publish, and watch the frames.
//
// The page gives nobody a right: what is done on it is done by a session like any other,
// with the cookies, the token and the origin of who uses it. It loads nothing from
// elsewhere and connects to its own server alone, which the browser enforces.
package playground

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"html/template"
	"net/http"
	"path"
	"time"
)

// Path is where the page is, and below it what it loads.
const Path = "/playground/"

// policy lets the page have what comes from its own server, and nothing else: no script
// in the page's text, no frame around it, no form that leads away.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// assets is what web/ is built to.
//
//go:embed assets
var assets embed.FS

// mediaTypes are those of the assets: what the machine's own tables say may differ.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// A Config is what the page begins with.
type Config struct {
	// WebSocket is path and query of the server's WebSocket, as seen from the page's host.
	WebSocket string `json:"webSocket"`
	// URIs and Channels are suggested.
	URIs     []string `json:"uris,omitempty"`
	Channels []string `json:"channels,omitempty"`
}

// New returns what serves the page at [Path].
func New(c Config) http.Handler {
	settings, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings alone
	}
	entries, err := assets.ReadDir("assets")
	if err != nil {
		panic(err) // it is embedded
	}
	mux := http.NewServeMux()
	for _, entry := range entries {
		name := entry.Name()
		content, err := assets.ReadFile("assets/" + name)
		if err != nil {
			panic(err)
		}
		if name == "index.html" {
			mux.Handle("GET "+Path+"{$}", newAsset(name, fill(content, settings)))
		} else {
			mux.Handle("GET "+Path+name, newAsset(name, content))
		}
	}
	return mux
}

// fill writes the settings where the page looks for them.
func fill(page, settings []byte) []byte {
	var filled bytes.Buffer
	if err := template.Must(template.New("").Parse(string(page))).Execute(&filled, string(settings)); err != nil {
		panic(err) // the template is ours
	}
	return filled.Bytes()
}

// An asset is one file. Browsers keep it, but ask each time whether it is the same, so that
// nobody has the page of one release with the script of another.
type asset struct {
	name, tag string
	content   []byte
}

func newAsset(name string, content []byte) *asset {
	sum := sha256.Sum256(content)
	return &asset{name: name, tag: `"` + hex.EncodeToString(sum[:12]) + `"`, content: content}
}

func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", mediaTypes[path.Ext(a.name)])
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", a.tag)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.content))
}
