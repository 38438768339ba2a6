package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// tokens returns a TokenFunc that counts: t1, t2, …
func tokens() client.TokenFunc {
	n := 0
	return func(context.Context) (string, error) {
		n++
		return fmt.Sprintf("t%d", n), nil
	}
}

// auth expects AUTH with token and acknowledges it.
func (p *peer) auth(token string, expires time.Duration) {
	f := p.expect(frame.Auth)
	if string(f.Token) != token {
		p.t.Errorf("token %s, want %s", f.Token, token)
	}
	p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Expires: expires})
}

func TestAuthIsFirstAndRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		renewed := make(chan time.Time)
		s := newServer(t, func(n int, p *peer) {
			if n == 2 {
				p.auth("t4", 0)
				p.serve()
				return
			}
			p.auth("t1", time.Hour)
			p.serveOne()
			p.auth("t2", 2*time.Hour)
			renewed <- time.Now()
			p.auth("t3", 0) // for ever
			renewed <- time.Now()
			advance(24 * time.Hour)
			p.close(4502, "credentials expired")
		})
		c := s.client(client.WithToken(tokens()))
		begin := time.Now()
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Fatal(err)
		}
		for _, want := range []time.Duration{45 * time.Minute, 135 * time.Minute} {
			if d := (<-renewed).Sub(begin); d < want || d > want+time.Minute {
				t.Errorf("renewed after %v, want %v", d, want)
			}
		}
		advance(25 * time.Hour)
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Error(err)
		}
		if n := s.connections(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestAuthRefused(t *testing.T) {
	for _, test := range []struct {
		code  int
		again bool
	}{{401, false}, {403, false}, {503, true}, {500, true}} {
		t.Run(fmt.Sprint(test.code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, func(n int, p *peer) {
					if n == 1 {
						p.nack(p.expect(frame.Auth), test.code, 5*time.Second)
						p.untilClosed()
						return
					}
					p.auth("t2", 0)
					p.serve()
				})
				c := s.client(client.WithToken(tokens()))
				begin := time.Now()
				err := c.Call(t.Context(), "u", nil, nil)
				if test.again && (err != nil || time.Since(begin) < 5*time.Second) {
					t.Errorf("after %v: %v", time.Since(begin), err)
				}
				if !test.again && (!errors.Is(err, client.Code(test.code)) || !errors.Is(err, client.ErrClosed)) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestTokenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.auth("t", time.Hour)
			// The first renewal fails, the second one does not.
			p.auth("t", 0)
			p.serve()
		})
		var asked atomic.Int32
		c := s.client(client.WithToken(func(ctx context.Context) (string, error) {
			switch asked.Add(1) {
			case 1: // the attempt to connect fails
				return "", errors.New("no network")
			case 3:
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "t", nil
		}))
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		advance(2 * time.Hour)
		if n := asked.Load(); n != 4 {
			t.Errorf("%d tokens, want 4", n)
		}
	})
}

func TestCloseWhileTokenBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, serveAll)
		c := s.client(client.WithToken(func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}))
		done := make(chan error)
		go func() { done <- c.Call(t.Context(), "u", nil, nil) }()
		synctest.Wait()
		c.Close()
		if err := <-done; !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
