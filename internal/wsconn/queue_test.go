package wsconn_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/wsconn"
)

// fill writes messages of n bytes in turns of their own until f says stop.
func fill(s *session, n int, f func() bool) {
	msg := bytes.Repeat([]byte("m"), n)
	for more := true; more; {
		s.on(func() {
			if more = !f(); more {
				s.WriteText(msg)
			}
		})
	}
}

// stuff queues more than narrow sockets take.
func stuff(s *session) {
	s.on(func() {
		for range 16 {
			s.WriteText(make([]byte, 64<<10))
		}
	})
}

func TestASlowPeerGetsEverythingInOrder(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s, p := srv.connect()
		n := 0
		pad := strings.Repeat("x", 5000)
		for stop := false; !stop; n++ {
			s.on(func() {
				s.WriteText(append(binary.AppendUvarint(nil, uint64(n)), pad...))
				stop = s.Queued() > 1<<20
			})
		}
		for i := range n {
			p.expect(ws.OpText, string(binary.AppendUvarint(nil, uint64(i)))+pad)
		}
		p.send(text("still alive"))
		p.expect(ws.OpText, "still alive")
		s.on(func() {
			if s.Queued() != 0 {
				t.Errorf("still queued: %d bytes", s.Queued())
			}
		})
	})
}

// expectSlowConsumerClose reads whole messages and then the close frame.
func expectSlowConsumerClose(t *testing.T, p *peer, n int) {
	t.Helper()
	for {
		f, err := p.read()
		if err != nil {
			t.Fatalf("before the close frame: %v", err)
		}
		if f.Header.OpCode == ws.OpClose {
			if code := binary.BigEndian.Uint16(f.Payload); code != wsconn.CodeSlowConsumer || string(f.Payload[2:]) != "slow consumer" {
				t.Errorf("close frame %d %q", code, f.Payload[2:])
			}
			return
		}
		if f.Header.OpCode != ws.OpText || len(f.Payload) != n {
			t.Fatalf("got frame %+v", f.Header)
		}
	}
}

func TestAFullQueueClosesASlowConsumer(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		t.Parallel()
		cfg := config()
		cfg.MaxQueue = 1 << 20
		srv := newServer(t, wrap, cfg)
		failed := false
		srv.closing = func(*session, *wsconn.CloseError) { failed = true }
		s, p := srv.connectNarrow()
		const n = 70_000
		fill(s, n, func() bool {
			if s.Queued() > cfg.MaxQueue {
				t.Errorf("%d bytes are queued", s.Queued())
			}
			return failed
		})
		s.on(func() {
			if s.Queued() > 2*n {
				t.Errorf("%d bytes are still queued", s.Queued())
			}
		})
		// The frame half written is finished, the rest dropped.
		expectSlowConsumerClose(t, p, n)
		p.send(closeFrame(1000, ""))
		p.expectEnd()
		s.end(wsconn.CodeSlowConsumer, false, wsconn.ErrSlowConsumer)
	})
}

func TestAQueueThatStandsStillClosesASlowConsumer(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.WriteTimeout, cfg.CloseTimeout = soon, soon
		srv := newServer(t, wrap, cfg)
		s, _ := srv.connectNarrow()
		stuff(s)
		// If not even the close frame can be written it ends with a reset.
		s.end(wsconn.CodeSlowConsumer, false, wsconn.ErrSlowConsumer)
	})
}

func TestACloseFrameThatCannotBeWrittenIsGivenUp(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		srv := newServer(t, wrap, cfg)
		s, p := srv.connectNarrow()
		stuff(s)
		s.on(func() { s.Close(1001, "going away") })
		p.send(frame(true, ws.OpPing, nil)) // is not answered, and no progress
		s.on(s.Abort)
		s.end(1001, false, wsconn.ErrAborted)
	})
}

func TestAPeerThatResetsWhileWritesWait(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		s, p := srv.connectNarrow()
		stuff(s)
		// The system tells of the reset once. On the portable path that may be
		// the writer, and then the reader finds the end.
		onLoop := s.Group().CanLend()
		resetNow(t, p.Conn)
		if e := await(t, s.closed, "Closed"); e.Code != 1006 || e.Err == nil || onLoop && errors.Is(e.Err, io.EOF) {
			t.Errorf("closed with %+v", e)
		}
	})
}

func TestTheSameFramesGoToManyConnections(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.Loops = 1
		srv := newServer(t, wrap, cfg)
		var sessions []*session
		var peers []*peer
		for range 20 {
			s, p := srv.connect()
			sessions, peers = append(sessions, s), append(peers, p)
		}
		event := wsconn.AppendText(nil, []byte("event"))
		sessions[0].on(func() {
			for _, s := range sessions {
				s.WriteRaw(event)
			}
		})
		for _, p := range peers {
			p.expect(ws.OpText, "event")
		}
	})
}

func TestFramesAreWrittenWithTheShortestHeader(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 70_000} {
		payload := bytes.Repeat([]byte("x"), n)
		for op, got := range map[ws.OpCode][]byte{
			ws.OpText:   wsconn.AppendText([]byte("before"), payload),
			ws.OpBinary: wsconn.AppendFrame([]byte("before"), ws.OpBinary, payload),
		} {
			want := append([]byte("before"), ws.MustCompileFrame(ws.NewFrame(op, true, payload))...)
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes, op code %v: header %x", n, op, got[6:16])
			}
		}
	}
}

// Who has more than may be queued at once is told when there is room, and the peer gets
// all of it.
func TestTellsWhenAQueueHasDrained(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		t.Parallel()
		cfg := config()
		cfg.MaxQueue = 64 << 10
		srv := newServer(t, wrap, cfg)
		const n, messages = 8000, 40
		msg := strings.Repeat("m", n)
		told, left := 0, messages
		more := func(s *session) {
			for ; left > 0 && !s.HalfFull(); left-- {
				s.WriteText([]byte(msg))
			}
			if left > 0 {
				s.TellDrained()
			}
		}
		srv.drained = func(s *session) {
			if s.Queued() > cfg.MaxQueue/4 {
				t.Errorf("told of room with %d bytes queued", s.Queued())
			}
			told++
			more(s)
		}
		s, p := srv.connectNarrow()
		s.on(func() { more(s) })
		for range messages {
			p.expect(ws.OpText, msg)
		}
		s.on(func() {
			if told == 0 || left > 0 {
				t.Errorf("told %d times, %d messages left", told, left)
			}
		})
	})
}

// What WriteRaw queues while it waits is one message: an array, unless there is one only.
func TestRawMessagesAreJoined(t *testing.T) {
	object := func(n int) string { return `{"x":"` + strings.Repeat("x", n) + `"}` }
	tiny, small, large, huge := object(0), object(100), object(9000), object(70_000)
	for name, c := range map[string]struct{ write, want []string }{
		"one":                    {[]string{tiny}, []string{tiny}},
		"three":                  {[]string{tiny, small, tiny}, []string{"[" + tiny + "," + small + "," + tiny + "]"}},
		"one that fills":         {[]string{tiny, huge, tiny}, []string{tiny, huge, tiny}},
		"more than one is to be": {[]string{large, tiny, large, tiny}, []string{"[" + large + "," + tiny + "]", "[" + large + "," + tiny + "]"}},
	} {
		t.Run(name, func(t *testing.T) {
			onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
				srv := newServer(t, wrap, config())
				s, p := srv.connect()
				s.on(func() {
					s.JoinRaw()
					s.WriteText([]byte("first"))
					for _, text := range c.write {
						s.WriteRaw(wsconn.AppendText(nil, []byte(text)))
					}
					s.WriteText([]byte("last"))
				})
				for _, want := range slices.Concat([]string{"first"}, c.want, []string{"last"}) {
					p.expect(ws.OpText, want)
				}
			})
		})
	}
}

// Whatever is written, and however slowly it is read, everything comes in order.
func TestJoinedMessagesKeepTheirOrder(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		t.Parallel()
		srv := newServer(t, wrap, config())
		s, p := srv.connectNarrow()
		s.on(s.JoinRaw)
		r := rand.New(rand.NewPCG(1, 2))
		var want []string
		write := func() {
			for range 1 + r.IntN(20) {
				text := fmt.Sprintf(`{"n":%d,"x":%q}`, len(want), strings.Repeat("x", []int{0, 10, 90, 120, 3000}[r.IntN(5)]))
				if r.IntN(8) == 0 {
					s.WriteText([]byte(text))
				} else {
					s.WriteRaw(wsconn.AppendText(nil, []byte(text)))
				}
				want = append(want, text)
			}
		}
		read := 0
		next := func() {
			f, err := p.read()
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, o := range messages(t, f) {
				texts = append(texts, string(o))
			}
			if end := read + len(texts); end > len(want) || !slices.Equal(texts, want[read:end]) {
				t.Fatalf("message %d is %.200q", read, f.Payload)
			}
			read += len(texts)
		}
		for range 30 {
			s.on(write)
			for range r.IntN(3) {
				if read < len(want) {
					next()
				}
			}
		}
		for read < len(want) {
			next()
		}
	})
}

// messages returns what a frame holds.
func messages(t *testing.T, f ws.Frame) (all []json.RawMessage) {
	t.Helper()
	if f.Payload[0] != '[' {
		return []json.RawMessage{f.Payload}
	}
	if err := json.Unmarshal(f.Payload, &all); err != nil {
		t.Fatalf("%v: %.200q", err, f.Payload)
	}
	return all
}
