package wsconn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/netpoll"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// line is a way between a peer and the server: a transport, and the size of the
// kernel's buffers.
type line struct {
	t       *testing.T
	srv     *server
	secured bool // by TLS
	buffers int  // 0: as the system has it
}

// connect makes a connection whose handshakes are done.
func (l *line) connect() (*session, *peer) {
	l.t.Helper()
	nc, client := sockets(l.t)
	if l.buffers > 0 {
		err := errors.Join(nc.(*net.TCPConn).SetWriteBuffer(l.buffers), client.(*net.TCPConn).SetReadBuffer(4*l.buffers))
		if err != nil {
			l.t.Fatal(err)
		}
	}
	if l.secured {
		nc, client = secure(l.t, nc, client)
	}
	s, p := l.srv.adopt(nc, client)
	p.send(frame(true, ws.OpPing, nil))
	p.expect(ws.OpPong, "")
	return s, p
}

// onEachLine runs a test on event loops, on the portable path, and on that with TLS,
// each with the system's buffers and with small ones.
func onEachLine(t *testing.T, cfg wsconn.Config, f func(t *testing.T, l *line)) {
	for _, transport := range []struct {
		name    string
		wrap    func(net.Conn) net.Conn
		secured bool
	}{
		{"loop", plain, false},
		{"portable", func(nc net.Conn) net.Conn { return wrapped{nc} }, false},
		{"TLS", plain, true},
	} {
		if transport.name == "loop" && !netpoll.Supported {
			continue
		}
		for buffers, name := range map[int]string{0: "large buffers", 16 << 10: "small buffers"} {
			t.Run(transport.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				f(t, &line{t, newServer(t, transport.wrap, cfg), transport.secured, buffers})
			})
		}
	}
}

// What a connection is bounded by is the same however its bytes travel.
func TestBounds(t *testing.T) {
	const queue = 128 << 10
	small := config()
	small.MaxQueue = queue
	impatient := small
	impatient.ReadTimeout, impatient.WriteTimeout, impatient.CloseTimeout = soon, soon, soon
	for _, bound := range []struct {
		name string
		cfg  wsconn.Config
		f    func(t *testing.T, l *line)
	}{
		{"a queue that is never empty", small, steadyReader},
		{"a queue that is full", small, fullQueue},
		{"a queue that is read", small, readQueue},
		{"a queue that stands still", impatient, func(t *testing.T, l *line) {
			s, _ := l.connect()
			for failed := false; !failed; { // the kernel may take more, now and then
				s.on(func() {
					for s.Queued() < queue/2 && !failed {
						s.WriteText(make([]byte, 20_000))
						failed = s.Ending()
					}
					failed = s.Ending()
				})
			}
			s.end(wsconn.CodeSlowConsumer, false, wsconn.ErrSlowConsumer)
		}},
		{"half a message", impatient, func(t *testing.T, l *line) {
			s, p := l.connect()
			p.send(text("abc")[:3])
			p.expectClose(wsconn.CodeIdle)
			s.end(wsconn.CodeIdle, false, wsconn.ErrReadTimeout)
		}},
		{"a close frame without answer", impatient, func(t *testing.T, l *line) {
			s, p := l.connect()
			s.on(func() { s.Close(1001, "") })
			p.expectClose(1001)
			s.end(1001, false, wsconn.ErrCloseTimeout)
		}},
		{"a close frame without end", small, endlessPeer},
		{"a length that is announced", small, announcedLength},
		{"a peer that is not read", small, unreadPeer},
	} {
		t.Run(bound.name, func(t *testing.T) { onEachLine(t, bound.cfg, bound.f) })
	}
}

// steadyReader reads as much as is written, while something is always queued.
func steadyReader(t *testing.T, l *line) {
	s, p := l.connect()
	msg := make([]byte, 20_000)
	most, written, total := 0, uint64(0), 20*l.srv.cfg.MaxQueue
	for read := uint64(0); int(read)*len(msg) < total; read++ {
		s.on(func() {
			for s.Queued() < l.srv.cfg.MaxQueue/2 && written-read < 1000 {
				binary.BigEndian.PutUint64(msg, written)
				s.WriteText(msg)
				written++
			}
			most = max(most, s.Kept())
		})
		f, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(f.Payload); got != read {
			t.Fatalf("message %d comes as number %d", got, read)
		}
	}
	if most > 2*l.srv.cfg.MaxQueue {
		t.Errorf("%d bytes are kept for a queue of at most %d", most, l.srv.cfg.MaxQueue)
	}
}

func fullQueue(t *testing.T, l *line) {
	const n = 70_000
	s, p := l.connect()
	fill(s, n, func() bool {
		if s.Kept() > 2*l.srv.cfg.MaxQueue {
			t.Errorf("%d bytes are kept", s.Kept())
		}
		return s.Ending()
	})
	expectSlowConsumerClose(t, p, n)
	p.send(closeFrame(1000, ""))
	s.end(wsconn.CodeSlowConsumer, false, wsconn.ErrSlowConsumer)
}

// readQueue reads all that was queued: nothing is kept of it.
func readQueue(t *testing.T, l *line) {
	s, p := l.connect()
	n := 0
	fill(s, 20_000, func() bool { n++; return s.Queued() > l.srv.cfg.MaxQueue/2 })
	for range n - 1 {
		p.expect(ws.OpText, string(bytes.Repeat([]byte("m"), 20_000)))
	}
	p.send(text("all read"))
	p.expect(ws.OpText, "all read")
	for kept := -1; kept != 0; {
		s.on(func() { kept = s.Kept() })
	}
}

// endlessPeer does not answer the close frame, and goes on sending.
func endlessPeer(t *testing.T, l *line) {
	s, p := l.connect()
	p.send(binary.BigEndian.AppendUint64([]byte{0x81, 0xff}, 1<<40), make([]byte, 4)) // the header of a message
	p.expectClose(1009)
	more := make([]byte, 1<<20)
	for sent := 0; ; sent++ {
		if _, err := p.Write(more); err != nil {
			break
		}
		if sent > 64 {
			t.Fatalf("%d MiB are read after the close frame", sent)
		}
	}
	s.end(1009, false, wsconn.ErrProtocol)
}

// announcedLength begins a message as long as may be: what has not come costs nothing.
func announcedLength(t *testing.T, l *line) {
	s, p := l.connect()
	p.send(frame(true, ws.OpText, make([]byte, l.srv.cfg.MaxMessage))[:1000])
	for kept := 0; kept == 0; {
		s.on(func() { kept = s.Kept() })
		if kept > 32<<10 {
			t.Errorf("%d bytes are kept of 1000", kept)
		}
	}
}

// unreadPeer is paused and goes on sending.
func unreadPeer(t *testing.T, l *line) {
	s, p := l.connect()
	s.on(s.Pause)
	sent := make(chan struct{})
	big := bytes.Repeat(text("x"), 2<<20)
	go func() { defer close(sent); _, _ = p.Write(big) }()
	for range 20 {
		s.on(func() {
			if s.Kept() > 64<<10 {
				t.Errorf("%d bytes are kept of a peer that is not read", s.Kept())
			}
		})
	}
	s.on(s.Abort)
	s.end(1006, false, wsconn.ErrAborted)
	p.Close()
	await(t, sent, "the peer's end")
}
