// Package peer holds the servers under test: juggler and what it is compared
// with, each set up as its documentation advises for speed. A server runs in
// a process of its own and serves until that ends.
package peer

import (
	"fmt"
	"net"
	"net/http"
	"sort"

	"github.com/lxzan/gws"

	"github.com/juggler-go/juggler"
)

// deflateFrom is from how many bytes on servers compress that do.
const deflateFrom = 128

// A serveFunc serves a handler on a free port of the loopback interface,
// until the process ends, and returns the address.
type serveFunc func(http.Handler) (addr string, err error)

var servers = map[string]func() (addr string, err error){
	"juggler": func() (string, error) { return jugglerServer(serveHTTP) },
	"juggler-deflate": func() (string, error) {
		return jugglerServer(serveHTTP, juggler.WithCompression(juggler.Compression{Threshold: deflateFrom}))
	},
	"juggler-blocking":          func() (string, error) { return jugglerServer(serveHTTP, blockingHooks...) },
	"juggler-nonblocking":       func() (string, error) { return jugglerServer(serveHTTP, nonBlockingHooks...) },
	"juggler-observed":          jugglerObserved,
	"juggler-traced-none":       func() (string, error) { return jugglerTraced(0) },
	"juggler-traced-1":          func() (string, error) { return jugglerTraced(0.01) },
	"juggler-traced-all":        func() (string, error) { return jugglerTraced(1) },
	"juggler-echo":              func() (string, error) { return jugglerEcho(serveHTTP) },
	"gws":                       func() (string, error) { return gwsEcho(serveHTTP) },
	"gws-broadcast":             func() (string, error) { return gwsBroadcast(&gws.ServerOption{}) },
	"gws-deflate":               func() (string, error) { return gwsServe(serveHTTP, &gwsEchoEvents{}, gwsDeflate) },
	"gws-broadcast-deflate":     func() (string, error) { return gwsBroadcast(gwsDeflate) },
	"gorilla":                   gorillaEcho,
	"gorilla-prepared":          gorillaBroadcast,
	"coder":                     coderEcho,
	"juggler-tls":               func() (string, error) { return jugglerServer(serveTLS) },
	"juggler-echo-tls":          func() (string, error) { return jugglerEcho(serveTLS) },
	"gws-tls":                   func() (string, error) { return gwsEcho(serveTLS) },
	"centrifuge-tls":            func() (string, error) { return centrifugeServer(serveTLS) },
	"juggler-history":           jugglerHistory,
	"juggler-uris":              jugglerURIs,
	"juggler-redis":             func() (string, error) { return jugglerRedis() },
	"juggler-redis-blocking":    func() (string, error) { return jugglerRedis(blockingHooks...) },
	"juggler-redis-nonblocking": func() (string, error) { return jugglerRedis(nonBlockingHooks...) },
	"juggler-redis-history":     jugglerRedisHistory,
	"redis-callee-8":            func() (string, error) { return redisCallee(8) },
	"redis-callee-64":           func() (string, error) { return redisCallee(64) },
	"juggler-streamer":          jugglerStreamer,
	"redis-streamer":            redisStreamer,
	"raw-loop":                  rawBroadcast,
	"centrifuge":                func() (string, error) { return centrifugeServer(serveHTTP) },
	"centrifuge-deflate":        centrifugeDeflate,
	"centrifuge-redis":          centrifugeRedis,
	"nats":                      natsServer,
	"nats-ws":                   natsWebSocketServer,
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

// serveHTTP is a serveFunc.
func serveHTTP(h http.Handler) (addr string, err error) {
	l, err := listen()
	if err != nil {
		return "", err
	}
	go http.Serve(l, h)
	return l.Addr().String(), nil
}
