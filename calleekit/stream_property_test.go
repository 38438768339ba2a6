package calleekit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
)

// A streamWorld is many streams at once on a broker that fails at random, and what must be
// true of them.
type streamWorld struct {
	t *testing.T
	s *system

	first    broker.Window // of each call
	granting sync.WaitGroup

	mu     sync.Mutex // guards the following
	random *rand.Rand
	calls  map[broker.Address]*streamModel
}

// A streamModel is one call.
type streamModel struct {
	granted broker.Window
	stored  []string // the parts, each once
	sent    []string // by Sends that have returned nil
	unsure  []string // by Sends that were given up
}

// Whatever the broker refuses, loses the answer to and grants, and whenever functions give
// up: parts come in order, each once or repeated by its number, none is left out, and never
// more than the caller takes. What was sent arrives, and what was given up only at its
// place.
func TestPromisesOfSend(t *testing.T) {
	for seed := range uint64(15) {
		synctest.Test(t, func(t *testing.T) {
			w := &streamWorld{
				t: t, s: newSystem(t), random: rand.New(rand.NewPCG(seed, 0)), calls: map[broker.Address]*streamModel{},
			}
			w.run()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}

func (w *streamWorld) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

func (w *streamWorld) run() {
	c := w.s.callee(answerer{w.s, w.store}, calleekit.WithConcurrency(1+w.intN(8)))
	c.Handle("f", w.answer)
	w.s.start(c)
	w.first = broker.Window{Parts: uint32(1 + w.intN(4)), Bytes: uint64(1 + w.intN(20))}
	var requests []*request
	for i := range 10 {
		r := w.s.make(broker.Call{URI: "f", Args: fmt.Append(nil, w.intN(30)), Timeout: time.Hour, Window: w.first})
		requests = append(requests, r)
		w.granting.Go(func() { w.grantOn(r, i%4 == 3) })
	}
	for _, r := range requests {
		w.check(r.to, <-r.result)
	}
	w.granting.Wait()
}

func (w *streamWorld) model(to broker.Address) *streamModel {
	if w.calls[to] == nil {
		w.calls[to] = &streamModel{granted: w.first}
	}
	return w.calls[to]
}

// grantOn grants more and more, until the call is surely over, or cancels it in between.
func (w *streamWorld) grantOn(r *request, cancels bool) {
	for range 60 {
		time.Sleep(time.Duration(w.intN(2000)) * time.Millisecond)
		w.mu.Lock()
		m := w.model(r.to)
		m.granted.Parts += uint32(w.random.IntN(3))
		m.granted.Bytes += uint64(w.random.IntN(20))
		more := m.granted
		w.mu.Unlock()
		r.grant(more)
		if cancels && w.intN(20) == 0 {
			r.cancel()
			// A caller that cancels has its own outcome.
			select {
			case r.result <- broker.Result{To: r.to, Err: &broker.Error{Code: calleekit.CodeCancelled}}:
			default:
			}
			return
		}
	}
	w.mu.Lock()
	w.model(r.to).granted = wide
	w.mu.Unlock()
	r.grant(wide)
}

// answer sends as many parts as the arguments say. Some Sends have little time.
func (w *streamWorld) answer(ctx context.Context, c *calleekit.Call) (any, error) {
	var n int
	fmt.Sscan(string(c.Args), &n)
	var m *streamModel
	for i := range n {
		v := string(fmt.Appendf(nil, `"%s.%d"`, c.Args, i))
		sending, cancel := ctx, context.CancelFunc(func() {})
		if w.intN(5) == 0 {
			sending, cancel = context.WithTimeout(ctx, time.Duration(w.intN(300))*time.Millisecond)
		}
		err := c.Send(context.WithValue(sending, ctxKey{}, &m), v[1:len(v)-1])
		cancel()
		w.mu.Lock()
		switch {
		case m == nil: // it never came to the broker
		case err == nil:
			m.sent = append(m.sent, v)
		default:
			m.unsure = append(m.unsure, v)
		}
		w.mu.Unlock()
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	return n, nil
}

// store stores a part, or not, and says so, or not.
func (w *streamWorld) store(ctx context.Context, p *broker.Part, store func() error) error {
	w.mu.Lock()
	m := w.model(p.To)
	if known, ok := ctx.Value(ctxKey{}).(**streamModel); ok {
		*known = m
	}
	var before broker.Window
	for _, args := range m.stored[:min(len(m.stored), int(p.N)-1)] {
		before.Parts++
		before.Bytes += uint64(len(args))
	}
	if !p.Window.Takes(before) {
		w.t.Errorf("part %d was sent behind %v, the window is %v", p.N, before, p.Window)
	}
	if p.Window.Union(m.granted) != m.granted {
		w.t.Errorf("part %d says that the window is %v, granted was %v", p.N, p.Window, m.granted)
	}
	fate := w.random.IntN(10)
	if fate >= 3 || fate == 0 {
		switch {
		case int(p.N) == len(m.stored)+1:
			m.stored = append(m.stored, string(p.Args))
		case p.N < 1 || int(p.N) > len(m.stored) || m.stored[p.N-1] != string(p.Args):
			w.t.Errorf("part %d is %s, %q are stored", p.N, p.Args, m.stored)
		}
	}
	w.mu.Unlock()
	switch fate {
	case 0:
		store()
		return broker.ErrUnknownOutcome
	case 1:
		return []error{broker.ErrUnknownOutcome, broker.ErrUnavailable, broker.ErrQueueFull}[p.N%3]
	case 2:
		time.Sleep(10 * time.Millisecond)
		return broker.ErrQueueFull
	case 3:
		time.Sleep(10 * time.Millisecond)
	}
	return store()
}

// check compares what was stored of a call that is over with what was sent.
func (w *streamWorld) check(to broker.Address, res broker.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.model(to)
	rest := slices.Clone(m.stored)
	for i, v := range m.sent {
		at := slices.Index(rest, v)
		if at < 0 {
			w.t.Errorf("part %s was sent, but is not stored, or out of order", v)
			return
		}
		for _, between := range rest[:at] {
			if !slices.Contains(m.unsure, between) {
				w.t.Errorf("between the parts sent, part %d of which is %s, there is %s", i, v, between)
			}
		}
		rest = rest[at+1:]
	}
	if res.Err != nil {
		if res.Err.Code != calleekit.CodeCancelled {
			w.t.Errorf("the call ended in %+v", res.Err)
		}
		return
	}
	// A part behind them whose Send was given up may be stored and does not count.
	if n := int(res.Parts); n != len(m.stored) && n != len(m.stored)-1 {
		w.t.Errorf("the result says %d parts, %d are stored", n, len(m.stored))
	}
}
