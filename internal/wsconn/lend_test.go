package wsconn_test

import (
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/netpoll"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// lender is a server with one loop that lends its goroutine after each message
// "lend" to f, and counts the recalls.
type lender struct {
	*server
	f       func()
	recalls atomic.Int32
}

func newLender(t *testing.T, f func()) *lender {
	if !netpoll.Supported {
		t.Skip("this system has no event loops")
	}
	cfg := config()
	cfg.Loops = 1
	l := &lender{server: newServer(t, plain, cfg), f: f}
	pending := false
	l.message = func(s *session, _ ws.OpCode, payload []byte) {
		pending = pending || string(payload) == "lend"
		s.WriteText(payload)
	}
	l.lends = func() bool {
		was := pending
		pending = false
		return was
	}
	l.lend = func(uint64) bool { l.f(); return false }
	l.recall = func(uint64) { l.recalls.Add(1) }
	return l
}

func (l *lender) echoes(p *peer, message string) {
	l.t.Helper()
	p.send(text(message))
	p.expect(ws.OpText, message)
}

// wantFewRecalls checks that of 100 goroutines that did not block most were not
// recalled: a busy system may take the processor away from one for so long.
func (l *lender) wantFewRecalls(blocked int32) {
	l.t.Helper()
	if n := l.recalls.Load() - blocked; n > 50 {
		l.t.Errorf("%d recalls of 100 goroutines that did not block", n)
	}
}

func TestALoopGoesOnWithoutAGoroutineThatBlocks(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{}, 200)
	l := newLender(t, func() { <-release; ended <- struct{}{} })
	_, p := l.connect()
	_, other := l.connect()
	for blocked := int32(1); blocked <= 3; blocked++ {
		l.echoes(p, "lend") // leaves after the loop has gone on
		l.echoes(other, "x")
		if n := l.recalls.Load(); n < blocked {
			t.Fatalf("%d goroutines block, %d were recalled", blocked, n)
		}
	}
	close(release)
	for range 3 {
		await(t, ended, "a goroutine to end")
	}
	for range 100 {
		l.echoes(p, "lend")
		l.echoes(other, "x")
	}
	l.wantFewRecalls(3)
}

func TestALoopThatLendsNothingLooksAfterNothing(t *testing.T) {
	l := newLender(t, func() {})
	s, p := l.connect()
	for range 20 {
		l.echoes(p, "lend")
	}
	for end := time.Now().Add(watchdog); wsconn.Looks(s.Group()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the loop still looks after what it lends")
		}
	}
}

func TestALentGoroutineMayEnd(t *testing.T) {
	l := newLender(t, runtime.Goexit)
	_, p := l.connect()
	for range 100 {
		l.echoes(p, "lend")
	}
	l.wantFewRecalls(0)
}

func TestAGoroutineMayEndAfterItBlocked(t *testing.T) {
	release := make(chan struct{})
	l := newLender(t, func() { <-release; runtime.Goexit() })
	_, p := l.connect()
	l.echoes(p, "lend")
	close(release)
	for range 100 {
		l.echoes(p, "x")
	}
}

func TestCloseDoesNotWaitForALentGoroutine(t *testing.T) {
	release := make(chan struct{})
	l := newLender(t, func() { <-release })
	defer close(release)
	s, p := l.connect()
	l.echoes(p, "lend")
	if err := l.pool.Close(); err != nil {
		t.Error(err)
	}
	await(t, s.closed, "Closed")
}

func TestALentGoroutineIsOffTheTurn(t *testing.T) {
	// Blocks now and then, so that the loop changes its goroutine under way.
	var runs atomic.Int32
	var recalled atomic.Uint64
	l := newLender(t, nil)
	l.lend = func(n uint64) bool {
		if runs.Add(1)%8 == 0 {
			for recalled.Load() < n {
				runtime.Gosched()
			}
		}
		return false
	}
	l.recall = func(n uint64) { recalled.Store(n); l.recalls.Add(1) }
	var inside atomic.Int32
	l.turn = func(*wsconn.Group, int64) int64 {
		if inside.Add(1) != 1 {
			t.Error("two turns at once")
		}
		runtime.Gosched()
		inside.Add(-1)
		return 0
	}
	_, p := l.connect()
	for range 64 {
		l.echoes(p, "lend")
	}
	if n := l.recalls.Load(); n < 8 {
		t.Errorf("%d recalls of 8 goroutines that blocked", n)
	}
}

func TestPortableGroupsDoNotLend(t *testing.T) {
	srv := newServer(t, func(nc net.Conn) net.Conn { return wrapped{nc} }, config())
	srv.lends = func() bool { t.Error("Lends was called"); return true }
	srv.lend = func(uint64) bool { t.Error("Lend was called"); return false }
	s, p := srv.connect()
	if s.Group().CanLend() {
		t.Error("CanLend is true")
	}
	p.send(text("x"))
	p.expect(ws.OpText, "x")
}
