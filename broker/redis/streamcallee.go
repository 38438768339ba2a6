package redis

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// OpenStreamCallee implements [broker.StreamCallee].
func (b *Broker) OpenStreamCallee(ctx context.Context, uris []string, cancelled func([]broker.Address), granted func([]broker.Grant)) (broker.StreamCalleeConn, error) {
	c, err := b.openCallee(ctx, uris, cancelled, granted)
	if err != nil {
		return nil, wrap("open callee of", strings.Join(uris, ", "), err)
	}
	return c, nil
}

// SendPart implements [broker.StreamCalleeConn].
func (c *calleeConn) SendPart(ctx context.Context, p *broker.Part) error {
	return wrap("send a part for", c.id, c.sendPart(ctx, p))
}

func (c *calleeConn) sendPart(ctx context.Context, p *broker.Part) error {
	if isKeyed(p.To.Node) {
		return c.appendPart(ctx, p)
	}
	l := c.broker.lane(c.broker.keys.laneOfNode(p.To.Node))
	if l == nil {
		return broker.ErrClosed
	}
	if _, err := c.takesParts(p.To); err != nil {
		return err
	}
	if err := c.grants.hear(ctx, l); err != nil {
		return err
	}
	o := &op{kind: opPart, node: p.To.Node, value: encodePart(p, c.ulid), waiter: newWaiter(1)}
	l.writer.Submit(o)
	if err := o.waiter.wait(ctx); err != nil {
		return err
	}
	if o.err == nil || o.err == errNodeMissing {
		if gone := c.found(l, p.To.Node, o.err == nil); gone {
			c.orphansOf(p.To.Node)
			return broker.ErrCallOver
		}
	}
	return o.err
}

// appendPart sends a part of the answer to a call with a key: its record keeps it.
func (c *calleeConn) appendPart(ctx context.Context, p *broker.Part) error {
	l, err := c.takesParts(p.To)
	if err != nil {
		return err
	}
	o := &op{kind: opAppend, node: p.To.Node, value: bytes.Clone(p.Args), keyed: &keyedOp{to: p.To, n: p.N}, waiter: newWaiter(1)}
	l.writer.Submit(o)
	if err := o.waiter.wait(ctx); err != nil {
		return err
	}
	return o.err
}

// takesParts returns nil if parts of the answer to a call may be sent, and the lane that the
// call came from.
func (c *calleeConn) takesParts(to broker.Address) (*lane, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, broker.ErrClosed
	}
	h := c.held[to]
	if c.grants == nil || h == nil || !h.parted() || time.Now().After(h.deadline) {
		return nil, broker.ErrCallOver
	}
	return h.puller.lane, nil
}

// grants are what a callee hears of greater windows: for each lane that has nodes which it
// sends parts to, a channel. Nodes and their parts go through that lane, too, so no other
// lane holds a stream up.
type grants struct {
	conn    *calleeConn
	granted func([]broker.Grant)
	lanes   []grantsLane

	mu     sync.Mutex // held during a callback; guards closed
	closed bool
}

type grantsLane struct{ asked, heard atomic.Bool }

func newGrants(c *calleeConn, granted func([]broker.Grant)) *grants {
	return &grants{conn: c, granted: granted, lanes: make([]grantsLane, len(c.broker.keys.tags))}
}

func (g *grants) subject(lane int) subject {
	keys := g.conn.broker.keys
	return subject{name: keys.grantsChannel(lane, g.conn.ulid), kind: keys.kind()}
}

// hear returns nil once the callee hears what the nodes of a lane grant.
func (g *grants) hear(ctx context.Context, l *lane) error {
	own := &g.lanes[l.index]
	if own.heard.Load() {
		return nil
	}
	own.asked.Store(true)
	moment, cancel := context.WithTimeout(ctx, l.broker.config.replyTimeout/2)
	defer cancel()
	err := l.broker.hub.await(moment, g.subject(l.index), g)
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	switch {
	case closed: // meanwhile, and stop did not know of it
		l.broker.hub.unsubscribe(g.subject(l.index), g)
		return broker.ErrClosed
	case err == nil:
		own.heard.Store(true)
	case moment.Err() != nil && ctx.Err() == nil:
		return notDone(err)
	}
	return err
}

// message implements [listener].
func (g *grants) message(_ subject, name, payload string) {
	all, err := decodeGrants(g.conn.ulid, payload)
	if err != nil {
		g.conn.broker.corrupt(name, err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if all = g.conn.streaming(all); len(all) > 0 && !g.closed {
		g.granted(all)
	}
}

// gap implements [listener]. Grants are a best effort.
func (g *grants) gap(subject) {}

// streaming returns those grants that are for calls held here.
func (c *calleeConn) streaming(all []broker.Grant) []broker.Grant {
	c.mu.Lock()
	defer c.mu.Unlock()
	ours := all[:0]
	for _, g := range all {
		if h := c.held[g.To]; h != nil && h.parted() {
			ours = append(ours, g)
		}
	}
	return ours
}

// stop returns when the callback has returned, which comes no more.
func (g *grants) stop() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	for i := range g.lanes {
		if g.lanes[i].asked.Load() {
			g.conn.broker.hub.unsubscribe(g.subject(i), g)
		}
	}
}
