package juggler_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// TestPromisesOfStreams runs random interleavings of answers in parts over a broker that
// delays, doubles, reorders and loses parts and loses grants, with callees that keep to
// their windows and clients that read, ask for more, cancel and leave as they like. It
// checks what docs/protocol.md promises: each call has its ACK, then its parts in order
// and without a hole, then one outcome, and nothing behind it. Where nothing was lost or
// given up, that is the whole answer.
func TestPromisesOfStreams(t *testing.T) {
	slow := juggler.WithAuthorizer(juggler.AuthorizerFunc(func(context.Context, *juggler.Request) error {
		time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
		return nil
	}))
	small := []juggler.Option{juggler.WithStreamWindow(3), juggler.WithMaxMessageBytes(1 << 10), juggler.WithMaxQueueBytes(4 << 10)}
	for name, opts := range map[string][]juggler.Option{"": nil, "user code that blocks": {slow}, "small windows and queues": small} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				synctest.Test(t, func(t *testing.T) { runStreams(t, seed, opts) })
			}
		})
	}
}

// streamsWorld is one random run.
type streamsWorld struct {
	t   *testing.T
	s   *streamServer
	rng *rand.Rand

	mu      sync.Mutex // guards the following
	windows map[broker.Address]broker.Window
	over    map[broker.Address]bool // cancelled
}

func runStreams(t *testing.T, seed uint64, opts []juggler.Option) {
	w := &streamsWorld{t: t, s: newStreamServer(t, append(opts, juggler.WithCallTimeout(5*time.Minute))...), rng: rand.New(rand.NewPCG(seed, 1)),
		windows: make(map[broker.Address]broker.Window), over: make(map[broker.Address]bool)}
	w.s.engine.confirm = make(chan error)
	ctx, stop := context.WithCancel(t.Context())
	var engine, clients sync.WaitGroup
	engine.Go(func() { w.carry(ctx, &engine) })
	for range 3 {
		c := &streamsPeer{w: w, rng: w.fork(), streamClient: w.s.dial(), calls: make(map[string]*streamOutcome)}
		clients.Go(c.act)
		go c.receive() // ends with the connection
		defer c.check()
	}
	clients.Wait()
	time.Sleep(6 * time.Minute) // every call has its outcome now
	stop()
	engine.Wait()
	if n := w.s.h.Stats().Streams; n != 0 {
		t.Errorf("seed %d: %d streams are left", seed, n)
	}
}

func (w *streamsWorld) fork() *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	return rand.New(rand.NewPCG(w.rng.Uint64(), 2))
}

// carry is the engine: it has callees answer calls, and carries grants and cancellations.
func (w *streamsWorld) carry(ctx context.Context, running *sync.WaitGroup) {
	rng := w.fork()
	for {
		select {
		case call := <-w.s.engine.calls:
			w.mu.Lock()
			w.windows[call.ReplyTo] = call.Window
			w.mu.Unlock()
			call.Args = append([]byte(nil), call.Args...)
			running.Go(func() { w.answer(ctx, call) })
			delay := time.Duration(rng.IntN(3)) * time.Millisecond
			running.Go(func() {
				time.Sleep(delay)
				w.s.engine.confirm <- nil
			})
		case g := <-w.s.engine.grants:
			if rng.IntN(3) > 0 { // else it is lost
				w.mu.Lock()
				w.windows[g.To] = g.Window
				w.mu.Unlock()
			}
		case to := <-w.s.engine.cancels:
			w.mu.Lock()
			w.over[to] = true
			w.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// fate is what the args of a call say: how many parts its answer has, and which is lost, 0
// for none.
type fate struct{ parts, lost uint32 }

func (f fate) String() string { return fmt.Sprintf("[%d,%d]", f.parts, f.lost) }

// answer is a callee.
func (w *streamsWorld) answer(ctx context.Context, call broker.Call) {
	rng := w.fork()
	var f fate
	fmt.Sscanf(string(call.Args), "[%d,%d]", &f.parts, &f.lost)
	var sent broker.Window
	later := func(do func()) { // most of it in order
		if rng.IntN(4) > 0 {
			do()
			return
		}
		delay := time.Duration(rng.IntN(5)) * time.Millisecond
		go func() { // ends soon
			time.Sleep(delay)
			do()
		}()
	}
	for sent.Parts < f.parts {
		w.mu.Lock()
		window, over := w.windows[call.ReplyTo], w.over[call.ReplyTo]
		w.mu.Unlock()
		if over && rng.IntN(5) == 0 || ctx.Err() != nil {
			return
		}
		if !window.Takes(sent) {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		args := fmt.Appendf(nil, "%0*d", 1+rng.IntN(300), 0) // zeros
		args[0] = '1'
		sent.Parts++
		sent.Bytes += uint64(len(args))
		p := broker.Part{To: call.ReplyTo, N: sent.Parts, Args: args, Window: window, From: engineCallee}
		for range 1 + rng.IntN(10)/9 { // some twice
			if p.N != f.lost {
				later(func() { w.s.engine.parts([]broker.Part{p}) })
			}
		}
		time.Sleep(time.Duration(rng.IntN(4)/3*rng.IntN(20)) * time.Millisecond)
	}
	for range 1 + rng.IntN(2) {
		later(func() { w.s.engine.end(call.ReplyTo, f.parts) })
	}
}

// streamsPeer is a client that checks what it gets.
type streamsPeer struct {
	*streamClient
	w   *streamsWorld
	rng *rand.Rand

	mu    sync.Mutex // guards the following
	calls map[string]*streamOutcome
	left  bool // this side has closed the connection
}

// streamOutcome is what became of a call.
type streamOutcome struct {
	fate
	acked  bool
	last   uint32
	ended  bool
	gaveUp bool // it was cancelled, or no more parts are asked for
	code   int
}

// act makes calls and asks for parts.
func (c *streamsPeer) act() {
	for n := range 4 {
		id := fmt.Sprint("s", n)
		o := &streamOutcome{fate: fate{parts: uint32(c.rng.IntN(100))}}
		if o.parts > 0 && c.rng.IntN(5) == 0 {
			o.lost = 1 + uint32(c.rng.IntN(int(o.parts)))
		}
		c.mu.Lock()
		c.calls[id] = o
		c.mu.Unlock()
		c.write(fmt.Sprintf(`{"type":"CALL","id":%q,"uri":"f","args":%v,"parts":%d}`, id, o.fate, 1+c.rng.IntN(20)))
	}
	for range 300 {
		time.Sleep(time.Duration(c.rng.IntN(60)) * time.Millisecond)
		id := fmt.Sprint("s", c.rng.IntN(4))
		switch c.rng.IntN(200) {
		case 0:
			c.giveUp(id)
			c.write(fmt.Sprintf(`{"type":"CANCEL","for":%q}`, id))
		case 1:
			if c.rng.IntN(10) == 0 {
				c.mu.Lock()
				c.left = true
				c.mu.Unlock()
				c.conn.Close()
				return
			}
		default:
			c.write(fmt.Sprintf(`{"type":"MORE","for":%q,"parts":%d}`, id, 1+c.rng.IntN(10)))
		}
	}
}

func (c *streamsPeer) write(message string) { c.conn.Write(maskedText(message)) } // a lost connection shows below

func (c *streamsPeer) giveUp(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[id].gaveUp = true
}

// receive takes what comes, at times slowly.
func (c *streamsPeer) receive() {
	rng := c.w.fork()
	var f frame.Frame
	for {
		op, payload, err := c.frame()
		if err != nil || op == ws.OpClose {
			return
		}
		if err := frame.Juggler1.DecodeAnswer(payload, &f); err != nil {
			c.t.Errorf("cannot decode %s: %v", payload, err)
			return
		}
		c.mu.Lock()
		c.take(&f)
		c.mu.Unlock()
		if rng.IntN(20) == 0 {
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		}
	}
}

// take checks one message; c.mu is held.
func (c *streamsPeer) take(f *frame.Frame) {
	o := c.calls[string(f.For)]
	switch {
	case o == nil:
		c.t.Errorf("%v for nothing", f.Type)
	case f.Type == frame.Ack:
		o.acked = true
	case !o.acked || o.ended:
		c.t.Errorf("%v of %s: acked %v, ended %v", f.Type, f.For, o.acked, o.ended)
	case f.Type == frame.Part:
		if o.last++; f.N != int(o.last) {
			c.t.Errorf("part %d of %s, want %d", f.N, f.For, o.last)
		}
	case f.Type == frame.Res:
		o.ended, o.code = true, int(f.Err.Code)
	}
}

// check is called when everything has had its time.
func (c *streamsPeer) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, o := range c.calls {
		switch {
		case c.left:
		case !o.ended:
			c.t.Errorf("%s has no outcome: %+v", id, o)
		case o.code == 0 && o.last != o.parts:
			c.t.Errorf("%s is done with %d of %d parts", id, o.last, o.parts)
		case o.code == 502 && o.lost == 0:
			c.t.Errorf("%s lacks a part, but none was lost", id)
		case o.code == 0 && o.lost != 0:
			c.t.Errorf("%s is whole, but part %d was lost", id, o.lost)
		case o.code != 0 && o.code != 502 && o.code != 429 && !o.gaveUp:
			c.t.Errorf("%s has ended with %d", id, o.code)
		}
	}
}
