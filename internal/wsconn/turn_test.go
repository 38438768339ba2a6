package wsconn_test

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/netpoll"
	"github.com/juggler-go/juggler/internal/wsconn"
)

func TestNoWakeUpIsLost(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.Loops = 1
		srv := newServer(t, wrap, cfg)
		var queued, done atomic.Int64
		const goroutines, each = 8, 2000
		all := make(chan struct{})
		srv.turn = func(*wsconn.Group, int64) int64 {
			n := queued.Swap(0)
			if n > 0 && done.Add(n) == goroutines*each {
				close(all)
			}
			return 0
		}
		s, p := srv.connect()
		var wakers sync.WaitGroup
		for range goroutines {
			wakers.Go(func() {
				for range each {
					queued.Add(1)
					s.Group().Wake()
				}
			})
		}
		for range 200 { // turns for other reasons at the same time
			p.send(text("x"))
			p.expect(ws.OpText, "x")
		}
		wakers.Wait()
		// Each was the last at some time, so the sum shows if any was lost.
		await(t, all, "the last turn")
	})
}

func TestAWakeDuringATurnBringsAnother(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		turns := make(chan int, 100)
		left := 0
		srv.turn = func(g *wsconn.Group, _ int64) int64 {
			if left > 0 {
				left--
				g.Wake()
				g.Wake()
				turns <- left
			}
			return 0
		}
		s, _ := srv.connect()
		s.on(func() { left = 3 })
		for want := 2; want >= 0; want-- {
			if got := await(t, turns, "a turn"); got != want {
				t.Errorf("turn %d came, want %d", got, want)
			}
		}
	})
}

func TestCallbacksOfAGroupNeverOverlap(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.Loops = 1
		cfg.Ping = time.Millisecond
		srv := newServer(t, wrap, cfg)
		var inside atomic.Int32
		enter := func() {
			if inside.Add(1) != 1 {
				t.Error("two callbacks at once")
			}
			inside.Add(-1)
		}
		srv.message = func(s *session, _ ws.OpCode, b []byte) { enter(); s.WriteText(b) }
		srv.quiet = func(*session) { enter() }
		srv.turn = func(*wsconn.Group, int64) int64 { enter(); return 0 }
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				s, p := srv.connect()
				for range 100 {
					p.send(text("x"), frame(true, ws.OpPong, nil))
					p.expect(ws.OpText, "x")
					s.Group().Wake()
				}
			})
		}
		all.Wait()
	})
}

// TestAnAcknowledgementAndAFastResultLeaveTogether is the rule on which the
// speed of calls rests: what other goroutines answer at once, when the turn
// yields, is written with what the turn itself wrote.
func TestAnAcknowledgementAndAFastResultLeaveTogether(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.Loops = 1
		srv := newServer(t, wrap, cfg)
		calls, results := make(chan string), make(chan string, 1)
		var caller *session
		handed := false
		srv.message = func(s *session, _ ws.OpCode, b []byte) {
			caller = s
			s.WriteText([]byte("ack"))
			calls <- string(b) // the callee waits for it
			handed = true
		}
		srv.endReading = func() bool {
			was := handed
			handed = false
			if was {
				// More than the group does by itself, so that the test does
				// not depend on the scheduler: the result is there.
				for len(results) == 0 {
					runtime.Gosched()
				}
			}
			return was
		}
		srv.turn = func(*wsconn.Group, int64) int64 {
			select {
			case r := <-results:
				caller.WriteText([]byte(r))
				if q := caller.Queued(); q != len("..ack..result of a") {
					t.Errorf("%d bytes wait when the result is written", q)
				}
			default:
			}
			return 0
		}
		s, p := srv.connect()
		calleeDone := make(chan struct{})
		go func() {
			defer close(calleeDone)
			for c := range calls {
				results <- "result of " + c
				s.Group().Wake()
			}
		}()
		p.send(text("a"))
		p.expect(ws.OpText, "ack")
		p.expect(ws.OpText, "result of a")
		s.on(func() { close(calls) })
		<-calleeDone
	})
}

// TestATurnReadsSoMuchOnly is what keeps messages in the processor's caches from
// their arrival to their answers, and small ones of many in a turn together.
func TestATurnReadsSoMuchOnly(t *testing.T) {
	if !netpoll.Supported {
		t.Skip("this system has no event loops")
	}
	for _, tt := range []struct {
		size, turns int
	}{
		{100, 1},
		{wsconn.TurnBytes / 4, 3}, // with their headers 4 are enough
		{wsconn.TurnBytes, 10},
	} {
		t.Run(fmt.Sprint(tt.size), func(t *testing.T) {
			cfg := config()
			cfg.Loops = 1
			srv := newServer(t, plain, cfg)
			const peers = 10
			turns, got, inTurn := 0, 0, false
			all := make(chan int, 1)
			srv.message = func(*session, ws.OpCode, []byte) { got++; inTurn = true }
			srv.turn = func(*wsconn.Group, int64) int64 {
				if inTurn {
					turns++
					inTurn = false
				}
				if got == peers {
					got = 0
					all <- turns
				}
				return 0
			}
			var sent sync.WaitGroup
			s, p := srv.connect()
			ps := []*peer{p}
			for range peers - 1 {
				_, p := srv.connect()
				ps = append(ps, p)
			}
			best := peers + 1
			for range 20 { // the system may deliver some later than they are sent
				s.on(func() { // all are sent when the turn ends
					turns = 0
					for _, p := range ps {
						sent.Go(func() { p.send(text(strings.Repeat("x", tt.size))) })
					}
					sent.Wait()
				})
				best = min(best, await(t, all, "all messages"))
			}
			if best != tt.turns {
				t.Errorf("%d turns, want %d", best, tt.turns)
			}
		})
	}
}

func TestTurnIsCalledAgainWhenItWants(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newServer(t, wrap, config())
		const wait = 5
		var begun int64
		ticks := make(chan int64, 1)
		n := 0
		srv.turn = func(_ *wsconn.Group, now int64) int64 {
			if n == 0 {
				return 0
			}
			if now < begun+wait {
				return begun + wait
			}
			begun = now
			if n--; n == 0 {
				ticks <- now
				return 0
			}
			return now + wait
		}
		s, _ := srv.connect()
		var start int64
		s.on(func() {
			n, begun = 3, s.Group().Now()
			start = begun
		})
		if end := await(t, ticks, "three ticks"); end < start+3*wait {
			t.Errorf("three ticks of %d ms took from %d to %d", wait, start, end)
		}
	})
}

func TestNothingRunsBeforeTheFirstConnection(t *testing.T) {
	made := 0
	cfg := config()
	cfg.NewHandler = func(g *wsconn.Group) wsconn.Handler { made++; return &handler{group: g} }
	p := wsconn.NewPool(cfg) // the leak check of the package would find a goroutine
	if made != 0 || p.Stats() != (wsconn.Stats{}) {
		t.Errorf("%d handlers, %+v", made, p.Stats())
	}
}

func TestAttachIsForOpenOnly(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		s, _ := newServer(t, wrap, config()).connect()
		s.on(func() {
			defer func() {
				if recover() == nil {
					t.Error("Attach outside of open did not panic")
				}
			}()
			s.Group().Attach(new(wsconn.Conn), nil)
		})
	})
}

// A group may be woken as soon as its Handler knows it, before it is made.
func TestAWakeWhileTheGroupIsMade(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		turns := make(chan struct{}, 1)
		srv := newServer(t, wrap, config())
		srv.turn = func(*wsconn.Group, int64) int64 {
			select {
			case turns <- struct{}{}:
			default:
			}
			return 0
		}
		srv.made = func(g *wsconn.Group) {
			g.Wake()
			for range 100 {
				runtime.Gosched() // whom that started may run now
			}
		}
		_, p := srv.connect()
		await(t, turns, "a turn")
		p.send(text("x"))
		p.expect(ws.OpText, "x")
	})
}
