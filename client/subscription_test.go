package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// read returns the args of the next n events of sub, "gap" for a gap.
func read(t *testing.T, sub *client.Subscription, n int) []string {
	t.Helper()
	var got []string
	for range n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		e, err := sub.Next(ctx)
		cancel()
		if err != nil {
			return append(got, err.Error())
		}
		if e.Gap {
			got = append(got, "gap")
			continue
		}
		got = append(got, string(e.Args))
	}
	return got
}

func wantEvents(t *testing.T, sub *client.Subscription, want ...string) {
	t.Helper()
	if got := read(t, sub, len(want)); !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", sub.Channel(), got, want)
	}
}

// wantNothing checks that no event is buffered.
func wantNothing(t *testing.T, sub *client.Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if e, err := sub.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: got %+v, %v, want nothing", sub.Channel(), e, err)
	}
}

func subscribe(t *testing.T, c *client.Client, channel string, opts ...client.SubscribeOption) *client.Subscription {
	t.Helper()
	s, err := c.Subscribe(t.Context(), channel, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			f := p.expect(frame.Sub)
			if string(f.Channel) != "n*" || !f.Pattern {
				t.Errorf("SUB %s, pattern %v", f.Channel, f.Pattern)
			}
			p.ack(f)
			p.event(1, "news", `1`)
			p.event(1, "other", `"of no subscription"`)
			p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{1}, Channel: []byte("news"), Matched: []byte("n*"),
				Args: []byte(`2`), Headers: []byte(`{"k":"v"}`)})
			p.send(&frame.Frame{Type: frame.Gap, Channel: []byte("n*"), Pattern: true})
			p.event(2, "news", `3`)
			p.untilClosed()
		})
		c := s.client()
		exact := subscribe(t, c, "news")
		pattern := subscribe(t, c, "n*", client.Pattern())
		wantEvents(t, exact, `1`, `3`)
		wantNothing(t, exact)
		e, err := pattern.Next(t.Context())
		if err != nil || e.ID != (client.ID{1}) || e.Channel != "news" || e.Pattern != "n*" || e.Headers["k"] != "v" || e.Gap {
			t.Errorf("got %+v, %v", e, err)
		}
		var n int
		if err := e.Decode(&n); err != nil || n != 2 {
			t.Errorf("decoded %d, %v", n, err)
		}
		e, err = pattern.Next(t.Context())
		if err != nil || !e.Gap || e.Pattern != "n*" || e.Channel != "" {
			t.Errorf("got %+v, %v", e, err)
		}
	})
}

func TestSubscribeRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.nack(p.expect(frame.Sub), 403, 0)
			p.serve()
		})
		c := s.client()
		if _, err := c.Subscribe(t.Context(), "ch"); !errors.Is(err, client.CodeForbidden) {
			t.Errorf("got %v", err)
		}
		subscribe(t, c, "ch") // asks again
		for name, err := range map[string]error{
			"no channel": second(c.Subscribe(t.Context(), "")),
			"no buffer":  second(c.Subscribe(t.Context(), "ch", client.WithBuffer(0))),
		} {
			if !errors.Is(err, client.ErrInvalidOption) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestSubscriptionsShareTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			p.event(1, "ch", `1`)
			p.serveOne() // the call: no SUB came before it
			p.event(2, "ch", `2`)
			p.ack(p.expect(frame.Unsb))
			p.event(3, "ch", `"late"`)
			p.ack(p.expect(frame.Sub))
			p.event(4, "ch", `4`)
			p.untilClosed()
		})
		c := s.client()
		a := subscribe(t, c, "ch")
		wantEvents(t, a, `1`)
		b := subscribe(t, c, "ch")
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Fatal(err)
		}
		wantEvents(t, b, `2`)
		wantEvents(t, a, `2`)
		a.Unsubscribe()
		a.Unsubscribe()
		wantEvents(t, a, client.ErrUnsubscribed.Error())
		b.Unsubscribe()
		synctest.Wait()
		wantEvents(t, subscribe(t, c, "ch"), `4`)
		for range b.Events(t.Context()) {
			t.Error("an event after Unsubscribe")
		}
	})
}

// Subscribing and unsubscribing while the answer to the opposite is on its way
// ends in what was asked for last.
func TestSubscribeWhileUnsubscribing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			for _, typ := range []frame.Type{frame.Sub, frame.Unsb, frame.Sub} {
				f := p.expect(typ)
				advance(time.Second)
				p.ack(f)
			}
			p.event(1, "ch", `1`)
			p.untilClosed()
		})
		c := s.client()
		subscribe(t, c, "ch").Unsubscribe()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := c.Subscribe(ctx, "ch"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		wantEvents(t, subscribe(t, c, "ch"), `1`)
	})
}

func TestSubscribeFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			for i := range 10 {
				p.event(byte(i), "ch", fmt.Sprint(i))
			}
			p.serve()
		})
		c := s.client()
		got := make(chan int, 10)
		_, err := c.SubscribeFunc(t.Context(), "ch", func(sub *client.Subscription, e client.Event) {
			var n int
			if err := c.Call(t.Context(), "u", e.Args, &n); err != nil { // a handler may call
				t.Error(err)
			}
			got <- n
			if n == 5 {
				sub.Unsubscribe()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for want := range 6 {
			if n := <-got; n != want {
				t.Errorf("got %d, want %d", n, want)
			}
		}
		if len(got) > 0 {
			t.Error("called after Unsubscribe")
		}
	})
}

func TestSubscriptionIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			p.ack(p.expect(frame.Sub))
			p.event(byte(n), "ch", fmt.Sprint(n))
			p.serveOne()
			p.drop()
		})
		c := s.client()
		sub := subscribe(t, c, "ch")
		wantEvents(t, sub, `1`)
		for _, want := range []string{`2`, `3`} {
			if err := c.Call(t.Context(), "u", nil, nil); err != nil {
				t.Fatal(err)
			}
			wantEvents(t, sub, "gap", want)
		}
	})
}

func TestRestoredSubscriptionIsRefused(t *testing.T) {
	for _, test := range []struct {
		code int
		ends bool
	}{{403, true}, {503, false}, {500, false}} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, func(n int, p *peer) {
				f := p.expect(frame.Sub)
				switch n {
				case 1:
					p.ack(f)
					p.serveOne()
					p.drop()
				default:
					p.nack(f, test.code, 20*time.Second)
					f := p.next()
					if f == nil {
						return
					}
					p.ack(f)
					p.event(1, "ch", `1`)
					p.untilClosed()
				}
			})
			c := s.client()
			sub := subscribe(t, c, "ch")
			if err := c.Call(t.Context(), "u", nil, nil); err != nil {
				t.Fatal(err)
			}
			if test.ends {
				if _, err := sub.Next(t.Context()); !errors.Is(err, client.Code(test.code)) {
					t.Errorf("got %v", err)
				}
				return
			}
			wantEvents(t, sub, "gap", `1`)
		})
	}
}

func TestSlowSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer = 5
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			p.ack(p.expect(frame.Sub))
			for i := range byte(2 * buffer) {
				p.event(i, "slow", fmt.Sprint(i))
				p.event(i, "fast", fmt.Sprint(i))
			}
			p.serve()
		})
		c := s.client(client.WithStallTimeout(3 * time.Second))
		slow := subscribe(t, c, "slow", client.WithBuffer(buffer))
		fast := subscribe(t, c, "fast")
		begin := time.Now()
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("the call was held up for %v", d)
		}
		if err := slow.Err(); err != client.ErrSlow {
			t.Errorf("slow: %v", err)
		}
		wantEvents(t, slow, `0`, `1`, `2`, `3`, `4`, `5`, client.ErrSlow.Error())
		if got := read(t, fast, 2*buffer); len(got) != 2*buffer || got[9] != `9` {
			t.Errorf("fast: %v", got)
		}
	})
}

// A reader that is only a little slow slows the server down, and loses nothing.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 200
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			for i := range events {
				p.event(byte(i), "ch", fmt.Sprint(i))
			}
			p.serve()
		})
		s.hello.Ping = 20 * time.Second // a stalled reader is not a silent server
		sub := subscribe(t, s.client(), "ch", client.WithBuffer(4))
		for i := range events {
			advance(time.Second)
			wantEvents(t, sub, fmt.Sprint(i))
		}
		if n := s.connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}
