package calleekit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// The pauses between two tries during an outage of the broker: the first, and
// where doubling ends. Each is jittered by half, so that callees do not come
// back all at once.
const (
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
)

// An outage is a row of failures of one operation on the broker. The zero
// outage with log and operation set is one that has not begun.
type outage struct {
	log       *slog.Logger
	operation string // for the log: "take", "reply", "announce", "send a part"

	since time.Time
	last  error // of the tries
	tries int

	warned bool // in the log
}

// failed notes a failure and waits before the next try. It returns an error if
// there is none: err itself if the broker has failed for good, or the cause of ctx and
// the failure before, if any, when ctx ends.
func (o *outage) failed(ctx context.Context, err error) error {
	if errors.Is(err, broker.ErrClosed) {
		return err
	}
	if ctx.Err() != nil {
		return o.interrupted(ctx)
	}
	o.last = err
	o.tries++
	pause := o.pause(err)
	if o.tries == 1 {
		o.since = time.Now()
	}
	if !o.warned && !errors.Is(err, broker.ErrQueueFull) { // a part may have to wait for room
		o.warned = true
		o.log.Warn("the broker failed, trying again", "operation", o.operation, "error", err, "delay", pause)
	} else {
		o.log.Debug("the broker still fails", "operation", o.operation, "error", err, "delay", pause, "attempt", o.tries)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return o.interrupted(ctx)
	}
}

func (o *outage) interrupted(ctx context.Context) error {
	if o.last == nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w; before: %w", context.Cause(ctx), o.last)
}

// pause returns how long to wait now: what the broker asks for, if it is more
// than what doubling gives.
func (o *outage) pause(err error) time.Duration {
	d := maxPause
	if shift := o.tries - 1; shift < 10 {
		d = min(minPause<<shift, maxPause)
	}
	d = d/2 + rand.N(d/2+1)
	return max(d, min(broker.RetryAfter(err), maxPause))
}

// over notes a success.
func (o *outage) over() {
	if o.warned {
		o.log.Info("the broker works again", "operation", o.operation, "after", time.Since(o.since), "attempt", o.tries)
	}
	o.tries, o.last, o.warned = 0, nil, false
}
