package wsconn_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/wsconn"
)

// soon is a deadline that tests wait for: on loops time cannot be faked.
const soon = 20 * time.Millisecond

func TestTheOwnerClosesAfterWhatIsQueued(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s, p := srv.connect()
		s.on(func() {
			s.WriteText([]byte("last words"))
			s.Close(4001, "enough")
			s.WriteText([]byte("too late"))
			s.Ping()
			s.Close(4002, "twice")
		})
		p.expect(ws.OpText, "last words")
		if reason := p.expectClose(4001); reason != "enough" {
			t.Errorf("reason is %q", reason)
		}
		// Messages under way are passed over, pings not answered.
		p.send(text("a"), frame(true, ws.OpPing, nil), frame(false, ws.OpText, []byte("b")), closeFrame(4001, ""))
		p.expectEnd()
		s.end(4001, false, nil)
	})
}

// A violation right behind the message that made this side close used to take
// the close frame, and answers queued before it, with it.
func TestAViolationDoesNotOvertakeTheCloseFrame(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		srv.message = func(s *session, _ ws.OpCode, b []byte) {
			s.WriteText(b)
			s.Close(4000, "enough")
		}
		for _, wrong := range [][]byte{header(0x83, 0x80), frame(true, ws.OpClose, []byte{3})} {
			s, p := srv.connect()
			p.send(bytes.Join([][]byte{text("last"), wrong}, nil))
			p.expect(ws.OpText, "last")
			p.expectClose(4000)
			p.Close()
			s.end(4000, false, wsconn.ErrProtocol)
		}
	})
}

func TestAViolationWhileClosingEndsTheWait(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		for _, wrong := range [][]byte{header(0x83, 0x80), frame(true, ws.OpClose, []byte{3})} {
			s, p := srv.connect()
			s.on(func() { s.Close(1001, "") })
			p.expectClose(1001)
			p.send(wrong)
			p.expectEnd()
			s.end(1001, false, wsconn.ErrProtocol)
		}
	})
}

func TestBothSidesCloseAtOnce(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		srv.message = func(s *session, _ ws.OpCode, _ []byte) { s.Close(1000, "") }
		s, p := srv.connect()
		p.send(text("close, as I do"), closeFrame(1001, "")) // parsed in one turn
		p.expectClose(1000)
		p.expectEnd()
		s.end(1000, false, nil)
	})
}

func TestAPeerThatDoesNotAnswerTheCloseFrameIsNotWaitedForForEver(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.CloseTimeout = soon
		srv := newServer(t, wrap, cfg)
		s, p := srv.connect()
		s.on(func() { s.Close(1001, "going away") })
		p.expectClose(1001)
		p.expectEnd()
		s.end(1001, false, wsconn.ErrCloseTimeout)
	})
}

func TestAfterAFailureThePeersCloseFrameEndsTheWait(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		for _, wrong := range [][]byte{
			text("\xff"),
			frame(true, ws.OpText, make([]byte, 1<<20+1)),
			append(frame(false, ws.OpBinary, make([]byte, 1<<20+1)), frame(true, ws.OpContinuation, []byte("x"))...),
		} {
			s, p := srv.connect()
			p.send(text("ok"), wrong, text("ignored"), frame(true, ws.OpPing, nil), closeFrame(1000, ""))
			p.expect(ws.OpText, "ok")
			f, err := p.read()
			if err != nil || f.Header.OpCode != ws.OpClose {
				t.Fatalf("got %+v, %v; want a close frame", f, err)
			}
			p.expectEnd()
			if e := await(t, s.closed, "Closed"); e.Remote || !errors.Is(e.Err, wsconn.ErrProtocol) {
				t.Errorf("closed with %+v", e)
			}

			s, p = srv.connect() // and what is no frame ends it, too
			p.send(wrong, header(0x83, 0x80))
			f, err = p.read()
			if err != nil || f.Header.OpCode != ws.OpClose {
				t.Fatalf("got %+v, %v; want a close frame", f, err)
			}
			p.expectEnd()
			p.Close()
			await(t, s.closed, "Closed")
		}
	})
}

// A proxy gives up both sides when one has ended, whatever it has not passed on yet. The
// close frame has to be through before.
func TestTheCloseCodeArrivesBehindAProxy(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		more := bytes.Repeat(text(strings.Repeat("x", 1000)), 1000) // on its way when the server has had enough
		for code, wrong := range map[uint16][]byte{
			1009: frame(true, ws.OpText, make([]byte, 2<<20)),
			1003: frame(true, ws.OpBinary, make([]byte, 1<<20)),
		} {
			for range 20 { // which waits most of the time
				t.Run(fmt.Sprint(code), func(t *testing.T) {
					t.Parallel()
					s, p := newServer(t, wrap, served()).connectByProxy(t)
					sent := make(chan struct{})
					go func() {
						defer close(sent)
						_, _ = p.Write(bytes.Join([][]byte{wrong, more}, nil))
					}()
					p.expectClose(code)
					await(t, sent, "what the client sends")
					p.send(closeFrame(code, ""))
					p.expectEnd()
					s.end(code, false, wsconn.ErrProtocol)
					p.Close()
				})
			}
		}
	})
}

// connectByProxy makes a connection by way of a proxy that closes both sides at the end of
// either.
func (srv *server) connectByProxy(t *testing.T) (*session, *peer) {
	nc, toServer := sockets(t)
	toClient, client := sockets(t)
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, struct{ io.Reader }{from}) // read and write, as proxies do
		toServer.Close()
		toClient.Close()
	}
	go pass(toServer, toClient)
	go pass(toClient, toServer)
	return srv.adopt(nc, client)
}

func TestThePeerHangsUpWithoutACloseFrame(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s, p := srv.connect()
		p.send(text("a"))
		p.expect(ws.OpText, "a")
		p.Close()
		s.end(1006, false, io.EOF)

		s, p = srv.connect() // in the middle of a message
		p.send(text("abc")[:7])
		p.Close()
		s.end(1006, false, io.EOF)
	})
}

func TestAHalfClosedPeerGetsItsAnswersAndTheCloseFrame(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s, p := srv.connect()
		p.send(text("a"), closeFrame(1000, ""))
		p.hangUp()
		p.expect(ws.OpText, "a")
		p.expectClose(1000)
		p.expectEnd()
		s.end(1000, true, nil)

		s, p = srv.connect()
		p.send(header(0x83, 0x80))
		p.hangUp()
		p.expectClose(1002)
		p.expectEnd()
		s.end(1002, false, wsconn.ErrProtocol)
	})
}

// resetNow closes nc with a reset.
func resetNow(t *testing.T, nc net.Conn) {
	t.Helper()
	if err := nc.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestThePeerResetsTheConnection(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s, p := srv.connect()
		p.send(text("a"))
		p.expect(ws.OpText, "a")
		resetNow(t, p.Conn)
		s.end(1006, false, syscall.ECONNRESET)
	})
}

func TestAHangUpRacesWithClose(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		for i := range 200 {
			s, p := srv.connect()
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				if i%2 == 0 {
					p.Close()
				} else {
					resetNow(t, p.Conn)
				}
			}()
			s.on(func() {
				s.WriteText([]byte("x"))
				switch i % 4 {
				case 0, 1:
					s.Close(1000, "")
				case 2:
					s.Abort()
				}
			})
			<-gone
			await(t, s.closed, "Closed")
			s.on(func() { // all of it does nothing now
				s.WriteText([]byte("x"))
				s.Pause()
				s.Resume()
				s.Close(1000, "")
				s.Abort()
			})
			if len(s.closed) != 0 {
				t.Fatal("Closed twice")
			}
		}
	})
}

func TestAbortResets(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		if _, isWrapped := wrap(nil).(wrapped); isWrapped {
			wrap = func(nc net.Conn) net.Conn { return layered{wrapped{nc}} }
		}
		srv := newServer(t, wrap, config())
		s, p := srv.connect()
		s.on(func() {
			s.WriteText([]byte("dropped"))
			s.Abort()
		})
		if _, err := p.r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("peer sees %v, want a reset", err)
		}
		s.end(1006, false, wsconn.ErrAborted)
	})
}

// layered tells what it is made on, as a TLS connection does.
type layered struct{ wrapped }

func (l layered) NetConn() net.Conn { return l.wrapped.Conn }

func TestTheHandlerMayChooseTheCode(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		srv.closing = func(s *session, e *wsconn.CloseError) {
			s.WriteText([]byte("not written any more"))
			e.Code, e.Reason = 1008, "policy: "+e.Reason
		}
		s, p := srv.connect()
		p.send(text("\xff"))
		if reason := p.expectClose(1008); !strings.HasPrefix(reason, "policy: ") {
			t.Errorf("reason is %q", reason)
		}
		p.hangUp()
		s.end(1008, false, wsconn.ErrProtocol)
	})
}

func TestTheHandlerMayAbortInsteadOfClosing(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		srv.closing = func(s *session, e *wsconn.CloseError) { s.Abort() }
		s, p := srv.connect()
		p.send(text("\xff"))
		s.end(1006, false, wsconn.ErrAborted)
	})
}

func TestClosingThePoolClosesEverythingAtOnce(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s1, p1 := srv.connect()
		s2, _ := srv.connect() // closing
		s2.on(func() { s2.Close(1001, "") })
		s3, p3 := srv.connect() // half a message
		p3.send(text("abc")[:3])
		if err := srv.pool.Close(); err != nil {
			t.Error(err)
		}
		for _, s := range []*session{s1, s2, s3} {
			select {
			case e := <-s.closed:
				if !errors.Is(e.Err, wsconn.ErrPoolClosed) {
					t.Errorf("closed with %v", e)
				}
			default:
				t.Error("Close returned before Closed was called")
			}
		}
		if _, err := p1.r.ReadByte(); err == nil {
			t.Error("the connection is open")
		}
		nc, _ := sockets(t)
		if err := srv.pool.Adopt(wrap(nc), nil, nil); !errors.Is(err, wsconn.ErrPoolClosed) {
			t.Errorf("Adopt after Close: %v", err)
		}
		if _, err := nc.Write([]byte("still usable")); err != nil {
			t.Errorf("the connection that was not adopted: %v", err)
		}
		nc.Close()
		s1.Group().Wake() // does nothing
	})
}

func TestErrorsSayWhatHappened(t *testing.T) {
	for want, e := range map[string]*wsconn.CloseError{
		"connection closed with 4500 too slow: wsconn: slow consumer": {Code: 4500, Reason: "too slow", Err: wsconn.ErrSlowConsumer},
		"connection closed by peer with 1000":                         {Code: 1000, Remote: true},
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e, want)
		}
		if e.Err != nil && !errors.Is(e, e.Err) {
			t.Errorf("%q does not wrap its cause", e)
		}
	}
}
