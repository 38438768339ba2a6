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

// borrower is a server with one loop whose handler runs f on the loop's goroutine
// after each message "work", and counts the recalls.
type borrower struct {
	*server
	f       func()
	recalls atomic.Int32
}

func newBorrower(t *testing.T, f func()) *borrower {
	if !netpoll.Supported {
		t.Skip("this system has no event loops")
	}
	cfg := config()
	cfg.Loops = 1
	b := &borrower{server: newServer(t, plain, cfg), f: f}
	pending := false
	b.message = func(s *session, _ ws.OpCode, payload []byte) {
		pending = pending || string(payload) == "work"
		s.WriteText(payload)
	}
	b.hasWork = func() bool {
		was := pending
		pending = false
		return was
	}
	b.work = func(uint64) { b.f() }
	b.recall = func(uint64) { b.recalls.Add(1) }
	return b
}

func (b *borrower) echoes(p *peer, message string) {
	b.t.Helper()
	p.send(text(message))
	p.expect(ws.OpText, message)
}

// wantFewRecalls checks that of 100 goroutines that did not block most were not
// recalled: a busy system may take the processor away from one for so long.
func (b *borrower) wantFewRecalls(blocked int32) {
	b.t.Helper()
	if n := b.recalls.Load() - blocked; n > 50 {
		b.t.Errorf("%d recalls of 100 goroutines that did not block", n)
	}
}

func TestALoopGoesOnWithoutAGoroutineThatBlocks(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{}, 200)
	b := newBorrower(t, func() { <-release; ended <- struct{}{} })
	_, p := b.connect()
	_, other := b.connect()
	for blocked := int32(1); blocked <= 3; blocked++ {
		b.echoes(p, "work") // leaves after the loop has gone on
		b.echoes(other, "x")
		if n := b.recalls.Load(); n < blocked {
			t.Fatalf("%d goroutines block, %d were recalled", blocked, n)
		}
	}
	close(release)
	for range 3 {
		await(t, ended, "a goroutine to end")
	}
	for range 100 {
		b.echoes(p, "work")
		b.echoes(other, "x")
	}
	b.wantFewRecalls(3)
}

func TestALoopThatLendsNothingLooksAfterNothing(t *testing.T) {
	b := newBorrower(t, func() {})
	s, p := b.connect()
	for range 20 {
		b.echoes(p, "work")
	}
	for end := time.Now().Add(watchdog); wsconn.Looks(s.Group()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the loop still looks after what it lends")
		}
	}
}

func TestALentGoroutineMayEnd(t *testing.T) {
	b := newBorrower(t, runtime.Goexit)
	_, p := b.connect()
	for range 100 {
		b.echoes(p, "work")
	}
	b.wantFewRecalls(0)
}

func TestAGoroutineMayEndAfterItBlocked(t *testing.T) {
	release := make(chan struct{})
	b := newBorrower(t, func() { <-release; runtime.Goexit() })
	_, p := b.connect()
	b.echoes(p, "work")
	close(release)
	for range 100 {
		b.echoes(p, "x")
	}
}

func TestCloseDoesNotWaitForALentGoroutine(t *testing.T) {
	release := make(chan struct{})
	b := newBorrower(t, func() { <-release })
	defer close(release)
	s, p := b.connect()
	b.echoes(p, "work")
	if err := b.pool.Close(); err != nil {
		t.Error(err)
	}
	await(t, s.closed, "Closed")
}

func TestALentGoroutineIsOffTheTurn(t *testing.T) {
	// Blocks now and then, so that the loop changes its goroutine under way.
	var runs atomic.Int32
	var recalled atomic.Uint64
	b := newBorrower(t, nil)
	b.work = func(n uint64) {
		if runs.Add(1)%8 == 0 {
			for recalled.Load() < n {
				runtime.Gosched()
			}
		}
	}
	b.recall = func(n uint64) { recalled.Store(n); b.recalls.Add(1) }
	var inside atomic.Int32
	b.turn = func(*wsconn.Group, int64) int64 {
		if inside.Add(1) != 1 {
			t.Error("two turns at once")
		}
		runtime.Gosched()
		inside.Add(-1)
		return 0
	}
	_, p := b.connect()
	for range 64 {
		b.echoes(p, "work")
	}
	if n := b.recalls.Load(); n < 8 {
		t.Errorf("%d recalls of 8 goroutines that blocked", n)
	}
}

func TestPortableGroupsDoNotLend(t *testing.T) {
	srv := newServer(t, func(nc net.Conn) net.Conn { return wrapped{nc} }, config())
	srv.hasWork = func() bool { t.Error("HasWork was called"); return true }
	srv.work = func(uint64) { t.Error("Work was called") }
	s, p := srv.connect()
	if s.Group().CanLend() {
		t.Error("CanLend is true")
	}
	p.send(text("x"))
	p.expect(ws.OpText, "x")
}
