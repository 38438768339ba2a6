package memory

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

var (
	_ broker.StreamCaller     = (*Broker)(nil)
	_ broker.StreamCallee     = (*Broker)(nil)
	_ broker.StreamCallerConn = (*callerConn)(nil)
	_ broker.StreamCalleeConn = (*calleeConn)(nil)
)

// OpenStreamCaller implements [broker.StreamCaller]. deliver and parts must not wait.
func (b *Broker) OpenStreamCaller(_ context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part)) (broker.StreamCallerConn, error) {
	if parts == nil {
		return nil, errors.New("memory: open caller: parts is nil")
	}
	c, err := b.openCaller(node, callerFuncs{deliver: deliver, parts: parts})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// OpenStreamCallee implements [broker.StreamCallee]. cancelled runs on a goroutine of its
// own and may wait; granted must not wait.
func (b *Broker) OpenStreamCallee(_ context.Context, uris []string, cancelled func([]broker.Address), granted func([]broker.Grant)) (broker.StreamCalleeConn, error) {
	if cancelled == nil || granted == nil {
		return nil, errors.New("memory: open callee: cancelled or granted is nil")
	}
	c, err := b.openCallee(uris, cancelled, granted)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// newCalleeID returns what parts name their callee by. The broker itself finds callees by
// their calls.
func newCalleeID() (id broker.ID) {
	rand.Read(id[:])
	return id
}

// streams reports whether the answer may come in parts.
func (k *call) streams() bool { return !k.window.IsZero() }

// grant raises the window of k, and reports whether that made it greater.
func (k *call) grant(w broker.Window) bool {
	greater := k.window.Union(w)
	if greater == k.window {
		return false
	}
	k.window = greater
	return true
}

// Grant implements [broker.StreamCallerConn]. It tells the callees before it returns.
func (c *callerConn) Grant(_ context.Context, grants []broker.Grant) error {
	for i := range grants {
		callee, err := c.grant(&grants[i])
		if err != nil {
			return err
		}
		if callee != nil && callee.gate.enter() {
			callee.tellGranted(grants[i : i+1 : i+1])
		}
	}
	return nil
}

// grant raises the window of a call, and returns the callee that is to be told, if any:
// a call that is not taken yet brings its window along.
func (c *callerConn) grant(g *broker.Grant) (*calleeConn, error) {
	r := c.rpc
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || c.closed {
		return nil, broker.ErrClosed
	}
	k := r.calls.find(&g.To)
	if k == nil || k.caller != c || !k.streams() || !k.grant(g.Window) {
		return nil, nil
	}
	if !k.isTaken() || k.cancelled || k.callee.granted == nil {
		return nil, nil
	}
	return k.callee, nil
}

// tellGranted leaves the gate, also when granted panics.
func (c *calleeConn) tellGranted(grants []broker.Grant) {
	defer c.gate.leave()
	c.granted(grants)
}

// partPool has the slices in which parts are delivered, one part in each.
var partPool = sync.Pool{New: func() any { return new([1]broker.Part) }}

// SendPart implements [broker.StreamCalleeConn]. It delivers p to its node before it
// returns.
func (c *calleeConn) SendPart(_ context.Context, p *broker.Part) error {
	caller, err := c.takerOf(p, c.rpc.now())
	if err != nil {
		return err
	}
	if !caller.gate.enter() {
		return broker.ErrCallOver
	}
	defer caller.gate.leave()
	one := partPool.Get().(*[1]broker.Part)
	one[0] = *p
	one[0].From = c.id
	caller.parts(one[:])
	one[0] = broker.Part{}
	partPool.Put(one)
	return nil
}

// takerOf returns the caller that takes p at the time now.
func (c *calleeConn) takerOf(p *broker.Part, now time.Duration) (*callerConn, error) {
	r := c.rpc
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.closed {
		return nil, broker.ErrClosed
	}
	k := r.calls.find(&p.To)
	if k == nil || k.callee != c || !k.isTaken() || k.cancelled || !k.streams() || c.granted == nil || k.deadline <= now {
		return nil, broker.ErrCallOver
	}
	return k.caller, nil
}

// cancelStreams cancels the calls of c, which has closed, whose answers come in parts:
// nobody takes these. Its other calls are answered all the same. The caller holds rpc.mu.
func (c *callerConn) cancelStreams() {
	r := c.rpc
	for _, q := range r.queues {
		for k := q.calls.head; k != nil; {
			next := k.next
			c.cancelStream(k)
			k = next
		}
	}
	for callee := range r.callees {
		if k := callee.handed; k != nil {
			c.cancelStream(k)
		}
		for k := callee.taken.head; k != nil; k = k.next {
			c.cancelStream(k)
		}
	}
}

func (c *callerConn) cancelStream(k *call) {
	if k.caller == c && k.streams() {
		c.rpc.cancel(k)
	}
}
