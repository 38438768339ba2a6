package client_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// states records what the state hook is told.
type states struct {
	mu  sync.Mutex
	all []client.StateChange
}

func (s *states) hook(c client.StateChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, c)
}

func (s *states) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, c := range s.all {
		names = append(names, c.State.String())
	}
	return names
}

func (s *states) changes() []client.StateChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func (s *states) last() client.StateChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[len(s.all)-1]
}

// serveOne answers one request.
func (p *peer) serveOne() {
	if f := p.next(); f != nil {
		p.answer(f)
	}
}

func TestLostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			if n == 1 {
				p.expect(frame.Call)
				p.expect(frame.Call)
				p.expect(frame.Pub)
				p.drop()
				return
			}
			p.serve()
		})
		var seen states
		c := s.client(client.WithStateHook(seen.hook))
		once, err := c.Start(t.Context(), "u", 1)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Start(t.Context(), "u", 2, client.Idempotent())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(t.Context(), "ch", 1); !errors.Is(err, client.ErrUnknownOutcome) {
			t.Errorf("publish: got %v", err)
		}
		if err := once.Result(t.Context(), nil); !errors.Is(err, client.ErrUnknownOutcome) {
			t.Errorf("call: got %v", err)
		}
		var n int
		if err := again.Result(t.Context(), &n); err != nil || n != 2 {
			t.Errorf("idempotent call: got %d, %v", n, err)
		}
		synctest.Wait() // the hook may run a little later than what it is about
		want := []string{"connecting", "open", "waiting", "connecting", "open"}
		if got := seen.names(); !slices.Equal(got, want) {
			t.Errorf("states %v, want %v", got, want)
		}
	})
}

// An idempotent call that waits for the next connection ends in its time.
func TestIdempotentCallInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.expect(frame.Call)
			p.drop()
		})
		s.refuse = func(n int, w http.ResponseWriter) bool {
			if n > 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n > 1
		}
		c := s.client()
		begin := time.Now()
		err := c.Call(t.Context(), "u", nil, nil, client.Idempotent(), client.WithTimeout(time.Minute))
		if !errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

func TestUnreachableServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, serveAll)
		s.listener.Close()
		if _, err := client.Dial(t.Context(), s.url, client.WithDialer(s.dial)); err == nil {
			t.Error("Dial: no error")
		}

		var seen states
		c := s.client(client.WithStateHook(seen.hook), client.WithBackoff(time.Second, 8*time.Second))
		err := c.Call(t.Context(), "u", nil, nil, client.FailFast())
		if !errors.Is(err, client.ErrNotConnected) {
			t.Errorf("FailFast: got %v", err)
		}
		begin := time.Now()
		err = c.Call(t.Context(), "u", nil, nil, client.WithTimeout(time.Hour))
		if !errors.Is(err, client.ErrNotConnected) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Hour {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Subscribe(ctx, "ch"); !errors.Is(err, client.ErrNotConnected) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("subscribe: got %v", err)
		}

		// An hour of full jitter: delays grow to the maximum, and differ.
		limit := time.Second
		var distinct []time.Duration
		for _, change := range seen.changes() {
			if change.State != client.Waiting {
				continue
			}
			if change.Delay < 0 || change.Delay >= limit || change.Err == nil {
				t.Errorf("attempt %d: delay %v, limit %v, err %v", change.Attempt, change.Delay, limit, change.Err)
			}
			limit = min(2*limit, 8*time.Second)
			if !slices.Contains(distinct, change.Delay) {
				distinct = append(distinct, change.Delay)
			}
		}
		if n := len(distinct); n < 450 { // an hour at 4 s in the mean
			t.Errorf("%d different delays", n)
		}
	})
}

func TestRefusedHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, serveAll)
		s.refuse = func(n int, w http.ResponseWriter) bool {
			w.Header().Set(frame.RefusalHeader, "400")
			w.Header().Set("Retry-After", "7")
			http.Error(w, "go away", 503-100*(n/2))
			return true
		}
		var seen states
		begin := time.Now()
		err := s.client(client.WithStateHook(seen.hook)).Connect(t.Context())
		var e *client.HandshakeError
		if !errors.As(err, &e) || e.Status != 403 || !e.Own || e.Body != "go away" || !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(begin); d < 7*time.Second { // as the first refusal says
			t.Errorf("after %v", d)
		}
		synctest.Wait() // the hook may run a little later than what it is about
		if last := seen.last(); last.State != client.Closed || !errors.As(last.Err, &e) {
			t.Errorf("last state %v", last)
		}
	})
}

func TestWithoutReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.serveOne()
			p.close(1001, "bye")
		})
		c := s.client(client.WithoutReconnect())
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := c.Call(t.Context(), "u", nil, nil); !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if n := s.connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A server that accepts and closes at once is not hammered.
func TestBackoffGrowsWhileConnectionsAreShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) { p.close(1013, "overloaded") })
		c := s.client()
		if err := c.Call(t.Context(), "u", nil, nil, client.FailFast()); err == nil {
			t.Error("a call without a server: no error")
		}
		advance(10 * time.Minute)
		if n := s.connections(); n > 120 {
			t.Errorf("%d connections in ten minutes", n)
		}
	})
}

func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			if n == 1 {
				<-p.ctx.Done() // reads nothing, writes nothing
				return
			}
			p.untilClosed()
		})
		s.hello.Ping = 20 * time.Second
		var seen states
		c := s.client(client.WithStateHook(seen.hook), client.WithBackoff(time.Millisecond, time.Millisecond))
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		advance(40 * time.Second)
		if got := seen.last(); got.State != client.Open || len(seen.names()) != 2 {
			t.Errorf("after twice the interval: %v", got)
		}
		advance(25 * time.Second)
		if n := s.connections(); n != 2 {
			t.Errorf("%d connections after more than thrice the interval", n)
		}
	})
}

func TestPingIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pongs := make(chan bool, 1)
		s := newServer(t, func(_ int, p *peer) {
			for range 10 { // keeps the client content
				advance(20 * time.Second)
				p.raw(`{"type":"PING"}`)
				_, message, err := p.ws.Read(p.ctx)
				if err != nil || string(message) != `{"type":"PONG"}` {
					t.Errorf("got %s, %v", message, err)
				}
			}
			pongs <- true
			p.untilClosed()
		})
		s.hello.Ping = 20 * time.Second
		c := s.client()
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-pongs
		if n := s.connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan error, 1)
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			p.expect(frame.Call)
			closed <- p.untilClosed()
		})
		var seen states
		c := s.client(client.WithStateHook(seen.hook))
		sub, err := c.Subscribe(t.Context(), "ch")
		if err != nil {
			t.Fatal(err)
		}
		call, err := c.Start(t.Context(), "u", nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.Close()
		c.Close()
		if err := call.Result(t.Context(), nil); !errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, client.ErrClosed) {
			t.Errorf("call: %v", err)
		}
		if _, err := sub.Next(t.Context()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("subscription: %v", err)
		}
		if err := c.Call(t.Context(), "u", nil, nil); !errors.Is(err, client.ErrClosed) {
			t.Errorf("call after Close: %v", err)
		}
		if _, err := c.Subscribe(t.Context(), "ch"); !errors.Is(err, client.ErrClosed) {
			t.Errorf("subscribe after Close: %v", err)
		}
		if err := <-closed; websocketCode(err) != 1000 {
			t.Errorf("the server saw %v", err)
		}
		if last := seen.last(); last.State != client.Closed || last.Err != client.ErrClosed {
			t.Errorf("last state %+v", last)
		}
	})
}

func TestCloseOfUnusedClient(t *testing.T) {
	c, err := client.New("ws://server.test")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if c.State() != client.Closed {
		t.Errorf("state %v", c.State())
	}
}

func TestShutdownWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			f := p.expect(frame.Call)
			advance(time.Second)
			p.answer(f)
			p.untilClosed()
		})
		c := s.client()
		call, err := c.Start(t.Context(), "u", nil)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Millisecond, func() {
			if err := c.Call(t.Context(), "u", nil, nil); !errors.Is(err, client.ErrClosed) {
				t.Errorf("during Shutdown: %v", err)
			}
		})
		if err := c.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := call.Result(t.Context(), nil); err != nil {
			t.Error(err)
		}

		c = newServer(t, func(_ int, p *peer) { p.untilClosed() }).client()
		if _, err := c.Start(t.Context(), "u", nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
