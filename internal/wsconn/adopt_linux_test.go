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

// withDescriptors runs f with only so many descriptors left.
func withDescriptors(t *testing.T, left int, f func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	// The limit is on numbers, and the lowest free one is given out.
	low := unix.Rlimit{Cur: uint64(next + left), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
}

func TestNoDescriptorLeftForAConnectionIsAnErrorAndNoMore(t *testing.T) {
	for _, tt := range []struct {
		what    string
		left    int
		started bool // the loop exists already
	}{
		{"the connection's own", 0, true},
		{"the poller", 1, false},
		{"the poller's wake-up", 2, false},
	} {
		t.Run(tt.what, func(t *testing.T) {
			srv := newServer(t, plain, config())
			loops := 0
			if tt.started {
				srv.connect()
				loops = 1
			}
			nc, client := sockets(t)
			defer client.Close()
			before := openDescriptors(t)
			var err error
			withDescriptors(t, tt.left, func() { err = srv.pool.Adopt(nc, nil, nil) })
			if !errors.Is(err, syscall.EMFILE) {
				t.Fatalf("Adopt: %v, want EMFILE", err)
			}
			if after := openDescriptors(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
			if s := srv.pool.Stats(); s.Loop != loops {
				t.Errorf("Stats: %+v", s)
			}
			if _, err := io.WriteString(nc, "HTTP/1.1 503 Service Unavailable\r\n\r\n"); err != nil {
				t.Errorf("the connection cannot be answered: %v", err)
			}
			nc.Close()
			if b, _ := io.ReadAll(client); len(b) == 0 {
				t.Error("no answer arrived")
			}
			_, p := srv.connect() // with descriptors, all is well again
			p.send(text("alive"))
			p.expect(ws.OpText, "alive")
		})
	}
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
