package brokertest_test

import (
	"context"

	"github.com/juggler-go/juggler/broker"
)

func (b bentCaller) OpenKeyedCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part), news func([]broker.CallKey)) (broker.KeyedCallerConn, error) {
	if b.h.openKeyedCaller != nil {
		b.h.openKeyedCaller(news)
	}
	conn, err := b.next.(broker.KeyedCaller).OpenKeyedCaller(ctx, node, b.bendResults(node, deliver), b.bendParts(parts), func(keys []broker.CallKey) {
		if b.h.news != nil {
			b.h.news(keys, news)
		} else {
			news(keys)
		}
	})
	return bentCallerConn{conn, b.h}, err
}

func (b bentCallerConn) keyed() broker.KeyedCallerConn { return b.next.(broker.KeyedCallerConn) }

func (b bentCallerConn) Attach(ctx context.Context, a *broker.Attachment) error {
	next := func(a *broker.Attachment) error { return b.keyed().Attach(ctx, a) }
	if b.h.attach != nil {
		return b.h.attach(b.keyed(), a, next)
	}
	return next(a)
}

func (b bentCallerConn) ReadCalls(ctx context.Context, reads []broker.CallRead, records []broker.CallRecord) {
	next := func(reads []broker.CallRead) { b.keyed().ReadCalls(ctx, reads, records) }
	if b.h.readCalls != nil {
		b.h.readCalls(reads, records, next)
	} else {
		next(reads)
	}
}

func (b bentCallerConn) Stop(ctx context.Context, uri string, key broker.CallKey) error {
	next := func() error { return b.keyed().Stop(ctx, uri, key) }
	if b.h.stop != nil {
		return b.h.stop(next)
	}
	return next()
}
