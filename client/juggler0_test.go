package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

func TestJuggler0(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.serveOne()
			// RES may precede ACK.
			f := p.expect(frame.Call)
			p.result(f, `{"error":{"message":"not a number"}}`)
			p.ack(f)
			f = p.expect(frame.Call)
			p.ack(f)
			p.result(f, `{"error":{"message":"part of a result"},"n":1}`)
			p.ack(p.expect(frame.Sub))
			p.event(1, "ch", `1`)
			f = p.expect(frame.Pub)
			p.ack(f)
			p.ack(p.expect(frame.Unsb))
			p.expect(frame.Call) // never answered: expired
			p.serve()
		})
		s.proto = frame.Juggler0
		c := s.client(client.WithProtocols(frame.Juggler0, frame.Juggler1))
		ctx := t.Context()
		var text string
		if err := c.Call(ctx, "u", "text", &text); err != nil || text != "text" {
			t.Errorf("got %q, %v", text, err)
		}
		var e *client.Error
		if err := c.Call(ctx, "u", nil, nil); !errors.As(err, &e) || e.Message != "not a number" || e.Code != client.CodeInternal {
			t.Errorf("callee's error: got %v", err)
		}
		if err := c.Call(ctx, "u", nil, nil); err != nil {
			t.Errorf("result that looks like an error: got %v", err)
		}
		sub := subscribe(t, c, "ch")
		wantEvents(t, sub, `1`)
		if err := c.Publish(ctx, "ch", 1); err != nil {
			t.Error(err)
		}
		sub.Unsubscribe()
		begin := time.Now()
		err := c.Call(ctx, "u", nil, nil, client.WithTimeout(10*time.Second))
		if !errors.Is(err, client.CodeExpired) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		err = c.Call(ctx, "u", nil, nil, client.WithHeaders(map[string]string{"a": "b"}))
		if !errors.Is(err, client.ErrUnsupported) {
			t.Errorf("headers: got %v", err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := c.Call(short, "u", nil, nil); err != nil {
			t.Error(err)
		}
		if c.Session() != "" {
			t.Errorf("session %q", c.Session())
		}
	})
}

// juggler.0 has no PING: the client pings, and the pong is enough to go on.
func TestJuggler0Liveness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alive := true
		s := newServer(t, func(n int, p *peer) {
			if n == 1 && alive {
				ctx, cancel := context.WithTimeout(p.ctx, time.Hour)
				defer cancel()
				p.ws.Read(ctx) // answers pings
				return
			}
			<-p.ctx.Done()
		})
		s.proto = frame.Juggler0
		c := s.client(client.WithProtocols(frame.Juggler0), client.WithPingInterval(10*time.Second))
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		advance(59 * time.Minute)
		if n := s.connections(); n != 1 {
			t.Errorf("%d connections to a server that answers pings", n)
		}
		advance(2 * time.Minute)
		if n := s.connections(); n < 3 {
			t.Errorf("%d connections to a server that does not", n)
		}
	})
}
