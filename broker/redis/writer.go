package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A writer sends all commands of one lane that do not block: see [conn.Writer]. Before
// anything else it renews all leases over a new connection: the server may have lost
// them, and what follows relies on them.
type writer struct {
	*conn.Writer[*op]
}

func newWriter(l *lane) writer {
	b := l.broker
	return writer{conn.NewWriter(conn.WriterConfig[*op]{
		View:     b.view,
		Slot:     l.slot,
		Timeout:  b.config.replyTimeout,
		Backoff:  b.backoff,
		Batcher:  &l.batcher,
		Greeting: l.announcements,
		Observer: conn.WriterObserver{
			Up: func() {
				l.greeted()
				b.linkUp("writer", l.index)
				l.searchLost()
			},
			Down: func(err error) {
				b.linkDown("writer", l.index, err)
				l.suspectLosses()
				l.confirmed.unlinked()
				l.searchLost()
			},
			Idle: func(err error) {
				b.linkIdle("writer", l.index, err)
				l.confirmed.unlinked()
				l.searchLost()
			},
			Moved: func() {
				l.suspectLosses()
				b.hub.doubtLane(l.index, l.confirmed.tookMove())
			},
			Regained: func() {
				l.suspectStateLoss()
				b.hub.doubtLane(l.index, l.confirmed.tookMove())
				l.announceNow()
			},
		},
	})}
}

// suspectLosses notes that the master may have lost its data, and may not have passed on
// events that it had confirmed.
func (l *lane) suspectLosses() {
	l.suspectStateLoss()
	l.broker.hub.suspectLostEvents()
}

// do runs one command. The error is nil when the server has done it.
func (w writer) do(ctx context.Context, c *resp.Command) (resp.Reply, error) {
	o := &op{command: c, waiter: newWaiter(1)}
	w.Submit(o)
	if err := o.waiter.wait(ctx); err != nil {
		return resp.Reply{}, err
	}
	return c.Reply, o.err
}

// refusal returns why requests are refused, or nil.
func (w writer) refusal() error {
	if err := w.Refusing(); err != nil {
		return notDone(err)
	}
	return nil
}

// Refusal implements [conn.Batcher].
func (b *batcher) Refusal(err error, retryAfter time.Duration) error {
	if err = notDone(err); errors.Is(err, broker.ErrClosed) {
		return err
	}
	return broker.WithRetryAfter(err, retryAfter)
}

// notDone marks err as one after which certainly nothing was done.
func notDone(err error) error {
	switch {
	case errors.Is(err, conn.ErrClosed):
		return broker.ErrClosed
	case errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrClosed):
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}
