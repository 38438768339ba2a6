package brokertest_test

import (
	"context"

	"github.com/juggler-go/juggler/broker"
)

func (b bentCaller) OpenStreamCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part)) (broker.StreamCallerConn, error) {
	conn, err := b.next.(broker.StreamCaller).OpenStreamCaller(ctx, node, b.bendResults(node, deliver), b.bendParts(parts))
	return bentCallerConn{conn, b.h}, err
}

func (b bentCaller) bendParts(parts func([]broker.Part)) func([]broker.Part) {
	return func(batch []broker.Part) {
		if b.h.parts != nil {
			b.h.parts(batch, parts)
		} else {
			parts(batch)
		}
	}
}

func (b bentCallerConn) Grant(ctx context.Context, grants []broker.Grant) error {
	next := func(grants []broker.Grant) error { return b.next.(broker.StreamCallerConn).Grant(ctx, grants) }
	if b.h.grant != nil {
		return b.h.grant(grants, next)
	}
	return next(grants)
}

func (b bentCallee) OpenStreamCallee(ctx context.Context, uris []string, cancelled func([]broker.Address), granted func([]broker.Grant)) (broker.StreamCalleeConn, error) {
	if b.h.openStreamCallee != nil {
		b.h.openStreamCallee(granted)
	}
	conn, err := b.next.(broker.StreamCallee).OpenStreamCallee(ctx, uris, b.bendCancelled(cancelled), func(grants []broker.Grant) {
		if b.h.granted != nil {
			b.h.granted(grants, granted)
		} else {
			granted(grants)
		}
	})
	return bentCalleeConn{conn, b.h}, err
}

func (b bentCalleeConn) SendPart(ctx context.Context, p *broker.Part) error {
	next := func(p *broker.Part) error { return b.next.(broker.StreamCalleeConn).SendPart(ctx, p) }
	if b.h.sendPart != nil {
		return b.h.sendPart(p, next)
	}
	return next(p)
}
