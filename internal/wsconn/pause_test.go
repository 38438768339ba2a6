package wsconn_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/wsconn"
)

func TestPauseKeepsWhatWasReadAndResumeGoesOn(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		got := make(chan string, 10)
		srv.message = func(s *session, _ ws.OpCode, b []byte) {
			got <- string(b)
			if string(b) == "pause" {
				s.Pause()
			}
		}
		s, p := srv.connect()
		p.send(text("pause"), text("a"), frame(true, ws.OpPing, nil), text("pause"), text("b"), text("c")[:4])
		await(t, got, "the first message")
		p.send(text("c")[4:], text("d"))
		s.on(func() {
			if len(got) != 0 {
				t.Error("a message came while paused")
			}
			s.Resume()
			if len(got) != 0 {
				t.Error("a message came before Resume returned")
			}
		})
		for _, want := range []string{"a", "pause"} {
			if m := await(t, got, want); m != want {
				t.Errorf("got %q, want %q", m, want)
			}
		}
		p.expect(ws.OpPong, "")
		s.on(func() {
			s.Resume()
			s.Pause()
			s.Resume()
		})
		for _, want := range []string{"b", "c", "d"} {
			if m := await(t, got, want); m != want {
				t.Errorf("got %q, want %q", m, want)
			}
		}
	})
}

func TestPauseHoldsUpThePeer(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		total := 0
		finished := make(chan int, 1)
		srv.message = func(s *session, _ ws.OpCode, b []byte) {
			if total += len(b); len(b) == 0 {
				finished <- total
			}
		}
		s, p := srv.connect()
		s.on(s.Pause)
		const n, size = 64, 1 << 17 // more than the sockets take
		sent := make(chan error, 1)
		go func() {
			_, err := p.Write(append(bytes.Repeat(frame(true, ws.OpText, make([]byte, size)), n), text("")...))
			sent <- err
		}()
		s.on(func() {
			if total != 0 {
				t.Error("messages came while paused")
			}
			s.Resume()
		})
		if got := await(t, finished, "all messages"); got != n*size {
			t.Errorf("got %d bytes, want %d", got, n*size)
		}
		if err := await(t, sent, "the peer"); err != nil {
			t.Error(err)
		}
	})
}

func TestAHangUpIsNoticedWhilePaused(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s, p := srv.connect()
		s.on(s.Pause)
		p.send(text("never read"))
		p.Close()
		e := await(t, s.closed, "Closed")
		if e.Code != 1006 || !errors.Is(e.Err, wsconn.ErrHangUp) && !errors.Is(e.Err, io.EOF) {
			t.Errorf("closed with %+v", e)
		}
	})
}

func TestAPausedConnectionCanBeClosed(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		paused := make(chan struct{}, 1)
		srv.message = func(s *session, _ ws.OpCode, b []byte) {
			s.Pause()
			paused <- struct{}{} // a second message would block here
		}
		s, p := srv.connect()
		p.send(text("a"), text("b"), closeFrame(1000, "")) // the close frame is among what is kept
		await(t, paused, "the message")
		s.on(func() { s.Close(1001, "") })
		p.expectClose(1001)
		p.expectEnd()
		s.end(1001, false, nil)

		s, p = srv.connect()
		p.send(text("a"), text("b"))
		await(t, paused, "the message of the second connection")
		s.on(s.Abort)
		s.end(1006, false, wsconn.ErrAborted)
	})
}
