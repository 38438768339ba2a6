package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/race"
)

// chaos is a cluster of servers that come and go at random: connections are
// dropped, closed, sent away, and sometimes dropped while they move.
type chaos struct {
	mu          sync.Mutex
	rand        *rand.Rand
	subscribers map[*peer]bool
	calls       map[*peer]int // unanswered
	streams     map[callID]*chaosStream
	records     map[string]*chaosRecord
	made        int // calls with keys
	published   int
	calm        bool
}

func (c *chaos) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(n)
}

// publish sends the next number to all subscribers at the same time.
func (c *chaos) publish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published++
	for p := range c.subscribers {
		p.send(&frame.Frame{Type: frame.Evnt, Channel: []byte("ch"), Args: fmt.Append(nil, c.published),
			Publication: [16]byte{byte(c.published >> 16), byte(c.published >> 8), byte(c.published), 1}})
	}
}

func (c *chaos) forget(p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.subscribers, p)
	for name := range c.streams {
		if name.p == p {
			delete(c.streams, name)
		}
	}
	for _, r := range c.records {
		r.joined = slices.DeleteFunc(r.joined, func(j *chaosJoined) bool { return j.p == p })
	}
}

// maxCalls is how many unanswered calls a connection may have.
const maxCalls = 8

// script serves one connection, and ends it at random.
func (c *chaos) script(_ int, p *peer) {
	defer c.forget(p)
	if !c.isCalm() {
		life := time.Duration(c.n(60_000)) * time.Millisecond
		var end func()
		switch c.n(5) {
		case 0:
			end = p.drop
		case 1:
			end = func() { p.close(1001, "restarting") }
		case 2:
			end = func() {
				p.goAway(time.Duration(c.n(1000)) * time.Millisecond)
				time.AfterFunc(time.Duration(c.n(2000))*time.Millisecond, p.drop)
			}
		default:
			end = func() { p.goAway(time.Duration(c.n(1000)) * time.Millisecond) }
		}
		defer time.AfterFunc(life, end).Stop()
	}
	for f := p.next(); f != nil; f = p.next() {
		c.answer(p, f)
	}
}

func (c *chaos) isCalm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calm
}

func (c *chaos) answer(p *peer, f *frame.Frame) {
	switch f.Type {
	case frame.Sub, frame.Unsb:
		if c.n(20) == 0 && f.Type == frame.Sub {
			p.nack(f, 503, time.Second)
			return
		}
		advance(time.Duration(c.n(20)) * time.Millisecond)
		c.mu.Lock()
		defer c.mu.Unlock()
		p.ack(f)
		if f.Type == frame.Sub {
			c.subscribers[p] = true
		} else {
			delete(c.subscribers, p)
		}
	case frame.More:
		c.more(p, f)
		c.moreJoined(p, f)
	case frame.Cancel:
		c.cancelStream(p, f)
		c.leave(p, f)
	case frame.Call:
		c.mu.Lock()
		c.calls[p]++
		crowded := c.calls[p] > maxCalls
		c.mu.Unlock()
		done := func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.calls[p]--
		}
		switch {
		case crowded:
			done()
			p.nack(f, 429, 0)
		case c.n(20) == 0:
			done()
			p.nack(f, 503, 0)
		case len(f.Key) > 0:
			c.mu.Lock()
			defer c.mu.Unlock()
			c.join(p, f)
		case f.Parts > 0:
			p.ack(f)
			c.stream(p, f)
		default:
			p.ack(f)
			time.AfterFunc(time.Duration(c.n(1000))*time.Millisecond, func() {
				done()
				p.result(f, string(f.Args))
			})
		}
	}
}

// TestChaos checks what must hold whatever the servers do: every call has one
// outcome, its own; a key has one, whoever asks and however often; parts come in order,
// once, and none is missing; events come in order, once, and none is missing without a gap.
func TestChaos(t *testing.T) {
	seeds := uint64(20)
	if race.Enabled {
		seeds = 5 // they take much longer
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runChaos(t, seed) })
		})
	}
}

func runChaos(t *testing.T, seed uint64) {
	world := &chaos{rand: rand.New(rand.NewPCG(seed, 1)), subscribers: make(map[*peer]bool), calls: make(map[*peer]int), streams: make(map[callID]*chaosStream), records: make(map[string]*chaosRecord)}
	s := newServer(t, world.script)
	s.hello = frame.HelloBody{Ping: 25 * time.Second, MaxCalls: maxCalls, Keyed: true}
	c := s.client(client.WithBackoff(10*time.Millisecond, time.Second))
	sub := subscribeAnyhow(t, c)

	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() { callForAWhile(t, c, i, world) })
	}
	for i := range 3 {
		wg.Go(func() { streamForAWhile(t, c, i, world) })
		wg.Go(func() { keyedForAWhile(t, c, i, world) })
	}
	wg.Go(func() {
		for range 6000 {
			advance(50 * time.Millisecond)
			world.publish()
		}
		// In the end everything works, and the last event arrives.
		world.mu.Lock()
		world.calm = true
		world.mu.Unlock()
		advance(5 * time.Minute)
		world.publish()
	})
	wg.Go(func() { checkEvents(t, sub, 6001) })
	wg.Wait()
}

func subscribeAnyhow(t *testing.T, c *client.Client) *client.Subscription {
	for {
		sub, err := c.Subscribe(t.Context(), "ch")
		if err == nil {
			return sub
		}
		if !errors.Is(err, client.CodeUnavailable) {
			t.Fatal(err)
		}
	}
}

func callForAWhile(t *testing.T, c *client.Client, caller int, world *chaos) {
	for i := range 300 {
		in, out := [2]int{caller, i}, [2]int{}
		var opts []client.CallOption
		if i%3 == 0 {
			opts = append(opts, client.Idempotent())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if i%7 == 0 {
			time.AfterFunc(time.Duration(world.n(1000))*time.Millisecond, cancel)
		}
		err := c.Call(ctx, "u", in, &out, opts...)
		cancel()
		switch {
		case err == nil:
			if in != out {
				t.Errorf("call %v got the result of %v", in, out)
			}
		case errors.Is(err, client.ErrUnknownOutcome):
			if i%3 == 0 && !errors.Is(err, context.Canceled) {
				t.Errorf("idempotent call %v: %v", in, err)
			}
		case errors.Is(err, client.CodeUnavailable):
		case errors.Is(err, context.Canceled) && i%7 == 0:
		default:
			t.Errorf("call %v: %v", in, err)
		}
	}
}

// checkEvents reads until the event last.
func checkEvents(t *testing.T, sub *client.Subscription, last int) {
	gaps, got := 0, 0
	gap := false
	for previous := 0; previous != last; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		e, err := sub.Next(ctx)
		cancel()
		if err != nil {
			t.Errorf("after %d: %v", previous, err)
			return
		}
		if e.Gap {
			gap = true
			gaps++
			continue
		}
		var n int
		if err := e.Decode(&n); err != nil {
			t.Error(err)
		}
		switch {
		case n <= previous:
			t.Errorf("%d after %d", n, previous)
		case n > previous+1 && !gap && previous > 0:
			t.Errorf("%d after %d, and no gap", n, previous)
		}
		gap = false
		previous = n
		got++
	}
	t.Logf("%d of %d events, %d gaps", got, last, gaps)
}
