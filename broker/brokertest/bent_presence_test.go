package brokertest_test

import (
	"context"

	"github.com/juggler-go/juggler/broker"
)

func (b bentPubSub) OpenPresence(ctx context.Context, node broker.ID, changed func([]broker.HereChange)) (broker.PresenceConn, error) {
	if b.h.openPresence != nil {
		changed = b.h.openPresence(ctx, changed)
	}
	conn, err := b.next.(broker.Presence).OpenPresence(ctx, node, changed)
	if b.h.openedPresence != nil {
		b.h.openedPresence(conn)
	}
	return bentPresenceConn{conn, b.h}, err
}

type bentPresenceConn struct {
	broker.PresenceConn
	h *hooks
}

func (b bentPresenceConn) Put(channel string, users []broker.Member) {
	if b.h.put != nil {
		b.h.put(b.PresenceConn, channel, users)
	} else {
		b.PresenceConn.Put(channel, users)
	}
}

func (b bentPresenceConn) Flush(ctx context.Context) error {
	if b.h.flush != nil {
		return b.h.flush(ctx, b.PresenceConn.Flush)
	}
	return b.PresenceConn.Flush(ctx)
}

func (b bentPresenceConn) Unwatch(channel string) {
	if b.h.unwatch == nil || b.h.unwatch() {
		b.PresenceConn.Unwatch(channel)
	}
}

func (b bentPresenceConn) ReadHere(ctx context.Context, channel string, most int) (broker.Here, error) {
	if b.h.readHere != nil {
		return b.h.readHere(b.PresenceConn, channel, most)
	}
	return b.PresenceConn.ReadHere(ctx, channel, most)
}

func (b bentPresenceConn) Close() error {
	if b.h.closePresence != nil {
		return b.h.closePresence(b.PresenceConn)
	}
	return b.PresenceConn.Close()
}
