package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A writer sends all that does not block to the master of one lane, over one
// connection. It is a group commit: it sends at once when nothing is under
// way; what comes while a batch is under way is gathered and goes with the
// next. So a lone request waits for nobody, and many share their round trips.
//
// Its goroutine runs from start to stop. While the server is out of reach it
// refuses requests at once and tries to connect.
type writer struct {
	lane *lane

	mu       sync.Mutex // guards the following
	queue    []*op
	refusing error     // what new ops get: the connection is down, stalled or closed
	next     time.Time // of the next attempt, while refusing
	closed   bool

	wake    chan struct{} // has an element if there may be something in queue
	quit    chan struct{} // closed by stop
	stopped chan struct{} // closed by run

	// Owned by the goroutine.
	link  *link
	spare []*op
	stall *time.Timer

	// lost is when a connection was lost last, in ns of Unix time; 0: never.
	lost atomic.Int64
}

func newWriter(l *lane) *writer {
	return &writer{
		lane:    l,
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
}

func (w *writer) start() { go w.run() }

// stop sends what is queued already, if the server is in reach, and ends the
// goroutine and the connection.
func (w *writer) stop() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.quit)
	}
	w.refusing = broker.ErrClosed
	w.mu.Unlock()
	<-w.stopped
}

// submit hands ops over, in order; they finish later or at once.
func (w *writer) submit(ops ...*op) {
	w.mu.Lock()
	refusing := w.refusing
	if refusing == nil {
		w.queue = append(w.queue, ops...)
	} else {
		refusing = w.retryable(refusing)
	}
	w.mu.Unlock()
	if refusing != nil {
		for _, o := range ops {
			o.finish(refusing)
		}
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// do runs one command. The error is nil when the server has done it.
func (w *writer) do(ctx context.Context, c *command) (reply any, err error) {
	o := &op{command: c, waiter: newWaiter(1)}
	w.submit(o)
	if err := o.waiter.wait(ctx); err != nil {
		return nil, err
	}
	if o.err != nil {
		return nil, o.err
	}
	return c.cmd.Val(), nil
}

// retryable adds when a retry is worth it. mu is held.
func (w *writer) retryable(err error) error {
	if !errors.Is(err, broker.ErrUnavailable) {
		return err
	}
	after := max(time.Until(w.next), 0) + jitter(2*w.lane.broker.config.backoffMin)
	return broker.WithRetryAfter(err, after)
}

func (w *writer) run() {
	defer close(w.stopped)
	w.stall = time.AfterFunc(time.Hour, w.stalled)
	w.stall.Stop()
	for {
		ops := w.gather()
		if ops == nil {
			break
		}
		w.stall.Reset(w.lane.broker.config.replyTimeout / 4)
		w.send(ops)
		w.stall.Stop()
		clear(ops)
		w.spare = ops[:0]
		w.resume()
	}
	w.drop()
}

// gather waits for ops and returns all there are, or nil when the writer was
// stopped and nothing is left.
func (w *writer) gather() []*op {
	for {
		w.mu.Lock()
		ops, closed := w.queue, w.closed
		if len(ops) > 0 {
			w.queue, w.spare = w.spare, nil
		}
		w.mu.Unlock()
		if len(ops) > 0 {
			return ops
		}
		if closed {
			return nil
		}
		select {
		case <-w.wake:
		case <-w.quit:
		}
	}
}

// stalled is called when a batch is under way for too long: what waits behind
// it was certainly not sent, and is refused instead of being kept waiting.
func (w *writer) stalled() {
	w.refuse(fmt.Errorf("%w: no reply for %v", broker.ErrUnavailable, w.lane.broker.config.replyTimeout/4))
}

// refuse refuses new ops and those that wait.
func (w *writer) refuse(err error) {
	w.mu.Lock()
	if !w.closed {
		w.refusing = err
	}
	ops := w.queue
	w.queue = nil
	err = w.retryable(err)
	w.mu.Unlock()
	for _, o := range ops {
		o.finish(err)
	}
}

// resume accepts ops again.
func (w *writer) resume() {
	w.mu.Lock()
	if !w.closed {
		w.refusing = nil
	}
	w.mu.Unlock()
}

// retryFor is how long a batch is repeated that the server answered with
// "not here, not now" (see isElsewhere).
const retryFor = time.Second

// send sends ops, again where that is certainly safe, until all are finished.
// If the server is out of reach it returns once a connection is there again.
func (w *writer) send(ops []*op) {
	started := time.Now()
	for attempt := 0; len(ops) > 0; attempt++ {
		if w.link == nil {
			if err := w.connect(); err != nil {
				w.finishAll(ops, unavailable(err))
				w.outage(err)
				return
			}
		}
		var err error
		ops, err = w.round(ops)
		switch {
		case err == nil:
		case errors.Is(err, errNotSent) && attempt == 0:
			// It was idle, and the server closed it: no reason to fail.
			w.lost.Store(time.Now().UnixNano())
			w.lane.broker.linkDown("writer", w.lane.index, err)
			w.drop()
		case errors.Is(err, errNotSent), errors.Is(err, errLost):
			w.finishAll(ops, unavailable(err))
			w.drop()
			w.outage(err)
			return
		case time.Since(started) > retryFor:
			w.finishAll(ops, unavailable(err))
			ops = nil
		default: // elsewhere
			w.drop()
			if !w.pause(w.lane.broker.backoff(attempt)) {
				w.finishAll(ops, broker.ErrClosed)
				return
			}
		}
	}
}

func (w *writer) finishAll(ops []*op, err error) {
	w.mu.Lock()
	err = w.retryable(err)
	w.mu.Unlock()
	for _, o := range ops {
		o.finish(err)
	}
}

// round sends ops once. It returns those that were certainly not done and may
// be sent again, with the reason; the others are finished.
func (w *writer) round(ops []*op) (again []*op, err error) {
	groups := w.lane.group(ops)
	commands := make([]*command, len(groups))
	for i := range groups {
		commands[i] = groups[i].command
	}
	lost := w.link.run(commands...)
	if lost == nil {
		lost = w.rerun(commands)
	}
	if errors.Is(lost, errNotSent) {
		return ops, lost
	}
	err = lost
	for i := range groups {
		left, reason := groups[i].finish(w)
		again = append(again, left...)
		if reason != nil && err == nil {
			err = reason
		}
	}
	return again, err
}

// rerun sends the scripts that the server did not know, with their source.
func (w *writer) rerun(commands []*command) error {
	var unknown []*command
	for _, c := range commands {
		if isNoScript(c.cmd.Err()) {
			unknown = append(unknown, c)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	err := w.link.run(unknown...)
	if errors.Is(err, errNotSent) {
		// Other commands of the batch are done: only these were not.
		for _, c := range unknown {
			c.cmd.SetErr(err)
		}
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return err
}

// connect makes the connection and first of all announces who lives here
// again: the server may have forgotten, and what follows relies on it.
func (w *writer) connect() error {
	l, err := w.lane.dial(w.lane.broker.config.replyTimeout)
	if err != nil {
		return err
	}
	if commands := w.lane.announcements(); len(commands) > 0 {
		if err = l.run(commands...); err == nil {
			w.link = l
			err = w.rerun(commands)
		}
		if err != nil {
			w.link = nil
			l.close()
			return err
		}
	}
	w.link = l
	w.lane.broker.linkUp("writer", w.lane.index)
	return nil
}

func (w *writer) drop() {
	if w.link != nil {
		w.link.close()
		w.link = nil
		w.lane.broker.topology.stale()
	}
}

// outage refuses all requests until the server is in reach again or the writer
// is stopped.
func (w *writer) outage(err error) {
	w.stall.Stop()
	w.lost.Store(time.Now().UnixNano())
	w.lane.broker.linkDown("writer", w.lane.index, err)
	for attempt := 0; ; attempt++ {
		wait := w.lane.broker.backoff(attempt)
		w.mu.Lock()
		w.next = time.Now().Add(wait)
		w.mu.Unlock()
		w.refuse(unavailable(err))
		if !w.pause(wait) {
			return
		}
		if err = w.connect(); err == nil {
			w.lost.Store(time.Now().UnixNano())
			w.lane.kick()
			return
		}
		w.lane.broker.topology.stale()
	}
}

// pause returns false if the writer was stopped meanwhile.
func (w *writer) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-w.quit:
		return false
	}
}

// forgetful reports whether the server may have been restarted so recently
// that callees have not announced themselves again.
func (w *writer) forgetful() bool {
	lost := w.lost.Load()
	return lost != 0 && time.Since(time.Unix(0, lost)) < w.lane.broker.config.lease
}

// unavailable marks err as one after which certainly nothing was done.
func unavailable(err error) error {
	if errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}
