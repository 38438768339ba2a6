package wsconn_test

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	protocol "github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// What waits for all peers together is bounded, whichever group they are in: the one for
// which most waits is closed, the others are not.
func TestBacklog(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.Loops, cfg.MaxBacklog = 2, 2<<20
		srv := newServer(t, wrap, cfg)
		greedy, greedyPeer := srv.connect()
		modest, modestPeer := srv.connect()
		if greedy.Group() == modest.Group() {
			t.Fatal("both connections are in one group")
		}
		const n = 20_000
		messages := 0
		msg := bytes.Repeat([]byte("m"), n)
		waiting.Until(t, "the one for which most waits is closed", func() (ended bool) {
			modest.on(func() {
				for ; modest.Queued() <= 700<<10; messages++ {
					modest.WriteText(msg)
				}
			})
			greedy.on(func() { // the kernel may take more of it, long after it was queued
				for ended = greedy.Ending(); !ended && greedy.Queued() <= 1500<<10; {
					greedy.WriteText(msg)
				}
			})
			return ended
		})
		expectSlowConsumerClose(t, greedyPeer, n)
		greedyPeer.send(closeFrame(1000, ""))
		greedy.end(wsconn.CodeSlowConsumer, false, wsconn.ErrSlowConsumer)
		for range messages {
			modestPeer.expect(ws.OpText, strings.Repeat("m", n))
		}
		modestPeer.send(text("all read"))
		modestPeer.expect(ws.OpText, "all read")
		for backlog := int64(-1); backlog != 0; {
			modest.on(func() { backlog = srv.pool.Backlog() })
		}
	})
}

// So is what has arrived of messages that are not complete.
func TestBacklogOfInput(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.MaxMessage, cfg.MaxBacklog = 1<<20, 256<<10
		srv := newServer(t, wrap, cfg)
		greedy, greedyPeer := srv.connect()
		_, modestPeer := srv.connect()
		small, large := text("not greedy"), text(strings.Repeat("m", 1<<20))
		modestPeer.send(small[:5])
		greedyPeer.send(large[:len(large)-1])
		greedyPeer.expectClose(protocol.CloseOverloaded)
		greedyPeer.send(large[len(large)-1:], closeFrame(1000, ""))
		greedy.end(protocol.CloseOverloaded, false, wsconn.ErrOverloaded)
		modestPeer.send(small[5:])
		modestPeer.expect(ws.OpText, "not greedy")
		waiting.Until(t, "nothing is kept", func() bool { return srv.pool.Backlog() == 0 })
	})
}
