package juggler_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/jugglertest"
)

func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPing(10*time.Second))
		c := dialIn(t, srv, "juggler.1", nil)
		for range 3 {
			start := time.Now()
			c.expect(`{"type":"PING"}`)
			if d := time.Since(start); d < 9*time.Second || d > 11*time.Second {
				t.Errorf("PING after %v", d)
			}
			c.send(`{"type":"PONG"}`)
		}
		c.expect(`{"type":"PING"}`)
		c.expectClose(juggler.CloseIdle)

		// The library of the tests answers WebSocket pings while it reads.
		old := dialIn(t, srv, "juggler.0", nil)
		go func() {
			time.Sleep(45 * time.Second)
			srv.Handler.Publish(t.Context(), "c", 1, nil)
		}()
		old.send(`{"meta":{"type":3,"uuid":""},"payload":{"channel":"c"}}`)
		old.expect(`{"meta":{"type":8}}`)
		old.expect(`{"meta":{"type":10}}`)
	})
}

// A subscriber that has vanished is found out, however much is sent to it.
func TestSilentSubscriberIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPing(10*time.Second))
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(`{"type":"SUB","id":"1","channel":"c"}`))
		start := time.Now()
		over := make(chan struct{})
		defer close(over)
		go func() {
			for {
				select {
				case <-time.After(time.Second):
					srv.Handler.Publish(t.Context(), "c", 1, nil)
				case <-over:
					return
				}
			}
		}()
		pings := 0
		for {
			op, payload, err := c.frame()
			if err != nil {
				t.Fatal(err)
			}
			if op == ws.OpClose {
				break
			}
			if string(payload) == `{"type":"PING"}` {
				pings++
			}
		}
		if d := time.Since(start); d != 20*time.Second || pings != 1 {
			t.Errorf("closed after %v and %d pings, want 20s and 1", d, pings)
		}
	})
}

// A client, or a proxy, that sends WebSocket pings gets pongs, which scripts of
// browsers do not see: PING comes all the same. What sends pings is not silent.
func TestPingBesidesPongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPing(10*time.Second))
		c := openIn(t, srv, "juggler.1")
		ping := ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame(nil)))
		for range 10 {
			c.write(t, ping)
			time.Sleep(7 * time.Second)
		}
		for pings, pongs := 0, 0; pings < 6 || pongs < 10; {
			switch op, payload, err := c.frame(); {
			case op == ws.OpPong:
				pongs++
			case string(payload) == `{"type":"PING"}`:
				pings++
			default:
				t.Fatalf("got %v %s, %v", op, payload, err)
			}
			if pongs == 10 && pings == 0 {
				t.Fatal("no PING besides 10 pongs")
			}
		}
	})
}

// A client that is sending a long message is not silent.
func TestPingDuringAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPing(10*time.Second), juggler.WithReadTimeout(time.Hour))
		c := openIn(t, srv, "juggler.1")
		message := maskedText(`{"type":"PUB","id":"1","channel":"c","args":"0123456789"}`)
		for i := range message {
			c.write(t, message[i:i+1])
			time.Sleep(time.Second)
		}
		for ack := false; !ack; {
			_, payload, err := c.frame()
			if err != nil {
				t.Fatal(err)
			}
			ack = string(payload) == `{"type":"ACK","for":"1"}`
		}
	})
}

func TestSilentJuggler0ClientIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPing(10*time.Second))
		conn, err := srv.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := upgrade(jugglertest.URL)
		r.Header.Set("Sec-WebSocket-Protocol", "juggler.0")
		r.Write(conn)
		srv.WaitSessions(1)
		time.Sleep(19 * time.Second)
		srv.WaitSessions(1)
		time.Sleep(12 * time.Second) // its close frame is not answered either
		srv.WaitSessions(0)
	})
}

func TestHalfAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithReadTimeout(3*time.Second), juggler.WithWriteTimeout(time.Second))
		for _, half := range []int{1, 3, 20} {
			conn, err := srv.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			upgrade(jugglertest.URL).Write(conn)
			srv.WaitSessions(1)
			conn.Write(maskedText(`{"type":"SUB","id":"1","channel":"c"}`)[:half])
			time.Sleep(2 * time.Second)
			srv.WaitSessions(1)
			time.Sleep(3 * time.Second)
			srv.WaitSessions(0)
			conn.Close()
		}
	})
}

// A client that does not read is closed; the others get everything.
func TestSlowConsumer(t *testing.T) {
	t.Parallel() // it mostly waits
	s := newServer(t, juggler.WithMaxQueueBytes(1<<17), juggler.WithWriteTimeout(time.Second), juggler.WithLogger(quiet))
	good := s.dial("juggler.1")
	good.send(`{"type":"SUB","id":"1","channel":"c"}`)
	good.expect(`{"type":"ACK"}`)
	slow, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	slow.(*net.TCPConn).SetReadBuffer(4096)
	upgrade(s.http.URL).Write(slow)
	slow.Write(maskedText(`{"type":"SUB","id":"1","channel":"c"}`))
	waitFor(t, "both subscriptions", func() bool { return s.h.Stats().Subscriptions == 2 })
	text := strings.Repeat("x", 16<<10)
	for i := range 1000 {
		if err := s.h.Publish(t.Context(), "c", fmt.Sprint(i, text), nil); err != nil {
			t.Fatal(err)
		}
		if got := good.expect(`{"type":"EVNT"}`); !strings.HasPrefix(got["args"].(string), fmt.Sprint(i, "x")) {
			t.Fatalf("event %d is another", i)
		}
	}
	s.waitSessions(1)
	if st := s.h.Stats(); st.SlowConsumers != 1 || !slices.Equal(st.ClosesByUs, []juggler.CodeCount{{Code: juggler.CloseSlowConsumer, Count: 1}}) {
		t.Errorf("%d slow consumers, closed with %v", st.SlowConsumers, st.ClosesByUs)
	}
}

func TestAbruptEnds(t *testing.T) {
	ends := map[string]func(*net.TCPConn){
		"reset":       func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"end":         func(c *net.TCPConn) { c.Close() },
		"half-closed": func(c *net.TCPConn) { c.CloseWrite() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, juggler.WithLogger(quiet))
			s.handle("wait", wait)
			c := dialRaw(t, s.http.Listener.Addr().String())
			c.conn.Write(maskedText(`{"type":"SUB","id":"1","channel":"c"}`, `{"type":"CALL","id":"2","uri":"wait"}`))
			c.read(t, 2)
			end(c.conn.(*net.TCPConn))
			s.waitSessions(0)
			if n := s.h.Stats().Subscriptions; n != 0 {
				t.Errorf("%d subscriptions are left", n)
			}
		})
	}
}
