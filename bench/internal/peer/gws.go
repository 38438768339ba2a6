package peer

import (
	"net/http"
	"sync"

	"github.com/lxzan/gws"
)

// gwsServe upgrades as the README of gws does, with ReadLoop on a goroutine
// of its own so that what net/http holds is freed.
func gwsServe(serve serveFunc, events gws.Event, option *gws.ServerOption) (string, error) {
	upgrader := gws.NewUpgrader(events, option)
	return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		go socket.ReadLoop()
	}))
}

type gwsEchoEvents struct{ gws.BuiltinEventHandler }

func (*gwsEchoEvents) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	_ = socket.WriteMessage(message.Opcode, message.Bytes())
}

func gwsEcho(serve serveFunc) (string, error) {
	return gwsServe(serve, &gwsEchoEvents{}, &gws.ServerOption{})
}

// gwsDeflate has gws compress without context takeover, at its default level.
var gwsDeflate = &gws.ServerOption{PermessageDeflate: gws.PermessageDeflate{Enabled: true, Threshold: deflateFrom}}

// gwsRoom sends each message to all connections but the one it came from,
// with the Broadcaster that gws has for that.
type gwsRoom struct {
	gws.BuiltinEventHandler
	mu    sync.Mutex
	conns map[*gws.Conn]bool
}

func (g *gwsRoom) OnOpen(socket *gws.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[socket] = true
}

func (g *gwsRoom) OnClose(socket *gws.Conn, _ error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, socket)
}

func (g *gwsRoom) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	b := gws.NewBroadcaster(message.Opcode, message.Bytes())
	defer b.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		if c != socket {
			_ = b.Broadcast(c)
		}
	}
}

func gwsBroadcast(option *gws.ServerOption) (string, error) {
	return gwsServe(serveHTTP, &gwsRoom{conns: make(map[*gws.Conn]bool)}, option)
}
