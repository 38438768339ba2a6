package wsconn_test

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/juggler-go/juggler/internal/wsconn"
)

// openDescriptors counts those of this process.
func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestNoDescriptorLeftForAConnectionIsAnErrorAndNoMore(t *testing.T) {
	srv := newServer(t, nil, config())
	srv.wrap = plain
	_, other := srv.connect()
	nc, client := sockets(t)

	// The limit is the next number to be given out, so nothing fits.
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	low := unix.Rlimit{Cur: uint64(next), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	err = srv.pool.Adopt(nc, nil, nil)
	if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, syscall.EMFILE) {
		t.Fatalf("Adopt: %v, want EMFILE", err)
	}
	if s := srv.pool.Stats(); s.Loop != 1 {
		t.Errorf("Stats: %+v", s)
	}
	if _, err := io.WriteString(nc, "HTTP/1.1 503 Service Unavailable\r\n\r\n"); err != nil {
		t.Errorf("the connection cannot be answered: %v", err)
	}
	nc.Close()
	if b, _ := io.ReadAll(client); len(b) == 0 {
		t.Error("no answer arrived")
	}
	client.Close()
	other.send(text("alive"))
	other.expect(ws.OpText, "alive")
}

func TestAnEventOfTheSlotsFormerOwnerIsIgnored(t *testing.T) {
	cfg := config()
	cfg.Loops = 1
	srv := newServer(t, plain, cfg)
	s, p := srv.connect()
	p.Close()
	s.end(1006, false, io.EOF)
	s, _ = srv.connect() // in the same slot
	s.on(s.Pause)        // so that a hang-up is believed without reading
	s.on(func() { wsconn.HandleHangUp(&s.Conn, true) })
	s.on(func() {
		if len(s.closed) != 0 {
			t.Error("an event of another connection closed this one")
		}
		wsconn.HandleHangUp(&s.Conn, false)
	})
	s.end(1006, false, wsconn.ErrHangUp)
}

func TestNoDescriptorIsLeft(t *testing.T) {
	before := openDescriptors(t)
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		for range 50 {
			_, p := srv.connect()
			p.send(text("x"))
			p.expect(ws.OpText, "x")
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			srv.connect()
		}
	})
	if after := openDescriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
