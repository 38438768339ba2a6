package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// What breaks the protocol ends the connection with the code that says so; the
// call in flight learns it, and the next connection works.
func TestMalformedMessages(t *testing.T) {
	for _, test := range []struct {
		name    string
		message string
		code    int
	}{
		{"not JSON", `{"type":`, 1002},
		{"empty", ``, 1002},
		{"no object", `[]`, 1002},
		{"no type", `{}`, 1002},
		{"type of a request", `{"type":"CALL","id":"1","uri":"u"}`, 1002},
		{"ACK without for", `{"type":"ACK"}`, 1002},
		{"error of the wrong type", `{"type":"RES","for":"1","error":5}`, 1002},
		{"second HELLO", `{"type":"HELLO","session":"01ARZ3NDEKTSV4RRFFQ69G5FAV","node":"01ARZ3NDEKTSV4RRFFQ69G5FAV","ping":1}`, 1002},
		{"not UTF-8", "{\"type\":\"\xff\"}", 1007},
		{"too deep", strings.Repeat("[", 20000), 1002},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, func(n int, p *peer) {
					if n == 1 {
						p.expect(frame.Call)
						p.raw(test.message)
						if got := websocketCode(p.untilClosed()); got != test.code {
							t.Errorf("closed with %d, want %d", got, test.code)
						}
						return
					}
					p.serve()
				})
				c := s.client()
				if err := c.Call(t.Context(), "u", nil, nil); !errors.Is(err, client.ErrUnknownOutcome) {
					t.Errorf("got %v", err)
				}
				if err := c.Call(t.Context(), "u", nil, nil); err != nil {
					t.Errorf("on the next connection: %v", err)
				}
			})
		})
	}
}

// Over TCP, as the server is still writing when the client has had enough.
func TestMessageTooBig(t *testing.T) {
	s := newTCPServer(t, func(n int, p *peer) {
		if n == 1 {
			p.expect(frame.Call)
			p.raw(`{"type":"PING","x":"` + strings.Repeat("x", 1<<16) + `"}`)
			if got := websocketCode(p.untilClosed()); got != 1009 {
				t.Errorf("closed with %d, want 1009", got)
			}
			return
		}
		p.serve()
	})
	c := s.client(client.WithMaxMessageBytes(1<<14), client.WithBackoff(time.Millisecond, time.Millisecond))
	if err := c.Call(t.Context(), "u", nil, nil); !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
	if err := c.Call(t.Context(), "u", nil, nil); err != nil {
		t.Errorf("on the next connection: %v", err)
	}
}

func TestBinaryMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			if n == 1 {
				p.ws.Write(p.ctx, websocket.MessageBinary, []byte(`{"type":"PING"}`))
				if got := websocketCode(p.untilClosed()); got != 1003 {
					t.Errorf("closed with %d", got)
				}
				return
			}
			p.serve()
		})
		c := s.client()
		c.Connect(t.Context())
		advance(time.Minute)
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestFirstMessageIsNotHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, serveAll)
		s.noHello = func(n int, p *peer) bool {
			if n == 1 {
				p.raw(`{"type":"PING"}`)
				if got := websocketCode(p.untilClosed()); got != 1002 {
					t.Errorf("closed with %d", got)
				}
			}
			return n == 1
		}
		if err := s.client().Call(t.Context(), "u", nil, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestNoHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, serveAll)
		s.noHello = func(n int, p *peer) bool {
			if n == 1 {
				p.untilClosed()
			}
			return n == 1
		}
		begin := time.Now()
		c := s.client(client.WithHandshakeTimeout(3 * time.Second))
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d < 3*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// Answers that nothing waits for are ignored.
func TestAnswersForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			for _, id := range []string{"0", "77", "not a number", "18446744073709551616", strings.Repeat("9", 64)} {
				p.raw(fmt.Sprintf(`{"type":"RES","for":%q,"args":1}`, id))
				p.raw(fmt.Sprintf(`{"type":"ACK","for":%q}`, id))
				p.raw(fmt.Sprintf(`{"type":"NACK","for":%q,"error":{"code":500,"message":""}}`, id))
			}
			p.raw(`{"type":"GAP","channel":"none"}`)
			p.raw(`{"type":"NEWS","for":1}`) // of a server that speaks a later juggler.1
			p.event(1, "none", `1`)
			f := p.expect(frame.Call)
			p.ack(f)
			p.ack(f)
			p.result(f, `1`)
			p.result(f, `2`)
			p.ack(f)
			f = p.expect(frame.Pub)
			p.result(f, `3`) // a RES is no answer to a PUB
			p.ack(f)
			p.result(p.expect(frame.Call), `4`) // without ACK
			p.serve()
		})
		c := s.client()
		var n int
		if err := c.Call(t.Context(), "u", nil, &n); err != nil || n != 1 {
			t.Errorf("got %d, %v", n, err)
		}
		if err := c.Publish(t.Context(), "ch", nil); err != nil {
			t.Error(err)
		}
		if err := c.Call(t.Context(), "u", nil, &n); err != nil || n != 4 {
			t.Errorf("got %d, %v", n, err)
		}
		if n := s.connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A SUB that is never answered costs the connection, not the subscription.
func TestUnansweredSub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			if n == 1 {
				p.untilClosed()
				return
			}
			p.serve()
		})
		c := s.client(client.WithCallTimeout(10 * time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Subscribe(ctx, "ch"); err != nil {
			t.Error(err)
		}
	})
}

func TestWrongSubprotocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) { p.untilClosed() })
		s.proto = frame.Juggler0 // which this client does not offer
		_, err := client.Dial(t.Context(), s.url, client.WithDialer(s.dial))
		if err == nil || !strings.Contains(err.Error(), "none of the offered subprotocols") {
			t.Errorf("got %v", err)
		}
	})
}

// The server reads nothing while much is to be written.
func TestStuckWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			if n == 1 {
				<-p.ctx.Done()
				return
			}
			p.serve()
		})
		c := s.client(client.WithWriteBuffer(1<<10), client.WithWriteTimeout(5*time.Second))
		errs := make(chan error)
		const calls = 50
		for range calls {
			go func() { errs <- c.Call(t.Context(), "u", strings.Repeat("x", 500), nil) }()
		}
		unknown := 0
		for range calls {
			switch err := <-errs; {
			case errors.Is(err, client.ErrUnknownOutcome):
				unknown++
			case err != nil:
				t.Error(err)
			}
		}
		// What was not handed to the network went over the next connection.
		if unknown == 0 || unknown > 10 {
			t.Errorf("%d calls with unknown outcome", unknown)
		}
	})
}
