package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/juggler-go/juggler/internal/ratelog"
)

// elsewhere answers requests for paths at which there is nothing, as clients with an old or
// mistyped URL send them, or a proxy that changes paths.
type elsewhere struct {
	path    string       // where there is something
	log     *slog.Logger // without a limit: warned bounds it
	warned  ratelog.Once // by path
	refused atomic.Uint64
}

func (e *elsewhere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") { // others look for something else, such as /favicon.ico
		e.refused.Add(1)
		path := r.URL.Path[:min(len(r.URL.Path), 100)]
		if e.warned.First(path) {
			e.log.Warn("handshake refused: this path is not that of --path", "path", path, "serving", e.path, "remote", r.RemoteAddr)
		}
	}
	http.Error(w, fmt.Sprintf("there is nothing at this path: the WebSocket is at %s (--path)", e.path), http.StatusNotFound)
}
