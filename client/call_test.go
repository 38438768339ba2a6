package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, serveAll)
		c := s.client()
		var sum []int
		if err := c.Call(t.Context(), "test.echo", []int{1, 2}, &sum); err != nil || len(sum) != 2 {
			t.Errorf("got %v, %v", sum, err)
		}
		var raw json.RawMessage
		const want = `{"a" : "\u0041"}`
		if err := c.Call(t.Context(), "test.echo", json.RawMessage(want), &raw); err != nil || string(raw) != want {
			t.Errorf("raw: got %s, %v", raw, err)
		}
		if err := c.Call(t.Context(), "test.echo", 1, nil); err != nil {
			t.Error(err)
		}
		if got := s.connections(); got != 1 {
			t.Errorf("%d connections, want 1", got)
		}
	})
}

func TestCallSendsTheTimeItHas(t *testing.T) {
	for _, test := range []struct {
		name     string
		deadline time.Duration // of the context
		opts     []client.CallOption
		want     time.Duration
	}{
		{"the client's default", 0, nil, 30 * time.Second},
		{"the context's deadline", time.Minute, nil, time.Minute},
		{"WithTimeout", 0, []client.CallOption{client.WithTimeout(time.Second)}, time.Second},
		{"WithTimeout before the deadline", time.Minute, []client.CallOption{client.WithTimeout(time.Second)}, time.Second},
		{"the deadline before WithTimeout", time.Second, []client.CallOption{client.WithTimeout(time.Minute)}, time.Second},
		{"the deadline after the server's limit", time.Hour, nil, 10 * time.Minute},
		{"WithTimeout after the server's limit", 0, []client.CallOption{client.WithTimeout(time.Hour)}, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got time.Duration
				s := newServer(t, func(_ int, p *peer) {
					f := p.expect(frame.Call)
					got = f.Timeout
					p.answer(f)
					p.serve()
				})
				s.hello.MaxCallTimeout = 10 * time.Minute
				ctx := t.Context()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				if err := s.client().Call(ctx, "u", nil, nil, test.opts...); err != nil {
					t.Fatal(err)
				}
				if got != test.want {
					t.Errorf("got %v, want %v", got, test.want)
				}
			})
		})
	}
}

func TestCallErrors(t *testing.T) {
	answers := map[string]func(p *peer, f *frame.Frame){
		"nack": func(p *peer, f *frame.Frame) { p.nack(f, 503, 250*time.Millisecond) },
		"callee": func(p *peer, f *frame.Frame) {
			p.ack(f)
			p.send(&frame.Frame{Type: frame.Res, For: f.ID,
				Err: frame.ErrorBody{Code: 422, Message: []byte("not a number"), Data: []byte(`{"at":1}`)}})
		},
		"expired": func(p *peer, f *frame.Frame) {
			p.ack(f)
			p.send(&frame.Frame{Type: frame.Res, For: f.ID, Err: frame.ErrorBody{Code: 408, Message: []byte("late")}})
		},
	}
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			for f := p.next(); f != nil; f = p.next() {
				answers[string(f.URI)](p, f)
			}
		})
		c := s.client()
		call := func(uri string) *client.Error {
			err := c.Call(t.Context(), uri, nil, nil)
			var e *client.Error
			if !errors.As(err, &e) {
				t.Fatalf("%s: got %v, want an *Error", uri, err)
			}
			return e
		}
		e := call("nack")
		if !errors.Is(e, client.CodeUnavailable) || !e.Refused || !e.Retryable() || e.RetryAfter != 250*time.Millisecond {
			t.Errorf("nack: %+v", e)
		}
		e = call("callee")
		if !errors.Is(e, client.Code(422)) || e.Refused || e.Retryable() || string(e.Data) != `{"at":1}` || e.Message != "not a number" {
			t.Errorf("callee: %+v", e)
		}
		e = call("expired")
		if !errors.Is(e, client.CodeExpired) || !errors.Is(e, context.DeadlineExceeded) || errors.Is(e, context.Canceled) {
			t.Errorf("expired: %+v", e)
		}
	})
}

func TestCallRefusesBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, serveAll)
		s.hello.MaxMessage = 100
		c := s.client()
		for name, test := range map[string]struct {
			uri  string
			in   any
			opts []client.CallOption
			want error
		}{
			"no URI":          {"", nil, nil, client.ErrInvalidOption},
			"invalid raw":     {"u", json.RawMessage(`{`), nil, nil},
			"not UTF-8":       {"u", json.RawMessage("\"\xff\""), nil, nil},
			"unmarshalable":   {"u", func() {}, nil, nil},
			"negative time":   {"u", nil, []client.CallOption{client.WithTimeout(-1)}, client.ErrInvalidOption},
			"too big":         {"u", make([]int, 100), nil, client.CodeTooLarge},
			"headers too big": {"u", 1, []client.CallOption{client.WithHeaders(map[string]string{"a": string(make([]byte, 100))})}, client.CodeTooLarge},
		} {
			err := c.Call(t.Context(), test.uri, test.in, nil, test.opts...)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", name, err, test.want)
			}
		}
		if err := c.Call(t.Context(), "u", 1, nil); err != nil {
			t.Errorf("after all of them: %v", err)
		}
		var n int
		if err := c.Call(t.Context(), "u", "text", &n); err == nil {
			t.Error("a result that does not fit: no error")
		}
	})
}

func TestCallCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled := make(chan string, 1)
		s := newServer(t, func(_ int, p *peer) {
			call := p.expect(frame.Call)
			p.ack(call)
			cancelled <- string(p.expect(frame.Cancel).For)
			if string(call.ID) != "1" {
				t.Errorf("id %s", call.ID)
			}
			// A late answer is for nobody, and no harm.
			p.send(&frame.Frame{Type: frame.Res, For: call.ID, Err: frame.ErrorBody{Code: 499, Message: []byte("cancelled")}})
			p.serve()
		})
		c := s.client()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := c.Call(ctx, "u", nil, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if id := <-cancelled; id != "1" {
			t.Errorf("CANCEL for %s", id)
		}
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Errorf("the next call: %v", err)
		}
	})
}

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			// Answers in the reverse order.
			a, b := p.expect(frame.Call), p.expect(frame.Call)
			p.answer(b)
			p.answer(a)
			p.expect(frame.Call)
			p.expect(frame.Cancel)
			p.serve()
		})
		c := s.client()
		in := json.RawMessage(`1`)
		a, err := c.Start(t.Context(), "u", in)
		if err != nil {
			t.Fatal(err)
		}
		in[0] = '9' // is not used any more
		b, err := c.Start(t.Context(), "u", 2)
		if err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		var n int
		if err := b.Result(t.Context(), &n); err != nil || n != 2 {
			t.Errorf("b: %d, %v", n, err)
		}
		for range 2 {
			if err := a.Result(t.Context(), &n); err != nil || n != 1 {
				t.Errorf("a: %d, %v", n, err)
			}
		}

		ctx, cancel := context.WithCancel(t.Context())
		d, err := c.Start(ctx, "u", nil)
		if err != nil {
			t.Fatal(err)
		}
		waited, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := d.Result(waited, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("not done yet: %v", err)
		}
		cancel()
		if err := d.Result(t.Context(), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		synctest.Wait()
	})
}

func TestCallsBeyondTheServersLimitWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, calls = 3, 20
		s := newServer(t, func(_ int, p *peer) {
			var open []*frame.Frame
			for f := p.next(); f != nil; f = p.next() {
				if open = append(open, f); len(open) > limit {
					t.Errorf("%d calls at a time, the limit is %d", len(open), limit)
				}
				if len(open) == limit || calls%limit == len(open) {
					for _, f := range open {
						p.answer(f)
					}
					open = nil
				}
			}
		})
		s.hello.MaxCalls = limit
		c := s.client()
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, calls)
		for range calls {
			go func() { errs <- c.Call(t.Context(), "u", nil, nil) }()
		}
		for range calls {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestServerThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) { p.untilClosed() })
		c := s.client()
		begin := time.Now()
		err := c.Call(t.Context(), "u", nil, nil, client.WithTimeout(time.Second))
		if !errors.Is(err, client.CodeExpired) {
			t.Errorf("call: %v", err)
		}
		if d := time.Since(begin); d < time.Second || d > 10*time.Second {
			t.Errorf("after %v", d)
		}
		err = c.Publish(t.Context(), "ch", nil, client.WithTimeout(time.Second))
		if !errors.Is(err, client.ErrUnknownOutcome) {
			t.Errorf("publish: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Subscribe(ctx, "ch"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("subscribe: %v", err)
		}
	})
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			f := p.expect(frame.Pub)
			if string(f.Channel) != "news" || string(f.Args) != `{"n":1}` || string(f.Headers) != `{"k":"v"}` {
				t.Errorf("got PUB %s %s %s", f.Channel, f.Args, f.Headers)
			}
			p.ack(f)
			p.nack(p.expect(frame.Pub), 403, 0)
			p.untilClosed()
		})
		c := s.client()
		err := c.Publish(t.Context(), "news", map[string]int{"n": 1}, client.WithHeaders(map[string]string{"k": "v"}))
		if err != nil {
			t.Error(err)
		}
		if err := c.Publish(t.Context(), "news", nil); !errors.Is(err, client.CodeForbidden) {
			t.Errorf("got %v", err)
		}
	})
}
