package jugglertest

import (
	"context"
	"sync/atomic"

	"github.com/juggler-go/juggler/broker"
)

var (
	_ broker.StreamCaller = (*Broker)(nil)
	_ broker.StreamCallee = (*Broker)(nil)
)

// LoseParts makes the next n parts of answers get lost, whichever calls they belong to, as
// happens when Redis loses data: their callees learn nothing, and a call of which a part
// is missing ends in 502, two seconds after the next part or the result.
func (b *Broker) LoseParts(n int) { b.lostParts.Store(int64(n)) }

// LoseGrants makes the next n messages get lost that tell callees of more room for parts.
// Streams go on all the same, later: such messages are repeated.
func (b *Broker) LoseGrants(n int) { b.lostGrants.Store(int64(n)) }

// loses reports whether one more is to be lost of what is left to be lost.
func loses(left *atomic.Int64) bool {
	for n := left.Load(); n > 0; n = left.Load() {
		if left.CompareAndSwap(n, n-1) {
			return true
		}
	}
	return false
}

// OpenStreamCaller implements broker.StreamCaller. If the broker behind b is none, there
// are no parts.
func (b *Broker) OpenStreamCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part)) (broker.StreamCallerConn, error) {
	s, ok := b.roles.(broker.StreamCaller)
	return b.openCaller(func() (broker.CallerConn, error) {
		if !ok {
			return b.roles.OpenCaller(ctx, node, deliver)
		}
		return s.OpenStreamCaller(ctx, node, deliver, parts)
	})
}

// Grant implements broker.StreamCallerConn.
func (c *callerConn) Grant(ctx context.Context, grants []broker.Grant) error {
	if err := c.b.err("grant"); err != nil {
		return err
	}
	s, ok := c.CallerConn.(broker.StreamCallerConn)
	if !ok || loses(&c.b.lostGrants) {
		return nil
	}
	return s.Grant(ctx, grants)
}

// OpenStreamCallee implements broker.StreamCallee. If the broker behind b is none, no call
// has a Window.
func (b *Broker) OpenStreamCallee(ctx context.Context, uris []string, cancelled func([]broker.Address), granted func([]broker.Grant)) (broker.StreamCalleeConn, error) {
	s, ok := b.roles.(broker.StreamCallee)
	if !ok {
		conn, err := b.OpenCallee(ctx, uris, cancelled)
		if err != nil {
			return nil, err
		}
		return wholeCallee{conn}, nil
	}
	if err := b.err("open callee"); err != nil {
		return nil, err
	}
	conn, err := s.OpenStreamCallee(ctx, uris, cancelled, granted)
	if err != nil {
		return nil, err
	}
	return &calleeConn{conn, b}, nil
}

type calleeConn struct {
	broker.StreamCalleeConn
	b *Broker
}

// SendPart implements broker.StreamCalleeConn.
func (c *calleeConn) SendPart(ctx context.Context, p *broker.Part) error {
	if err := c.b.err("send a part"); err != nil {
		return err
	}
	if loses(&c.b.lostParts) {
		return nil
	}
	return c.StreamCalleeConn.SendPart(ctx, p)
}

// A wholeCallee answers each call as a whole.
type wholeCallee struct{ broker.CalleeConn }

// Take implements broker.CalleeConn.
func (c wholeCallee) Take(ctx context.Context, dst []broker.Call) (int, error) {
	n, err := c.CalleeConn.Take(ctx, dst)
	for i := range dst[:n] {
		dst[i].Window = broker.Window{}
	}
	return n, err
}

// SendPart implements broker.StreamCalleeConn.
func (wholeCallee) SendPart(context.Context, *broker.Part) error { return broker.ErrCallOver }
