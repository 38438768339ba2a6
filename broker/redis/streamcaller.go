package redis

import (
	"context"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/oklog/ulid/v2"
)

// OpenStreamCaller implements [broker.StreamCaller].
func (b *Broker) OpenStreamCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part)) (broker.StreamCallerConn, error) {
	c, err := b.openCaller(ctx, node, deliver, parts, nil)
	if err != nil {
		return nil, wrap("open caller", ulid.ULID(node).String(), err)
	}
	return c, nil
}

// takeParts returns call, which has a Window, as it is to be queued. Parts are read from the
// first such call on. If nobody takes them the call has no Window.
func (c *callerConn) takeParts(call *broker.Call) *broker.Call {
	switch {
	case c.parts == nil:
		plain := *call
		plain.Window = broker.Window{}
		return &plain
	case c.reader.Load() == nil:
		c.startParts()
	}
	return call
}

func (c *callerConn) startParts() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() || c.reader.Load() != nil {
		return
	}
	r := newPartsReader(c)
	c.reader.Store(r)
	r.start()
}

func (c *callerConn) stopParts() {
	c.mu.Lock()
	r := c.reader.Load() // none is made any more, since closed is set
	c.mu.Unlock()
	if r != nil {
		r.stop()
	}
}

// renewParts returns commands that keep parts that wait for the node.
func (c *callerConn) renewParts() []*resp.Command {
	keys := c.broker.keys
	return []*resp.Command{
		resp.NewCommand("PEXPIRE", keys.parts(c.home.index, c.node), partsFor),
		resp.NewCommand("PEXPIRE", keys.partsBytes(c.home.index, c.node), partsFor),
		resp.NewCommand("PEXPIRE", keys.partsReader(c.home.index, c.node), partsFor),
	}
}

// forgetParts returns commands that delete the parts that wait for the node, and say that it
// is gone on purpose: callees that send it more need not wait whether it comes back.
func (c *callerConn) forgetParts() []*resp.Command {
	keys := c.broker.keys
	return []*resp.Command{
		resp.NewCommand("DEL", keys.parts(c.home.index, c.node), keys.partsToken(c.home.index, c.node), keys.partsReader(c.home.index, c.node)),
		resp.NewCommand("SET", keys.partsBytes(c.home.index, c.node), partsClosed, "PX", partsFor),
	}
}

// Grant implements [broker.StreamCallerConn]. Grants go through the lane of the node, as
// the parts do that they are for, and each callee gets one message.
func (c *callerConn) Grant(ctx context.Context, grants []broker.Grant) error {
	return wrap("grant more to the callees of", ulid.ULID(c.node).String(), c.grant(ctx, grants))
}

func (c *callerConn) grant(ctx context.Context, grants []broker.Grant) error {
	if c.closed.Load() {
		return broker.ErrClosed
	}
	var ops []*op
	w := newWaiter(0)
	byCallee := map[broker.ID]*op{}
	for i := range grants {
		callee := grants[i].Callee
		o := byCallee[callee]
		if o == nil {
			o = &op{kind: opEvent, uri: c.broker.keys.grantsChannel(c.home.index, callee), waiter: w}
			byCallee[callee], ops = o, append(ops, o)
		}
		o.value = appendGrant(o.value, &grants[i])
	}
	if len(ops) == 0 {
		return nil
	}
	w.left.Store(int32(len(ops)))
	c.home.writer.Submit(ops...)
	if err := w.wait(ctx); err != nil {
		return err
	}
	for _, o := range ops {
		if o.err != nil {
			return o.err
		}
	}
	return nil
}
