package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// chaosRecord is what the chaos keeps of a call with a key. Its answer comes by itself, at
// random times; the outcome is its serial number, so that two runs of a call tell apart.
type chaosRecord struct {
	made     int // how often
	serial   int
	produced int
	last     int
	done     bool
	joined   []*chaosJoined
}

// chaosJoined is a connection that waits for the outcome.
type chaosJoined struct {
	p           *peer
	f           *frame.Frame
	sent, asked int
}

// keptParts is how many parts are kept for who joins later.
const keptParts = 10

// join takes a CALL with a key; mu is held.
func (c *chaos) join(p *peer, f *frame.Frame) {
	state := client.CallRunning
	r := c.records[string(f.Key)]
	switch {
	case r == nil && f.HasSince:
		p.nack(f, 410, 0)
		c.calls[p]--
		return
	case r == nil:
		state = client.CallNew
		c.made++
		r = &chaosRecord{serial: c.made, last: c.rand.IntN(40)}
		c.records[string(f.Key)] = r
		r.made++
		c.produce(r)
	case r.done:
		state = client.CallDone
	}
	from := 0
	j := &chaosJoined{p: p, f: f, sent: f.N}
	if first := r.produced - keptParts + 1; f.Parts > 0 && first > f.N+1 {
		from, j.sent = first, first-1
	}
	j.asked = j.sent + f.Parts
	r.joined = append(r.joined, j)
	if c.rand.IntN(5) > 0 { // else the ACK is lost, as the connection will be
		p.join(f, state, from)
		c.tell(r)
		return
	}
	p.drop()
}

// produce lets parts come later, and then the outcome; mu is held.
func (c *chaos) produce(r *chaosRecord) {
	time.AfterFunc(time.Duration(c.rand.IntN(40))*time.Millisecond, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.produced < r.last {
			r.produced++
			c.produce(r)
		} else {
			r.done = true
		}
		c.tell(r)
	})
}

// tell sends what is there to all who have joined; mu is held.
func (c *chaos) tell(r *chaosRecord) {
	r.joined = slices.DeleteFunc(r.joined, func(j *chaosJoined) bool {
		if to := min(j.asked, r.produced); j.sent < to {
			j.p.parts(j.f, j.sent+1, to)
			j.sent = to
		}
		if !r.done || j.f.Parts > 0 && j.sent < r.last {
			return false
		}
		c.calls[j.p]--
		j.p.result(j.f, fmt.Sprint(r.serial))
		return true
	})
}

// joinedAs returns the record that p has joined by the CALL id, or nil; mu is held.
func (c *chaos) joinedAs(p *peer, id []byte) (*chaosRecord, *chaosJoined) {
	for _, r := range c.records {
		for _, j := range r.joined {
			if j.p == p && string(j.f.ID) == string(id) {
				return r, j
			}
		}
	}
	return nil, nil
}

// moreJoined takes a MORE for a call with a key.
func (c *chaos) moreJoined(p *peer, f *frame.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, j := c.joinedAs(p, f.For); r != nil {
		j.asked += f.Parts
		c.tell(r)
	}
}

// leave takes the CANCEL of a call with a key.
func (c *chaos) leave(p *peer, f *frame.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, j := c.joinedAs(p, f.For); r != nil {
		r.joined = slices.DeleteFunc(r.joined, func(other *chaosJoined) bool { return other == j })
		c.calls[p]--
		p.send(&frame.Frame{Type: frame.Res, For: f.For, Err: frame.ErrorBody{Code: frame.CodeCancelled, Message: []byte("cancelled")}})
	}
}

// keyedForAWhile checks that each key has one outcome, whoever asks for it and however often,
// and that parts come in order, once, with a word where some are gone.
func keyedForAWhile(t *testing.T, c *client.Client, caller int, world *chaos) {
	for i := range 60 {
		key := fmt.Sprintf("%d-%d", caller, i)
		outcomes := make(chan int, 4)
		for attempt := range cap(outcomes) {
			go func() {
				outcome := 0
				for outcome == 0 {
					outcome = askOnce(t, c, key, attempt, world)
				}
				outcomes <- outcome
			}()
		}
		first := <-outcomes
		for range cap(outcomes) - 1 {
			if other := <-outcomes; other != first {
				t.Errorf("the call %s has the outcomes %d and %d", key, first, other)
			}
		}
	}
}

// askOnce makes or joins a call once, and returns its outcome, or 0 if it does not wait for it.
func askOnce(t *testing.T, c *client.Client, key string, attempt int, world *chaos) (outcome int) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	leaves := world.n(4) == 0
	if leaves {
		time.AfterFunc(time.Duration(world.n(300))*time.Millisecond, cancel)
	}
	var err error
	if attempt%2 == 0 {
		err = c.Call(ctx, "u", key, &outcome, client.Key(key))
	} else {
		outcome, err = streamOnce(t, ctx, c, key, world.n(8)+1)
	}
	var refused *client.Error
	switch {
	case err == nil:
		return outcome
	case leaves && errors.Is(err, context.Canceled):
	case errors.As(err, &refused) && refused.Refused && errors.Is(err, client.CodeUnavailable):
	default:
		t.Errorf("the call %s: %v", key, err)
	}
	return 0
}

// streamOnce takes an answer of which the loop may lack parts only where it is told so.
func streamOnce(t *testing.T, ctx context.Context, c *client.Client, key string, window int) (outcome int, err error) {
	s, err := c.Stream(ctx, "u", key, client.Key(key), client.Window(window))
	if err != nil {
		return 0, err
	}
	last := 0
	for part, err := range client.PartsAs[int](s) {
		gone, ok := errors.AsType[*client.PartsGoneError](err)
		switch {
		case ok && gone.Last == last && gone.From > last+1:
			last = gone.From - 1
		case err != nil:
			return 0, err
		case part != last+1:
			t.Errorf("the call %s: part %d behind %d", key, part, last)
			return 0, nil
		default:
			last = part
		}
	}
	return outcome, s.Result(ctx, &outcome)
}
