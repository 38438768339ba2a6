package wsconn_test

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

func TestAWriteIsDelayedWhereThatPays(t *testing.T) {
	inBubble(t, config(), func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		s, p := connect()
		// sends has n messages sent whose writes may be delayed, each after the one
		// before. Another message follows after 1 ms, or none does. It checks how
		// long each was delayed.
		sends := func(n int, followed bool, want time.Duration) {
			t.Helper()
			for i := range n {
				synctest.Wait() // until nothing is being written any more
				start := time.Now()
				s.on(func() { s.WriteTextDelayed([]byte("delayed")) })
				if followed {
					time.AfterFunc(time.Millisecond, func() { s.on(func() { s.WriteText([]byte("next")) }) })
				}
				p.expect(ws.OpText, "delayed")
				if d := time.Since(start); d != want {
					t.Fatalf("message %d was delayed by %v, want %v", i+1, d, want)
				}
				if followed {
					p.expect(ws.OpText, "next")
				}
			}
		}
		const alone, together = 5 * time.Millisecond, time.Millisecond
		sends(15, false, 0) // nothing is known: one in 16 tries
		sends(1, false, alone)
		sends(15, true, 0) // that one was alone, so it stays like that
		sends(4, true, together)
		sends(2, false, alone) // each costs what two have gained
		sends(10, false, 0)
		sends(1, true, together) // the next that tries
	})
}

func TestDelayedMessagesKeepTheirPlace(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s, p := srv.connect()
		const n = 2000
		go func() {
			for i := range n {
				s.on(func() {
					if text := []byte(fmt.Sprint(i)); i%3 == 0 {
						s.WriteText(text)
					} else {
						s.WriteTextDelayed(text)
					}
				})
			}
			s.on(func() { s.Close(1000, "") })
		}()
		for i := range n {
			p.expect(ws.OpText, fmt.Sprint(i))
		}
		p.expectClose(1000) // and no delayed message is lost
		p.send(closeFrame(1000, ""))
		s.end(1000, false, nil)
	})
}

func TestADelayedWriteEndsWithItsConnection(t *testing.T) {
	inBubble(t, config(), func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		s, p := connect()
		for range 15 {
			s.on(func() { s.WriteTextDelayed(nil) })
			p.expect(ws.OpText, "")
		}
		s.on(func() { s.WriteTextDelayed([]byte("waits")); s.Abort() })
		<-s.closed
		other, q := connect() // its output is that of the first, reused
		other.on(func() { other.WriteText([]byte("a")) })
		q.expect(ws.OpText, "a")
		time.Sleep(time.Second)
		other.on(func() { other.WriteText([]byte("b")) })
		q.expect(ws.OpText, "b")
	})
}
