// Package peer holds the servers under test: juggler and what it is compared
// with, each set up as its documentation advises for speed. A server runs in
// a process of its own and serves until that ends.
package peer

import (
	"fmt"
	"net"
	"net/http"
	"sort"
)

// servers start listening on a free port of the loopback interface and return
// the address.
var servers = map[string]func() (addr string, err error){
	"juggler":             jugglerPlain,
	"juggler-blocking":    jugglerBlocking,
	"juggler-nonblocking": jugglerNonBlocking,
	"juggler-echo":        jugglerEcho,
	"gws":                 gwsEcho,
	"gws-broadcast":       gwsBroadcast,
	"gorilla":             gorillaEcho,
	"gorilla-prepared":    gorillaBroadcast,
	"coder":               coderEcho,
	"raw-loop":            rawBroadcast,
	"centrifuge":          centrifugeServer,
	"nats":                natsServer,
	"nats-ws":             natsWebSocketServer,
}

// Start starts the server with this name.
func Start(name string) (addr string, err error) {
	start, ok := servers[name]
	if !ok {
		return "", fmt.Errorf("peer: unknown server %q, have %q", name, Names())
	}
	return start()
}

// Names returns the names that Start knows, sorted.
func Names() []string {
	names := make([]string, 0, len(servers))
	for name := range servers {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// listen returns a listener on a free port of the loopback interface.
func listen() (net.Listener, error) { return net.Listen("tcp4", "127.0.0.1:0") }

// serveHTTP serves h on a free port until the process ends.
func serveHTTP(h http.Handler) (addr string, err error) {
	l, err := listen()
	if err != nil {
		return "", err
	}
	go http.Serve(l, h)
	return l.Addr().String(), nil
}
