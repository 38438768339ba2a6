package wsconn_test

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/wsconn"
)

// inBubble runs f with a server on fake time. Its connections are in memory
// and so portable: a loop waits in the kernel, for which time does not jump.
func inBubble(t *testing.T, cfg wsconn.Config, f func(t *testing.T, srv *server, connect func() (*session, *peer))) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, plain, cfg)
		f(t, srv, func() (*session, *peer) {
			a, b := net.Pipe()
			s, p := srv.adopt(a, b)
			if err := b.SetDeadline(time.Time{}); err != nil { // the fake clock would reach it
				t.Fatal(err)
			}
			return s, p
		})
	})
}

// endsAfter waits for s to be closed after exactly d.
func endsAfter(t *testing.T, s *session, d time.Duration, code uint16, cause error) {
	t.Helper()
	start := time.Now()
	e := <-s.closed
	if e.Code != code || e.Err != cause {
		t.Errorf("closed with %+v, want %d, %v", e, code, cause)
	}
	if got := time.Since(start); got != d {
		t.Errorf("closed after %v, want %v", got, d)
	}
}

func TestAMessageHasToBeCompletedInTime(t *testing.T) {
	for name, begin := range map[string][]byte{
		"a byte":           text("abc")[:1],
		"half a header":    text("abc")[:3],
		"half a payload":   text("abc")[:7],
		"a fragment":       frame(false, ws.OpText, []byte("abc")),
		"half a ping":      frame(true, ws.OpPing, []byte("abc"))[:7],
		"after a complete": append(text("x"), text("abc")[:1]...),
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config()
			cfg.ReadTimeout = 10 * time.Second
			cfg.CloseTimeout = 2 * time.Second
			inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
				srv.message = func(*session, ws.OpCode, []byte) {}
				s, p := connect()
				time.Sleep(time.Hour) // idle is not incomplete
				p.send(begin)
				start := time.Now()
				p.expectClose(wsconn.CodeIdle)
				if d := time.Since(start); d != cfg.ReadTimeout {
					t.Errorf("closed after %v, want %v", d, cfg.ReadTimeout)
				}
				endsAfter(t, s, cfg.CloseTimeout, wsconn.CodeIdle, wsconn.ErrReadTimeout)
			})
		})
	}
}

func TestControlFramesDoNotProlongAMessage(t *testing.T) {
	cfg := config()
	cfg.ReadTimeout = 10 * time.Second
	inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		_, p := connect()
		p.send(frame(false, ws.OpText, []byte("a")))
		for range 9 {
			time.Sleep(time.Second)
			p.send(frame(true, ws.OpPing, nil))
			p.expect(ws.OpPong, "")
		}
		p.expectClose(wsconn.CodeIdle)
	})
}

func TestEachMessageHasItsOwnTime(t *testing.T) {
	cfg := config()
	cfg.ReadTimeout = 10 * time.Second
	inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		_, p := connect()
		half := len(text("abc")) / 2
		p.send(text("abc")[:half])
		for range 5 {
			time.Sleep(9 * time.Second)
			p.send(text("abc")[half:], text("abc")[:half])
			p.expect(ws.OpText, "abc")
		}
	})
}

func TestPausingStopsTheClockForWhatThePeerSends(t *testing.T) {
	cfg := config()
	cfg.ReadTimeout = 10 * time.Second
	inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		s, p := connect()
		p.send(text("abc")[:7])
		s.on(s.Pause)
		time.Sleep(time.Hour)
		s.on(s.Resume)
		time.Sleep(9 * time.Second)
		p.send(text("abc")[7:])
		p.expect(ws.OpText, "abc")
	})
}

func TestQuietComesAfterSilence(t *testing.T) {
	cfg := config()
	cfg.Ping = 25 * time.Second
	inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		quiet := 0
		srv.quiet = func(s *session) {
			if quiet++; quiet != 2 {
				s.Ping()
			}
		}
		srv.unheard = func(*session) { t.Error("a peer that sends counts as gone") }
		s, p := connect()
		start := time.Now()
		go func() { // the peer is heard of all the time
			for range 10 {
				time.Sleep(10 * time.Second)
				p.send(frame(true, ws.OpPong, nil))
			}
		}()
		time.Sleep(20 * time.Second)
		s.on(func() { s.WriteText([]byte("x")) })
		p.expect(ws.OpText, "x")
		// Silence begins after what was written; the second Quiet writes
		// nothing, the third does again.
		for _, at := range []time.Duration{45, 95} {
			p.expect(ws.OpPing, "")
			if d := time.Since(start); d != at*time.Second {
				t.Errorf("ping after %v, want %ds", d, at)
			}
		}
		time.Sleep(10 * time.Second)
	})
}

// A peer is asked when nothing was heard of it, whatever is sent to it, and is gone if it
// does not answer. What is paused cannot answer.
func TestAPeerThatIsNotHeardOf(t *testing.T) {
	cfg := config()
	cfg.Ping = 25 * time.Second
	inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		var asked, gone []time.Duration
		start := time.Now()
		srv.quiet = func(*session) { asked = append(asked, time.Since(start)) }
		srv.unheard = func(*session) { gone = append(gone, time.Since(start)) }
		s, p := connect()
		write := func(seconds int) {
			for range seconds {
				time.Sleep(time.Second)
				s.on(func() { s.WriteText([]byte("x")) })
				p.expect(ws.OpText, "x")
			}
		}
		write(30)
		p.send(frame(true, ws.OpPong, nil)) // at 30, asked at 25
		write(70)                           // asked at 55, gone at 80, until 100
		p.send(frame(true, ws.OpPong, nil))
		write(10)
		s.on(s.Pause) // at 110
		write(100)
		s.on(s.Resume) // at 210, asked at 235, gone at 260
		write(60)
		if want := []time.Duration{25e9, 55e9, 235e9}; !slices.Equal(asked, want) {
			t.Errorf("asked at %v, want %v", asked, want)
		}
		if want := []time.Duration{80e9, 260e9}; !slices.Equal(gone, want) {
			t.Errorf("gone at %v, want %v", gone, want)
		}
	})
}

func TestTheWriteTimeoutIsForStandingStill(t *testing.T) {
	cfg := config()
	cfg.WriteTimeout = 10 * time.Second
	inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		s, p := connect()
		const n, chunk = 100_000, 16 << 10
		s.on(func() { s.WriteText(make([]byte, n)) })
		buf := make([]byte, chunk)
		for range 4 { // a chunk just in time, each time
			time.Sleep(9 * time.Second)
			if _, err := p.r.Read(buf[:1]); err != nil {
				t.Fatal(err)
			}
			if _, err := p.r.Discard(chunk - 1); err != nil {
				t.Fatal(err)
			}
		}
		// Then none: the close frame is tried for as long again.
		endsAfter(t, s, 20*time.Second, wsconn.CodeSlowConsumer, wsconn.ErrSlowConsumer)
	})
}

func TestTheSlowConsumersCloseFrameIsTriedForTheWriteTimeout(t *testing.T) {
	cfg := config()
	cfg.WriteTimeout = 10 * time.Second
	cfg.CloseTimeout = 3 * time.Second
	inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		s, p := connect()
		s.on(func() {
			for range 10 {
				s.WriteText(make([]byte, 20_000))
			}
		})
		time.Sleep(19 * time.Second) // slow after 10, given up after 20
		expectSlowConsumerClose(t, p, 20_000)
		endsAfter(t, s, 3*time.Second, wsconn.CodeSlowConsumer, wsconn.ErrSlowConsumer)
	})
}

func TestACloseThatNobodyTakesIsReset(t *testing.T) {
	cfg := config()
	cfg.WriteTimeout = 10 * time.Second
	inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		s, _ := connect()
		s.on(func() { s.Close(1001, "") })
		endsAfter(t, s, 10*time.Second, 1001, wsconn.ErrCloseTimeout)
	})
}

// TestDeadlinesHoldOnBothPaths repeats in real time what the tests above
// prove exactly, as loops have only that.
func TestDeadlinesHoldOnBothPaths(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.ReadTimeout, cfg.CloseTimeout = soon, soon
		srv := newServer(t, wrap, cfg)
		s, p := srv.connect()
		p.send(text("abc")[:3])
		p.expectClose(wsconn.CodeIdle)
		s.end(wsconn.CodeIdle, false, wsconn.ErrReadTimeout)

		cfg = config()
		cfg.Ping = soon
		srv = newServer(t, wrap, cfg)
		srv.quiet = func(s *session) { s.Ping() }
		_, p = srv.connect()
		for range 3 {
			p.expect(ws.OpPing, "")
		}
	})
}

// A peer that has been asked is not asked again before it has answered.
func TestAPeerIsAskedOnce(t *testing.T) {
	cfg := config()
	cfg.Ping = 25 * time.Second
	inBubble(t, cfg, func(t *testing.T, srv *server, connect func() (*session, *peer)) {
		var asked, gone []time.Duration
		start := time.Now()
		srv.quiet = func(s *session) { asked = append(asked, time.Since(start)); s.Ping() }
		srv.unheard = func(*session) { gone = append(gone, time.Since(start)) }
		s, p := connect()
		p.expect(ws.OpPing, "")
		time.Sleep(5 * time.Second)
		p.send(frame(true, ws.OpPong, nil)) // at 30
		p.expect(ws.OpPing, "")
		time.Sleep(29 * time.Second) // until 79
		s.on(func() {
			if want := []time.Duration{25e9, 50e9}; !slices.Equal(asked, want) || gone != nil {
				t.Errorf("asked at %v, want %v; gone at %v", asked, want, gone)
			}
		})
		time.Sleep(time.Second)
		s.on(func() {
			if want := []time.Duration{80e9}; !slices.Equal(gone, want) {
				t.Errorf("gone at %v, want %v", gone, want)
			}
		})
	})
}

// What a peer has sent while the process stood still counts, though it is read late.
func TestAProcessThatStandsStillReadsFirst(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		t.Parallel()
		cfg := config()
		cfg.Ping = 100 * time.Millisecond
		srv := newServer(t, wrap, cfg)
		asked, goOn := make(chan struct{}), make(chan struct{})
		first := true
		srv.quiet = func(*session) {
			if first { // nothing of the group runs meanwhile
				first = false
				close(asked)
				<-goOn
			}
		}
		heard := false
		srv.message = func(s *session, _ ws.OpCode, b []byte) { heard = true; s.WriteText(b) }
		srv.unheard = func(*session) {
			if !heard {
				t.Error("the peer counts as gone before what it has sent was read")
			}
		}
		_, p := srv.connect()
		await(t, asked, "the question")
		p.send(text("x"))
		<-time.After(2*cfg.Ping + 2*time.Second) // far beyond the deadline
		close(goOn)
		p.expect(ws.OpText, "x")
	})
}
