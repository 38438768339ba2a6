package wsconn_test

import (
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func TestMessagesOfAnySizeAreEchoed(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s, p := srv.connect()
		for _, n := range []int{0, 1, 125, 126, 127, 128, 511, 512, 513, 65535, 65536, 65537, 1 << 20} {
			msg := strings.Repeat("x", n)
			p.send(text(msg))
			p.expect(ws.OpText, msg)
			p.send(frame(true, ws.OpBinary, []byte(msg)))
			p.expect(ws.OpBinary, msg)
		}
		p.send(closeFrame(1000, "bye"))
		p.expectClose(1000)
		p.expectEnd()
		s.end(1000, true, nil)
	})
}
