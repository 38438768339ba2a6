package redis

import (
	"context"
	"errors"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
)

// announce announces the callee on its lanes, each on its own, and returns nil when
// calls to the URIs of at least one are accepted. The others have a moment to follow;
// those that are out of reach are announced as soon as they are not.
func (c *calleeConn) announce(ctx context.Context) error {
	outcomes := make(chan error, len(c.pullers))
	for _, p := range c.pullers {
		c.opening.Go(func() { p.open(ctx, outcomes) })
	}
	announced := 0
	var failure error
	moment := make(<-chan time.Time) // not before one is announced
	for range c.pullers {
		select {
		case err := <-outcomes:
			if err != nil {
				failure = err
				continue
			}
			if announced++; announced == 1 {
				moment = time.After(c.broker.config.replyTimeout / 4)
			}
		case <-moment:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if announced > 0 {
		return nil
	}
	return failure
}

// open announces the callee on the lane of p, and tries again until that is done or
// the callee closes. outcome gets what became of the first attempt.
func (p *puller) open(ctx context.Context, outcome chan<- error) {
	b := p.lane.broker
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.conn.life, cancel)()
	for attempt := 0; ; attempt++ {
		heard, err := p.subscribeCancellations(ctx), error(nil)
		if heard == nil || errors.Is(heard, broker.ErrUnavailable) { // cancellations are a best effort
			err = p.announceFirst(ctx)
		} else {
			err = heard
		}
		if err != nil {
			p.heartbeat.failed.Store(&err)
		}
		if attempt == 0 {
			outcome <- err
		}
		if err == nil && heard == nil {
			return
		}
		if !conn.Sleep(p.conn.life, b.backoff.After(attempt)) {
			return
		}
		if attempt == 0 {
			b.config.logger.Warn("a callee is not announced on a lane, or does not hear of cancellations; tried again",
				"lane", p.lane.index, "uris", p.uris, "error", errors.Join(err, heard))
		}
		ctx = p.conn.life
	}
}

// subscribeCancellations subscribes to the lane's cancellations, if the callee wants
// them.
func (p *puller) subscribeCancellations(ctx context.Context) error {
	if p.conn.cancels == nil {
		return nil
	}
	moment, cancel := context.WithTimeout(ctx, p.lane.broker.config.replyTimeout/2)
	defer cancel()
	err := p.lane.broker.hub.subscribe(moment, p.cancellations(), p.conn)
	if err != nil && moment.Err() != nil && ctx.Err() == nil {
		return notDone(err)
	}
	return err
}

func (p *puller) cancellations() subject {
	keys := p.lane.broker.keys
	return subject{name: keys.cancelChannel(p.lane.index), kind: keys.kind()}
}

// announceFirst announces the callee for the first time, unless that is done, and starts
// its heartbeat.
func (p *puller) announceFirst(ctx context.Context) error {
	if p.announcedOnce {
		return nil
	}
	commands, _ := p.announce(true)
	if _, err := p.lane.writer.do(ctx, commands[0]); err != nil {
		return err
	}
	p.announcedOnce = true
	p.heartbeat.accepted()
	p.lane.addHeartbeat(p.heartbeat)
	return nil
}
