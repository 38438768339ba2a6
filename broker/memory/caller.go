package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// OpenCaller implements [broker.Caller]. deliver must not wait. It is an error
// to open a node that is open.
func (b *Broker) OpenCaller(_ context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	c, err := b.openCaller(node, callerFuncs{deliver: deliver})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// openCaller opens a node, one that takes answers in parts if there is a func for these.
func (b *Broker) openCaller(node broker.ID, funcs callerFuncs) (*callerConn, error) {
	if funcs.deliver == nil {
		return nil, errors.New("memory: open caller: deliver is nil")
	}
	r := &b.rpc
	c := newCallerConn(r, node, funcs)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, broker.ErrClosed
	}
	if r.callers[node] != nil {
		return nil, fmt.Errorf("memory: open caller: node %x is open", node)
	}
	r.callers[node] = c
	return c, nil
}

// A callerConn is a node that calls.
type callerConn struct {
	rpc  *rpc
	node broker.ID
	callerFuncs
	gate   gate     // of callerFuncs
	keeps  *records // of the keeper, else nil
	closed bool     // guarded by rpc.mu
	ended  chan struct{}
	end    sync.Once // closes ended
}

// callerFuncs are the callbacks of a node.
type callerFuncs struct {
	deliver func([]broker.Result)
	parts   func([]broker.Part)    // nil: its calls have no Window
	news    func([]broker.CallKey) // nil: it makes no calls with keys
}

func newCallerConn(r *rpc, node broker.ID, funcs callerFuncs) *callerConn {
	c := &callerConn{rpc: r, node: node, callerFuncs: funcs, ended: make(chan struct{})}
	c.gate.init()
	return c
}

var (
	_ broker.Immediate   = (*callerConn)(nil)
	_ broker.BatchCaller = (*callerConn)(nil)
	_ broker.Ender       = (*callerConn)(nil)
)

// Immediate implements [broker.Immediate].
func (c *callerConn) Immediate() {}

// Ended implements [broker.Ender].
func (c *callerConn) Ended() <-chan struct{} { return c.ended }

// check returns the error for a request that no state of the broker allows.
func (c *callerConn) check(req *broker.Call) error {
	if req.ReplyTo.Node != c.node {
		return fmt.Errorf("memory: call %s: the address is of another node", req.URI)
	}
	if req.Timeout <= 0 {
		return fmt.Errorf("memory: call %s: timeout %v is not more than 0", req.URI, req.Timeout)
	}
	return nil
}

// Call implements [broker.CallerConn].
func (c *callerConn) Call(_ context.Context, req *broker.Call) error {
	return c.call(req, c.rpc.now(), nil)
}

// call is Call at the time now, for a loan or for none.
func (c *callerConn) call(req *broker.Call, now time.Duration, l *loanConn) error {
	if err := c.check(req); err != nil {
		return err
	}
	r := c.rpc
	k := r.pool.get(c, req, now)
	r.mu.Lock()
	err := r.submit(k, req.URI, now, l)
	r.mu.Unlock()
	if err != nil {
		r.pool.put(k)
	}
	return err
}

// CallBatch implements [broker.BatchCaller].
func (c *callerConn) CallBatch(_ context.Context, calls []broker.Call, errs []error) {
	r := c.rpc
	now := r.now()
	var batch callList
	for i := range calls {
		if errs[i] = c.check(&calls[i]); errs[i] == nil {
			batch.pushBack(r.pool.get(c, &calls[i], now))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range calls {
		if errs[i] != nil {
			continue
		}
		k := batch.head
		batch.remove(k)
		if errs[i] = r.submit(k, calls[i].URI, now, nil); errs[i] != nil {
			r.pool.put(k)
		}
	}
}

// Cancel implements [broker.CallerConn].
func (c *callerConn) Cancel(_ context.Context, _ string, to broker.Address) error {
	r := c.rpc
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || c.closed {
		return broker.ErrClosed
	}
	if k := r.calls.find(&to); k != nil && k.caller == c {
		r.cancel(k)
	}
	return nil
}

// answer delivers results of this node's calls, unless it has closed. The
// caller holds no lock.
func (c *callerConn) answer(results []broker.Result) {
	if c.gate.enter() {
		defer c.gate.leave()
		c.deliver(results)
	}
}

// Close implements [broker.CallerConn]. Calls that are queued are taken all
// the same, unless their answers come in parts: these are cancelled.
func (c *callerConn) Close() error {
	r := c.rpc
	r.mu.Lock()
	if !c.closed {
		c.closed = true
		if c.parts != nil {
			c.cancelStreams()
		}
	}
	r.mu.Unlock()
	c.gate.close()
	c.end.Do(func() { close(c.ended) })
	r.mu.Lock() // until now Broker.Close had to find it, to wait as well
	defer r.mu.Unlock()
	if r.callers[c.node] == c {
		delete(r.callers, c.node)
	}
	return nil
}
