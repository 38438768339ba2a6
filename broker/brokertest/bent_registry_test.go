package brokertest_test

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/broker"
)

func (b bentPubSub) Register(ctx context.Context, table, name string, value []byte, life time.Duration) error {
	next := func(table string, value []byte, life time.Duration) error {
		return b.next.(broker.Registry).Register(ctx, table, name, value, life)
	}
	if b.h.register != nil {
		return b.h.register(ctx, table, value, life, next)
	}
	return next(table, value, life)
}

func (b bentPubSub) Unregister(ctx context.Context, table, name string) error {
	next := func(table string) error { return b.next.(broker.Registry).Unregister(ctx, table, name) }
	if b.h.unregister != nil {
		return b.h.unregister(table, next)
	}
	return next(table)
}

func (b bentPubSub) Registered(ctx context.Context, table string) ([]broker.Entry, error) {
	entries, err := b.next.(broker.Registry).Registered(ctx, table)
	if b.h.registered != nil {
		entries = b.h.registered(entries)
	}
	return entries, err
}
