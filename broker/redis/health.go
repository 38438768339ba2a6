package redis

import (
	"fmt"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/oklog/ulid/v2"
)

// Health returns nil while the open connections of the broker can do their work,
// else an error that says which cannot, and why. It asks nobody: it tells how the
// last attempts went, such as the heartbeats, four times in a lease. So it needs no
// rights of its own, does not wait, and gives a steady answer while something is
// wrong.
//
// A node can work while the lane where its results arrive does, and the server
// takes its heartbeats: not when it is full, so that it takes no calls. A callee can
// while one of its lanes does. A subscriber can while there is a connection for
// events. A broker without open connections is well.
func (b *Broker) Health() error {
	b.mu.Lock()
	closed := b.closed
	open := make([]closer, 0, len(b.open))
	for c := range b.open {
		open = append(open, c)
	}
	b.mu.Unlock()
	if closed {
		return broker.ErrClosed
	}
	for _, c := range open {
		if err := c.health(); err != nil {
			return err
		}
	}
	return nil
}

func (c *callerConn) health() error {
	err := c.home.writer.refusal()
	if err == nil {
		err = c.results.blocker.FailingFor(0)
	}
	if err = c.heartbeat.health(err); err != nil {
		return fmt.Errorf("redis: node %s, lane %d: %w", ulid.ULID(c.node), c.home.index, err)
	}
	return nil
}

// unanswerable returns why the results of calls could not come back, for long
// enough that it is not over in a moment. A full server takes results later.
func (c *callerConn) unanswerable(l *lane) error {
	err := c.results.blocker.FailingFor(c.broker.config.replyTimeout / 4)
	if err == nil && l != c.home { // else the writer says so
		err = c.home.writer.refusal()
	}
	if err == nil {
		if err = c.heartbeat.refusal(); err != nil && resp.IsOutOfMemory(err) {
			err = nil
		}
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: the results could not come back: %w", broker.ErrUnavailable, err)
	return broker.WithRetryAfter(err, c.broker.config.backoffMin+conn.Jitter(c.broker.config.backoffMax))
}

func (c *calleeConn) health() error {
	var failure error
	for _, p := range c.pullers {
		err := p.heartbeat.health(p.lane.writer.refusal())
		if err == nil {
			return nil
		}
		failure = fmt.Errorf("redis: callee %s, lane %d: %w", c.id, p.lane.index, err)
	}
	return failure
}

func (s *subscriberConn) health() error {
	h := s.broker.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	var failure error
	for lane, f := range h.feeds {
		if f.refusing == nil {
			return nil
		}
		failure = fmt.Errorf("redis: events, lane %d: %w", lane, f.refusing)
	}
	return failure
}
