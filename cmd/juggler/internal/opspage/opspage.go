// Package opspage is a page for operators: what goes on at one node, and for at most a minute
// what one of its sessions or users and the server send each other. It changes nothing.
//
// Whoever reaches the address may look. Browsers that run pages of others reach it too: the
// page answers no request that names it by a foreign name (DNS rebinding) or follows
// somebody for another origin, and shows all that strangers choose as text.
package opspage

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
)

//go:embed page
var files embed.FS

// A Page is what the page shows.
type Page struct {
	Handler   *juggler.Handler
	Engine    *engine.Engine
	Ready     func(context.Context) error // why new clients should not come here, or nil
	InCluster bool                        // Handler.Cluster tells of other nodes
	Hosts     []string                    // names of this host beside its addresses and own name
	Log       *slog.Logger                // has who was followed

	queueAsker queueAsker
}

// Serve returns what answers requests for the page: / and what is below /ops/.
func (p *Page) Serve() http.Handler {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // it is embedded
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, page, "index.html") })
	mux.Handle("GET /ops/", http.StripPrefix("/ops", http.FileServerFS(page)))
	mux.HandleFunc("GET /ops/{$}", http.NotFound)
	mux.HandleFunc("GET /ops/node", p.node)
	mux.HandleFunc("GET /ops/nodes", p.nodes)
	mux.HandleFunc("GET /ops/queues", p.queues)
	mux.HandleFunc("POST /ops/follow", p.follow)
	return p.guard(http.NewCrossOriginProtection().Handler(mux))
}

// policy lets the page load and ask nothing but what comes from here.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// guard refuses requests under names that are not this host's, and says what browsers may do.
func (p *Page) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !p.ours(r.Host) {
			http.Error(w, fmt.Sprintf("%.100q is no name of this host that the page knows: use an address, or list the name in --admin-hosts", r.Host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ours reports whether a Host header names this host by what no stranger can make lead here:
// a name of a stranger's may have any address.
func (p *Page) ours(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "localhost" {
		return true
	}
	own, err := os.Hostname()
	return err == nil && strings.EqualFold(own, host) ||
		slices.ContainsFunc(p.Hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who asked may be gone
}
