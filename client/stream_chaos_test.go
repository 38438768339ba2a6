package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// callID names a call of the chaos.
type callID struct {
	p  *peer
	id string
}

// chaosStream is an answer in parts, which come at random times while the client takes more.
type chaosStream struct {
	f           *frame.Frame
	sent, asked int
	last        int
	busy        bool // the next part is on its way
}

// stream begins an answer in parts.
func (c *chaos) stream(p *peer, f *frame.Frame) {
	s := &chaosStream{f: f, asked: f.Parts, last: c.n(40)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[callID{p, string(f.ID)}] = s
	c.goOn(p, s)
}

// goOn sends the next part later, or the result behind the last one; mu is held.
func (c *chaos) goOn(p *peer, s *chaosStream) {
	if s.busy || s.sent == s.asked && s.sent < s.last {
		return
	}
	s.busy = true
	time.AfterFunc(time.Duration(c.rand.IntN(40))*time.Millisecond, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.busy = false
		if c.streams[callID{p, string(s.f.ID)}] != s {
			return
		}
		if s.sent < s.last {
			s.sent++
			p.parts(s.f, s.sent, s.sent)
			c.goOn(p, s)
			return
		}
		c.endStream(p, s.f.ID, &frame.Frame{Type: frame.Res, For: s.f.ID, Args: fmt.Append(nil, s.last)})
	})
}

// endStream ends a stream, if it is one, with an answer; mu is held.
func (c *chaos) endStream(p *peer, id []byte, answer *frame.Frame) {
	name := callID{p, string(id)}
	if c.streams[name] != nil {
		delete(c.streams, name)
		c.calls[p]--
		p.send(answer)
	}
}

// more takes a MORE.
func (c *chaos) more(p *peer, f *frame.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[callID{p, string(f.For)}]; s != nil {
		s.asked += f.Parts
		c.goOn(p, s)
	}
}

// cancelStream takes the CANCEL of a stream.
func (c *chaos) cancelStream(p *peer, f *frame.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endStream(p, f.For, &frame.Frame{Type: frame.Res, For: f.For, Err: frame.ErrorBody{Code: frame.CodeCancelled, Message: []byte("cancelled")}})
}

// streamForAWhile checks that the parts of each stream come in order from 1 on, all before
// its result; and that one that is lost on the way says after how many, as none is begun anew.
func streamForAWhile(t *testing.T, c *client.Client, caller int, world *chaos) {
	for i := range 100 {
		opts := []client.StreamOption{client.Window(1 + (caller+i)%5)}
		if i%2 == 0 {
			opts = append(opts, client.Idempotent())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		s, err := c.Stream(ctx, "u", caller, opts...)
		if err != nil {
			cancel()
			t.Errorf("stream: %v", err)
			continue
		}
		leave := 0
		if i%5 == 0 {
			leave = 1 + world.n(20)
		}
		n, err := take(t, s, 1, leave)
		var last int
		outcome := s.Result(ctx, &last)
		cancel()
		switch left := fmt.Sprintf("(%d parts of it had come)", n); {
		case err == nil && leave > 0 && n == leave:
		case err == nil && outcome == nil && n == last:
		case err == nil:
			t.Errorf("%d parts, and the result %d, %v", n, last, outcome)
		case errors.Is(err, client.ErrUnknownOutcome) && n > 0:
			if !strings.Contains(err.Error(), left) {
				t.Errorf("%d parts, and then %v", n, err)
			}
		case errors.Is(err, client.ErrUnknownOutcome):
			if i%2 == 0 {
				t.Errorf("idempotent, and without parts: %v", err)
			}
		case errors.Is(err, client.CodeUnavailable) && n == 0:
		default:
			t.Errorf("%d parts, and then %v", n, err)
		}
	}
}
