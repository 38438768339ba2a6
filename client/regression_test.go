package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// Each test of this file is for a bug that was found.

// The second of two goroutines in Shutdown waited for ever.
func TestShutdownTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			f := p.expect(frame.Call)
			advance(time.Second)
			p.answer(f)
			p.serve()
		})
		c := s.client()
		if _, err := c.Start(t.Context(), "u", nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		errs := make(chan error)
		for range 2 {
			go func() { errs <- c.Shutdown(ctx) }()
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if err := c.Shutdown(ctx); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A nil *json.RawMessage made a call panic, as arguments and for the result.
// Raw JSON inside of other values was sent even if it was not UTF-8, for which
// the server closes the connection and the client ends. Names were repaired, so
// that a subscription never got an event.
func TestBadInputIsRefusedHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []string
		s := newServer(t, func(_ int, p *peer) {
			for f := p.next(); f != nil; f = p.next() {
				sent = append(sent, f.Type.String()+string(f.Args))
				p.answer(f)
			}
		})
		s.hello.MaxMessage = 1000
		c := s.client()
		ctx := t.Context()
		if err := c.Call(ctx, "u", (*json.RawMessage)(nil), nil); err != nil {
			t.Errorf("nil *json.RawMessage: %v", err)
		}
		synctest.Wait()
		if len(sent) != 1 || sent[0] != "CALLnull" {
			t.Errorf("sent %q", sent)
		}
		if err := c.Call(ctx, "u", 1, (*json.RawMessage)(nil)); err == nil {
			t.Error("nil *json.RawMessage for the result: no error")
		}
		inside := struct{ X json.RawMessage }{json.RawMessage("\"\xff\"")}
		deep := struct{ X json.RawMessage }{bytes.Join([][]byte{bytes.Repeat([]byte("["), 9998), bytes.Repeat([]byte("]"), 9998)}, nil)}
		for name, err := range map[string]error{
			"call with bytes inside":    c.Call(ctx, "u", inside, nil),
			"call that is deep":         c.Call(ctx, "u", deep, nil),
			"publish with bytes inside": c.Publish(ctx, "u", inside),
			"call":                      c.Call(ctx, "a\xff", nil, nil),
			"publish":                   c.Publish(ctx, "a\xff", nil),
			"subscribe":                 second(c.Subscribe(ctx, "a\xff")),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if _, err := c.Subscribe(ctx, strings.Repeat("x", 1000)); !errors.Is(err, client.CodeTooLarge) {
			t.Errorf("a channel beyond the server's limit: %v", err)
		}
		if _, err := c.SubscribeFunc(ctx, "ch", nil); !errors.Is(err, client.ErrInvalidOption) {
			t.Errorf("no handler: %v", err)
		}
		synctest.Wait()
		if len(sent) != 2 {
			t.Errorf("sent %q", sent)
		}
	})
}

// The error said twice what had failed.
func TestErrorTextOfRefusedSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			if n == 2 {
				p.nack(p.expect(frame.Sub), 403, 0)
				p.serve()
				return
			}
			p.nack(p.expect(frame.Sub), 403, 0)
			p.ack(p.expect(frame.Sub))
			p.drop()
		})
		c := s.client()
		const want = "juggler: subscribe ch: no (403)"
		if _, err := c.Subscribe(t.Context(), "ch"); err == nil || err.Error() != want {
			t.Errorf("got %v", err)
		}
		sub := subscribe(t, c, "ch")
		if _, err := sub.Next(t.Context()); err == nil || err.Error() != want {
			t.Errorf("one that was confirmed once: got %v", err)
		}
	})
}

// Close waited for the write timeout while the network took nothing.
func TestCloseWhileAWriteIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) { <-p.ctx.Done() })
		c := s.client(client.WithCloseTimeout(2*time.Second), client.WithWriteTimeout(time.Hour))
		call, err := c.Start(t.Context(), "u", strings.Repeat("x", 100_000), client.WithTimeout(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begin := time.Now()
		c.Close()
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("Close took %v", d)
		}
		if err := call.Result(t.Context(), nil); !errors.Is(err, client.ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
	})
}

// What a TokenFunc returned was taken for a refusal by this server if it looked
// like one, e.g. because the token comes from another juggler server.
func TestTokenErrorIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.auth("t", 0)
			p.serve()
		})
		errs := []error{
			&client.Error{Code: client.CodeUnauthenticated, Message: "elsewhere"},
			&client.CloseError{Code: 4403},
			&client.HandshakeError{Status: 404},
		}
		c := s.client(client.WithToken(func(context.Context) (string, error) {
			if len(errs) > 0 {
				err := errs[0]
				errs = errs[1:]
				return "", fmt.Errorf("no token: %w", err)
			}
			return "t", nil
		}))
		if err := c.Connect(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A very long time after which the server wants to be asked again was added
// up to one that was over, so that it was asked at once, again and again.
func TestAbsurdRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const absurd = time.Duration(1<<63 - 1)
		var mu sync.Mutex
		subs := 0
		s := newServer(t, func(n int, p *peer) {
			switch n {
			case 3:
				p.nack(p.expect(frame.Auth), 503, absurd.Truncate(time.Millisecond))
				p.untilClosed()
			case 4:
				p.auth("t", 0)
				p.ack(p.expect(frame.Sub))
				p.drop()
			default:
				p.auth("t", 0)
				for f := p.next(); f != nil; f = p.next() {
					mu.Lock()
					subs++
					mu.Unlock()
					p.nack(f, 503, absurd.Truncate(time.Millisecond))
				}
			}
		})
		s.refuse = func(n int, w http.ResponseWriter) bool {
			if n <= 2 {
				w.Header().Set("Retry-After", []string{"9223372036", "9300000000"}[n-1])
				http.Error(w, "go away", http.StatusServiceUnavailable)
			}
			return n <= 2
		}
		c := s.client(client.WithToken(func(context.Context) (string, error) { return "t", nil }))
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		begin := time.Now()
		if _, err := c.Subscribe(ctx, "ch"); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d < 3*time.Hour || d > 4*time.Hour {
			t.Errorf("connected after %v, want an hour for each of three refusals", d)
		}
		advance(3*time.Hour + 30*time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if subs < 3 || subs > 4 {
			t.Errorf("%d SUBs in three hours and a half", subs)
		}
	})
}

// A call that waited for its turn among those that the old server allowed
// stayed there when the client moved, and could be cut off when the last of
// the others was done.
func TestGoAwayWhileCallsWait(t *testing.T) {
	for name, opts := range map[string][]client.CallOption{"patient": nil, "fail fast": {client.FailFast()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, func(n int, p *peer) {
					if n == 2 {
						p.serve()
						return
					}
					f := p.expect(frame.Call)
					p.goAway(time.Second)
					advance(10 * time.Second)
					p.answer(f)
					p.serve()
				})
				s.hello.MaxCalls = 1
				c := s.client()
				first, err := c.Start(t.Context(), "first", nil)
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if err := c.Call(t.Context(), "second", nil, nil, opts...); err != nil {
					t.Errorf("second: %v", err)
				}
				if d := time.Since(begin); d > 2*time.Second {
					t.Errorf("second: after %v", d)
				}
				if err := first.Result(t.Context(), nil); err != nil {
					t.Errorf("first: %v", err)
				}
			})
		})
	}
}

// Each of several slow subscriptions held everything up for the stall timeout,
// one after the other.
func TestSlowSubscriptionsShareTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 5
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			f := p.expect(frame.Call)
			p.event(1, "ch", `1`)
			p.event(2, "ch", `2`)
			p.answer(f)
			p.serve()
		})
		c := s.client(client.WithStallTimeout(3 * time.Second))
		var subs []*client.Subscription
		for range slow {
			subs = append(subs, subscribe(t, c, "ch", client.WithBuffer(1)))
		}
		begin := time.Now()
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("the call was held up for %v", d)
		}
		for _, s := range subs {
			if s.Err() != client.ErrSlow {
				t.Errorf("got %v", s.Err())
			}
		}
	})
}

// Raw arguments of a call whose context had ended were read once more, though
// for nothing, when there was another connection. The race detector tells.
func TestRawArgumentsAreTheCallersAgain(t *testing.T) {
	connect := make(chan bool)
	s := newTCPServer(t, func(n int, p *peer) {
		if n == 1 {
			p.expect(frame.Call)
			p.drop()
			return
		}
		p.serve()
	})
	s.refuse = func(n int, w http.ResponseWriter) bool {
		if n > 1 {
			<-connect
		}
		return false
	}
	open, waiting := make(chan bool), make(chan bool)
	c := s.client(client.WithBackoff(time.Millisecond, time.Millisecond), client.WithStateHook(func(change client.StateChange) {
		switch {
		case change.State == client.Waiting && change.Attempt == 1:
			close(waiting)
		case change.State == client.Open && change.Attempt == 0:
			open <- true
		}
	}))
	go c.Connect(t.Context())
	<-open
	raw := json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-waiting
		cancel()
	}()
	if err := c.Call(ctx, "u", raw, nil, client.Idempotent()); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(connect)
	for {
		select {
		case <-open:
			return
		default:
			for i := 1; i < len(raw)-1; i++ {
				raw[i]++
			}
		}
	}
}

// With a context that has ended already, a call was sent all the same, and then
// cancelled; a subscription came and went.
func TestContextThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			for f := p.next(); f != nil; f = p.next() {
				t.Errorf("the client sent %v", f.Type)
				p.answer(f)
			}
		})
		c := s.client()
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, err := range map[string]error{
			"Call":      c.Call(ctx, "u", nil, nil),
			"Start":     second(c.Start(ctx, "u", nil)),
			"Publish":   c.Publish(ctx, "ch", nil),
			"Subscribe": second(c.Subscribe(ctx, "ch")),
		} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		synctest.Wait()
	})
}

// A publication whose fate the server does not know (NACK 500) was said to be
// certainly not made.
func TestPublicationOfUnknownFate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.nack(p.expect(frame.Pub), 500, 0)
			p.nack(p.expect(frame.Pub), 503, 0)
			p.nack(p.expect(frame.Call), 500, 0)
			p.serve()
		})
		c := s.client()
		ctx := t.Context()
		for i, test := range []struct {
			err     error
			refused bool
		}{
			{c.Publish(ctx, "ch", nil), false},
			{c.Publish(ctx, "ch", nil), true},
			{c.Call(ctx, "u", nil, nil), true},
		} {
			var e *client.Error
			if !errors.As(test.err, &e) || e.Refused != test.refused {
				t.Errorf("request %d: %#v, want Refused %v", i, test.err, test.refused)
			}
		}
	})
}

// Passwords and tokens in the URL were logged, and in the error of Dial.
func TestSecretsInTheURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := newServer(t, func(_ int, p *peer) {
			p.goAway(0)
			p.untilClosed()
		})
		s.refuse = func(n int, w http.ResponseWriter) bool {
			if n != 2 {
				http.Error(w, "go away", http.StatusServiceUnavailable)
			}
			return n != 2
		}
		s.url = "ws://user:secret@server.test/ws?token=secret"
		opts := []client.Option{client.WithDialer(s.dial), client.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))}
		if _, err := client.Dial(t.Context(), s.url, opts...); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("Dial: %v", err)
		}
		c := s.client(opts...)
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		advance(time.Minute)
		c.Close()
		if text := log.String(); strings.Contains(text, "secret") || !strings.Contains(text, "server.test/ws") {
			t.Error(text)
		}
	})
}

// An idempotent call that had been lost with one connection, and was refused on
// the next or not sent there, was said to be certainly not done.
func TestRepeatedCallMayHaveBeenDone(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, func(n int, p *peer) {
				f := p.expect(frame.Call)
				if n == 1 {
					p.drop()
					return
				}
				p.nack(f, 404, 0)
				p.serve()
			})
			err := s.client().Call(t.Context(), "u", nil, nil, client.Idempotent())
			var e *client.Error
			if !errors.As(err, &e) || e.Code != client.CodeNoCallee || e.Refused {
				t.Errorf("got %#v", err)
			}
		})
	})
	t.Run("not sent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, func(n int, p *peer) {
				if n == 2 {
					advance(20 * time.Second) // reads nothing: what follows the SUB stays at the client
					p.drop()
					return
				}
				p.ack(p.expect(frame.Sub))
				p.expect(frame.Call)
				p.goAway(0)
				advance(10 * time.Second)
				p.drop()
			})
			s.refuse = func(n int, w http.ResponseWriter) bool {
				if n > 2 {
					http.Error(w, "go away", http.StatusServiceUnavailable)
				}
				return n > 2
			}
			c := s.client(client.WithWriteTimeout(time.Hour))
			subscribe(t, c, "ch")
			err := c.Call(t.Context(), "u", nil, nil, client.Idempotent(), client.WithTimeout(time.Minute))
			if !errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	})
}

// The result of a call that was done was "not done yet" for a context that had
// ended, every other time.
func TestResultThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, serveAll)
		call, err := s.client().Start(t.Context(), "u", 1)
		if err != nil {
			t.Fatal(err)
		}
		<-call.Done()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			if err := call.Result(ctx, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}
