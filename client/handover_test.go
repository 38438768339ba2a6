package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

func (p *peer) goAway(after time.Duration) {
	p.send(&frame.Frame{Type: frame.GoAway, After: after, Message: []byte("deploying")})
}

// TestGoAway walks through a handover: the new connection is opened after the
// time that the server gave; a call in flight ends on the old one; events that
// come over both connections arrive once and in order; then the old one is
// closed.
func TestGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const after = 15 * time.Second
		left, arrived := make(chan bool), make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			p.ack(p.expect(frame.Sub))
			if n == 2 {
				p.event(3, "ch", `3`)
				p.event(4, "ch", `4`)
				close(arrived)
				p.event(5, "ch", `5`)
				p.serve()
				return
			}
			p.event(1, "ch", `1`)
			call := p.expect(frame.Call)
			p.ack(call)
			p.goAway(after)
			p.goAway(after) // to say it twice changes nothing
			<-arrived
			for i := byte(2); i <= 4; i++ {
				p.event(i, "ch", fmt.Sprint(i))
			}
			p.ack(p.expect(frame.Unsb))
			advance(time.Minute)
			p.result(call, `"late"`)
			if err := p.untilClosed(); websocketCode(err) != 1000 {
				t.Errorf("the old connection ended with %v", err)
			}
			close(left)
		})
		var seen states
		c := s.client(client.WithStateHook(seen.hook))
		sub := subscribe(t, c, "ch")
		begin := time.Now()
		call, err := c.Start(t.Context(), "slow", nil, client.WithTimeout(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		wantEvents(t, sub, `1`, `2`, `3`, `4`, `5`)
		if d := time.Since(begin); d < after || d > after+time.Second {
			t.Errorf("moved after %v", d)
		}
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Errorf("on the new connection: %v", err)
		}
		var result string
		if err := call.Result(t.Context(), &result); err != nil || result != "late" {
			t.Errorf("on the old connection: %q, %v", result, err)
		}
		<-left
		wantNothing(t, sub)
		for _, change := range seen.changes()[2:] {
			if change.State != client.Open {
				t.Errorf("state %v in between", change)
			}
		}
		if n := s.connections(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// The new server does not take the subscription: as long as it may yet, the
// old one delivers; and when nobody wants it any more, the old one is left.
func TestGoAwayToAServerThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			if n == 2 {
				for f := p.next(); f != nil; f = p.next() {
					p.nack(f, 503, 0)
				}
				return
			}
			p.ack(p.expect(frame.Sub))
			p.goAway(0)
			advance(5 * time.Second)
			p.event(1, "ch", `1`)
			p.untilClosed()
			close(left)
		})
		sub := subscribe(t, s.client(), "ch")
		wantEvents(t, sub, `1`)
		sub.Unsubscribe()
		<-left
	})
}

// What is in flight on the old connection when that breaks goes over the new.
func TestGoAwayThenLostWithIdempotentCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			if n == 2 {
				p.serve()
				return
			}
			p.expect(frame.Call)
			p.goAway(0)
			advance(10 * time.Second)
			p.drop()
		})
		begin := time.Now()
		if err := s.client().Call(t.Context(), "u", nil, nil, client.Idempotent()); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// The new connection may be behind the old one.
func TestGoAwayWithStragglers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			p.ack(p.expect(frame.Sub))
			if n == 2 {
				<-left
				p.event(2, "ch", `2`)
				p.event(3, "ch", `3`)
				p.event(0, "ch", `"without id"`) // of a juggler.0 publisher
				p.event(0, "ch", `"without id"`)
				p.untilClosed()
				return
			}
			p.event(0, "ch", `"without id"`)
			p.goAway(0)
			unsb := p.expect(frame.Unsb)
			p.event(1, "ch", `1`)
			p.event(2, "ch", `2`)
			p.ack(unsb)
			p.serve()
			close(left)
		})
		sub := subscribe(t, s.client(), "ch")
		wantEvents(t, sub, `"without id"`, `1`, `2`, `3`, `"without id"`, `"without id"`)
	})
}

// An event that is being published while the client subscribes on the new
// connection may come over both, over the old one before the SUB is sent.
func TestGoAwayWithAnEventJustBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		subscribed := make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			sub := p.expect(frame.Sub)
			p.ack(sub)
			if n == 2 {
				p.event(1, "ch", `1`)
				p.event(2, "ch", `2`)
				close(subscribed)
				p.untilClosed()
				return
			}
			p.goAway(0)
			<-subscribed
			p.serve()
		})
		// On the old connection, while the new one is being opened.
		s.noHello = func(n int, p *peer) bool {
			if n == 2 {
				s.first.event(1, "ch", `1`)
				advance(time.Second)
			} else {
				s.first = p
			}
			return false
		}
		sub := subscribe(t, s.client(), "ch")
		wantEvents(t, sub, `1`, `2`)
		wantNothing(t, sub)
	})
}

// The old connection breaks before it has confirmed that it delivers no more:
// something may be missing.
func TestGoAwayThenLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			p.ack(p.expect(frame.Sub))
			if n == 2 {
				p.event(3, "ch", `3`)
				p.untilClosed()
				return
			}
			p.event(1, "ch", `1`)
			p.goAway(0)
			p.expect(frame.Unsb)
			p.drop()
		})
		sub := subscribe(t, s.client(), "ch")
		wantEvents(t, sub, `1`, "gap", `3`)
	})
}

// The old connection breaks before the new one has subscribed: the gap is only
// told when nothing more will be missing.
func TestGoAwayThenLostEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			sub := p.expect(frame.Sub)
			if n == 1 {
				p.ack(sub)
				p.goAway(0)
				advance(30 * time.Second)
				p.drop()
				return
			}
			advance(25 * time.Second)
			advance(25 * time.Second)
			p.ack(sub)
			p.event(2, "ch", `2`)
			p.untilClosed()
		})
		begin := time.Now()
		sub := subscribe(t, s.client(client.WithCallTimeout(time.Minute)), "ch")
		wantEvents(t, sub, "gap")
		if d := time.Since(begin); d < 50*time.Second {
			t.Errorf("told after %v, before the new subscription", d)
		}
		wantEvents(t, sub, `2`)
	})
}

// There can be no successor: the client stays until the server closes, and then
// connects anew like after any loss.
func TestGoAwayInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			p.goAway(time.Second)
			time.AfterFunc(time.Minute, func() { p.close(1001, "gone") })
			p.serve()
		})
		s.refuse = func(n int, w http.ResponseWriter) bool {
			if n > 1 {
				w.Header().Set(frame.RefusalHeader, "403")
				http.Error(w, "banned", http.StatusForbidden)
			}
			return n > 1
		}
		c := s.client()
		if err := c.Call(t.Context(), "u", nil, nil, client.WithTimeout(time.Hour)); err != nil {
			t.Errorf("got %v", err)
		}
		advance(2 * time.Minute)
		if err := c.Call(t.Context(), "u", nil, nil); !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// Without a loss in between, hundreds of calls and events pass a chain of
// servers that each send the client away.
func TestGoAwayUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const servers = 5
		s := newServer(t, func(n int, p *peer) {
			if n < servers {
				time.AfterFunc(30*time.Second, func() { p.goAway(time.Second) })
			}
			p.serve()
		})
		s.hello.MaxCalls = 16
		c := s.client()
		sub := subscribe(t, c, "ch")
		errs := make(chan error)
		const callers, calls = 20, 200
		for range callers {
			go func() {
				for i := range calls {
					var n int
					err := c.Call(t.Context(), "u", i, &n)
					if err == nil && n != i {
						err = fmt.Errorf("got %d, want %d", n, i)
					}
					if err != nil {
						errs <- err
						return
					}
					advance(time.Second)
				}
				errs <- nil
			}()
		}
		for range callers {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		wantNothing(t, sub)
		if n := s.connections(); n != servers {
			t.Errorf("%d connections, want %d", n, servers)
		}
	})
}
