package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/juggler-go/juggler/broker"
)

// wide is a window that no case fills.
var wide = broker.Window{Parts: 1 << 20, Bytes: 1 << 30}

// A streamNode is a node that takes answers in parts.
type streamNode struct {
	*node
	conn broker.StreamCallerConn

	mu    sync.Mutex // guards the following
	parts map[broker.Address][]broker.Part
	hook  func(broker.Part) // called in the callback, if not nil
}

// streamNode opens a streamNode; the end of the case closes it.
func (x *trial) streamNode(r Roles) *streamNode {
	n := &streamNode{
		node:  &node{lifeline: lifeline{x: x, name: "StreamCallerConn"}, id: newID()},
		parts: make(map[broker.Address][]broker.Part),
	}
	x.must("OpenStreamCaller", x.within(func(ctx context.Context) (err error) {
		n.conn, err = r.Caller.(broker.StreamCaller).OpenStreamCaller(ctx, n.id, n.deliver, n.onParts)
		n.node.conn = n.conn
		return err
	}))
	x.cleanup(n.close)
	return n
}

// onParts keeps the first of each number, and refuses those that come out of order.
func (n *streamNode) onParts(parts []broker.Part) {
	defer n.callback()()
	n.mu.Lock()
	for _, p := range parts {
		got := n.parts[p.To]
		switch {
		case p.To.Node != n.id:
			n.x.errorf("a part of a call of another node arrived")
		case int(p.N) == len(got)+1:
			p.Args = bytes.Clone(p.Args)
			n.parts[p.To] = append(got, p)
		case p.N == 0 || int(p.N) > len(got):
			n.x.errorf("part %d arrived behind part %d", p.N, len(got))
		case !bytes.Equal(p.Args, got[p.N-1].Args):
			n.x.errorf("part %d arrived as %.40q, and again as %.40q", p.N, got[p.N-1].Args, p.Args)
		}
	}
	hook := n.hook
	n.mu.Unlock()
	if hook != nil {
		for _, p := range parts {
			p.Args = bytes.Clone(p.Args)
			hook(p)
		}
	}
}

func (n *streamNode) setPartHook(hook func(broker.Part)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = hook
}

// stream makes a call whose answer may come in parts, which must succeed.
func (n *streamNode) stream(uri string, w broker.Window) broker.Address {
	c := broker.Call{URI: uri, ReplyTo: n.address(), Timeout: longEnough, Window: w}
	n.x.must("Call of "+uri, n.send(&c))
	return c.ReplyTo
}

// grant grants one window.
func (n *streamNode) grant(g broker.Grant) {
	n.x.must("Grant", n.x.within(func(ctx context.Context) error { return n.conn.Grant(ctx, []broker.Grant{g}) }))
}

// partsOf returns what has arrived of a call.
func (n *streamNode) partsOf(to broker.Address) []broker.Part {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.parts[to]
}

// awaitParts waits until so many parts of a call have arrived.
func (n *streamNode) awaitParts(to broker.Address, count int) []broker.Part {
	if !n.x.poll(func() bool { return len(n.partsOf(to)) >= count }) {
		n.x.fatalf("%d of %d parts arrived in %v", len(n.partsOf(to)), count, n.x.patience)
	}
	return n.partsOf(to)
}

// wantParts waits for the parts that have these arguments.
func (n *streamNode) wantParts(to broker.Address, want ...string) []broker.Part {
	got := n.awaitParts(to, len(want))
	for i := range want {
		if string(got[i].Args) != want[i] {
			n.x.errorf("part %d arrived as %.40q, it was sent as %.40q", i+1, got[i].Args, want[i])
		}
	}
	return got
}

// A streamCallee is a callee that answers in parts.
type streamCallee struct {
	*callee
	conn broker.StreamCalleeConn

	taking sync.Mutex // of those that take in turn

	mu      sync.Mutex // guards the following
	granted map[broker.Address]broker.Window
}

// streamCallee opens a streamCallee; the end of the case closes it.
func (x *trial) streamCallee(r Roles, uris ...string) *streamCallee {
	c := &streamCallee{
		callee:  &callee{lifeline: lifeline{x: x, name: "StreamCalleeConn"}},
		granted: make(map[broker.Address]broker.Window),
	}
	x.must("OpenStreamCallee", x.within(func(ctx context.Context) (err error) {
		c.conn, err = r.Callee.(broker.StreamCallee).OpenStreamCallee(ctx, uris, c.onCancelled, c.onGranted)
		c.callee.conn = c.conn
		return err
	}))
	x.cleanup(c.close)
	return c
}

func (c *streamCallee) onGranted(grants []broker.Grant) {
	defer c.callback()()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range grants {
		c.granted[g.To] = c.granted[g.To].Union(g.Window)
	}
}

// knows returns the greatest window of a call that the callee was told of.
func (c *streamCallee) knows(to broker.Address) broker.Window {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.granted[to]
}

// trySend sends a part, again and again while there is no room.
func (c *streamCallee) trySend(to broker.Address, n uint32, args string) error {
	var err error
	c.x.poll(func() bool {
		p := broker.Part{To: to, N: n, Args: []byte(args), Window: wide}
		err = c.x.within(func(ctx context.Context) error { return c.conn.SendPart(ctx, &p) })
		return !errors.Is(err, broker.ErrQueueFull)
	})
	return err
}

// send sends a part, which must succeed.
func (c *streamCallee) send(to broker.Address, n uint32, args string) {
	c.x.must(fmt.Sprintf("SendPart of part %d", n), c.trySend(to, n, args))
}

// wantOver sends parts from number n on, until SendPart says that the call is over.
func (c *streamCallee) wantOver(to broker.Address, n uint32, what string) {
	var err error
	told := c.x.poll(func() bool {
		err = c.trySend(to, n, "late")
		n++
		return err != nil
	})
	if !told || !errors.Is(err, broker.ErrCallOver) {
		c.x.errorf("SendPart for a call that %s returned %v, for %v", what, err, c.x.patience)
	}
}

// finish answers a call behind its parts.
func (c *streamCallee) finish(to broker.Address, parts uint32) {
	c.reply(broker.Result{To: to, Args: []byte(`"end"`), Parts: parts})
}
