package redis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A writer sends all that does not block to the master of one lane, over one
// connection. It is a group commit: it sends at once when nothing is under
// way; what comes while a batch is under way is gathered and goes with the
// next. So a lone request waits for nobody, and many share their round trips.
//
// Who submits to an idle writer sends by himself: to wake the goroutine would
// take longer than the system call. The goroutine, which runs from start to
// stop, receives the replies and sends what was gathered. While the server is
// out of reach it refuses requests at once and tries to connect.
type writer struct {
	lane *lane

	mu       sync.Mutex // guards the following
	queue    []*op
	spare    []*op      // the memory of a flight that is over
	flight   *flight    // the batch under way, or nil
	link     *conn.Link // nil: not connected; only the goroutine changes it
	refusing error      // what new ops get: the connection is down, stalled or closed
	next     time.Time  // of the next attempt, while refusing
	closed   bool

	crowded   bool // the last flight had more than one op
	gathering bool // somebody waits for others before he sends

	// sending is held while a flight is encoded and written. Where mu is
	// needed too, that is locked first.
	sending sync.Mutex

	wake    chan struct{} // has an element if there may be something in queue
	quit    chan struct{} // closed by stop
	stopped chan struct{} // closed by run

	stall *time.Timer // runs while a batch is under way

	// Where the connection led that the other side ended while it was idle; zero: it
	// has been made anew since. Only the goroutine uses it.
	ended conn.Place

	// Of the master's reach, guarded by mu. One that only stalls is in reach.
	down     bool
	regained time.Time // when it was in reach again; zero: it always was
}

// A flight is a batch under way.
type flight struct {
	ops  []*op
	size int // in bytes

	// Set when it is sent.
	sent     bool
	groups   []group // of ops
	commands []*resp.Command
	err      error // of the write, guarded by writer.sending
}

// directBytes is how much is sent at most by who submits it: so much has room
// in the socket, for the server has read all that was sent before, and nobody
// is kept waiting who has only so much time.
const directBytes = 8 << 10

func newWriter(l *lane) *writer {
	w := &writer{
		lane:    l,
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	w.stall = time.AfterFunc(time.Hour, w.stalled)
	w.stall.Stop()
	return w
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
	w.rouse()
	w.mu.Unlock()
	<-w.stopped
}

// submit hands ops over, in order; they finish later or at once. Urgent ones go
// before all that waits.
func (w *writer) submit(ops ...*op) {
	w.mu.Lock()
	if err := w.refusing; err != nil {
		err = w.retryable(err)
		w.mu.Unlock()
		for _, o := range ops {
			o.finish(err)
		}
		return
	}
	first := w.flight == nil && len(w.queue) == 0
	if len(ops) > 0 && ops[0].urgent {
		w.queue = slices.Insert(w.queue, 0, ops...)
	} else {
		w.queue = append(w.queue, ops...)
	}
	if first && w.crowded {
		w.gathering = true
		w.mu.Unlock()
		runtime.Gosched() // others are about to submit, too
		w.mu.Lock()
		w.gathering = false
	}
	l := w.link
	if !first || l == nil || l.Retired() != nil || !w.direct() {
		w.rouse()
		w.mu.Unlock()
		return
	}
	f := w.takeOff()
	w.sending.Lock()
	w.encode(f, l)
	l.ExpectReply() // before anybody may set another deadline
	w.mu.Unlock()
	w.flush(f, l)
	w.sending.Unlock()
}

// settled reports whether the master has been in reach for a while: long enough for
// all that went another way meanwhile to arrive, so that nothing overtakes it.
func (w *writer) settled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.down && (w.regained.IsZero() || time.Since(w.regained) > w.lane.broker.config.replyTimeout)
}

func (o *op) size() int {
	if o.command != nil {
		return o.command.Size()
	}
	return len(o.value)
}

// within returns how many of ops, at least one, have together at most so many
// bytes, and how many bytes these have.
func within(ops []*op, most int) (n, size int) {
	for n < len(ops) && (n == 0 || size+ops[n].size() <= most) {
		size += ops[n].size()
		n++
	}
	return n, size
}

// direct reports whether what is queued may be sent by who has submitted it. mu
// is held.
func (w *writer) direct() bool {
	n, size := within(w.queue, directBytes)
	return n > 0 && n == len(w.queue) && size <= directBytes
}

// rouse has the goroutine look what there is to do, unless it will anyway
// when the flight under way is over. mu is held.
func (w *writer) rouse() {
	switch {
	case w.flight != nil || w.gathering:
	case w.link != nil:
		w.link.Interrupt()
	default:
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// look has the goroutine look at the link, which is retired.
func (w *writer) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rouse()
}

// takeOff makes a flight of what is queued, or of its front: so the replies to a
// large flight tell early that it gets on, and little is lost with it. mu is
// held, and none is under way.
func (w *writer) takeOff() *flight {
	n, size := within(w.queue, maxBatchBytes)
	w.flight = &flight{ops: w.queue[:n:n], size: size}
	w.crowded = len(w.queue) > 1
	rest := w.queue[n:]
	w.queue, w.spare = append(w.spare, rest...), nil
	clear(rest)
	w.stall.Reset(w.patience(w.flight))
	return w.flight
}

// patience is how long a flight may be under way while no byte moves before
// others are refused.
func (w *writer) patience(f *flight) time.Duration {
	return w.lane.broker.config.replyTimeout/4 + conn.TransmitTime(f.size)
}

// encode makes commands of a flight. sending is held.
func (w *writer) encode(f *flight, l *conn.Link) {
	f.sent = true
	f.groups = w.lane.group(f.ops)
	f.commands = make([]*resp.Command, len(f.groups))
	for i := range f.groups {
		f.commands[i] = f.groups[i].command
	}
	l.Encode(f.commands)
}

// flush writes what was encoded. sending is held.
func (w *writer) flush(f *flight, l *conn.Link) {
	if f.err = l.Flush(); f.err != nil {
		l.Cut() // so that who reads learns of it
	}
}

// do runs one command. The error is nil when the server has done it.
func (w *writer) do(ctx context.Context, c *resp.Command) (resp.Reply, error) {
	o := &op{command: c, waiter: newWaiter(1)}
	w.submit(o)
	if err := o.waiter.wait(ctx); err != nil {
		return resp.Reply{}, err
	}
	return c.Reply, o.err
}

// retryable adds when a retry is worth it. mu is held.
func (w *writer) retryable(err error) error {
	if !errors.Is(err, broker.ErrUnavailable) {
		return err
	}
	after := max(time.Until(w.next), 0) + conn.Jitter(2*w.lane.broker.config.backoffMin)
	return broker.WithRetryAfter(err, after)
}

func (w *writer) run() {
	defer close(w.stopped)
	for f := w.await(); f != nil; f = w.await() {
		ops := f.ops
		w.see(f)
		clear(ops)
		w.land(ops[:0])
	}
	w.drop()
}

// await waits until there is a flight to see to: one that was sent and has a
// reply, or has failed, or one that was not sent. It returns nil when the
// writer was stopped and nothing is left.
func (w *writer) await() *flight {
	for {
		w.mu.Lock()
		f, l := w.flight, w.link
		if f == nil && l != nil && l.Retired() != nil {
			w.link = nil
			w.mu.Unlock()
			l.Close()
			w.gone(l.Retired())
			continue
		}
		if f == nil && len(w.queue) > 0 && !w.gathering {
			f = w.takeOff()
		}
		closed := w.closed && !w.gathering
		if f == nil && l != nil {
			l.WaitForever()
		}
		w.mu.Unlock()
		switch {
		case f != nil || closed:
			return f
		case l != nil:
			w.listen(l)
		default:
			select {
			case <-w.wake:
			case <-w.quit:
			}
		}
	}
}

// listen waits for the first byte of a reply, or rouse.
func (w *writer) listen(l *conn.Link) {
	err := l.Await()
	if errors.Is(err, conn.ErrInterrupted) {
		return
	}
	w.mu.Lock()
	idle := w.flight == nil
	if idle {
		w.link = nil
	}
	w.mu.Unlock()
	switch {
	case !idle:
	case err == nil:
		l.Close()
		w.gone(resp.ErrProtocol) // nothing was asked
	default:
		l.Close()
		w.endedIdle(l, err)
	}
}

// gone takes note of a connection that was given up while it was idle.
func (w *writer) gone(err error) {
	w.lane.broker.linkDown("writer", w.lane.index, err)
	w.mayHaveLostState()
	w.lane.broker.view.MarkStale()
}

// endedIdle takes note that the other side has ended a connection that was idle. The
// next one tells whether the server is still the same: until then nothing is learned
// from it.
func (w *writer) endedIdle(l *conn.Link, err error) {
	w.ended = l.Place()
	w.lane.broker.linkIdle("writer", w.lane.index, err)
	w.lane.broker.view.MarkStale()
}

// mayHaveLostState notes that the master may have forgotten what it knew, and may not
// have passed on events that it had confirmed.
func (w *writer) mayHaveLostState() {
	w.lane.raiseDoubt()
	w.lane.broker.hub.doubt()
}

// land ends a flight, whose memory is used again.
func (w *writer) land(spare []*op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stall.Stop()
	w.flight, w.spare = nil, spare
	w.accept()
}

// accept ends what refuse has begun. mu is held.
func (w *writer) accept() {
	if !w.closed {
		w.refusing = nil
	}
}

// stalled is called when a batch has been under way for a while. Unless bytes
// have moved lately, what waits behind it was certainly not sent, and is refused
// instead of being kept waiting, until they do.
func (w *writer) stalled() {
	w.mu.Lock()
	if w.flight == nil || w.moves() {
		w.mu.Unlock()
		return
	}
	w.refuse(fmt.Errorf("%w: no reply for %v", broker.ErrUnavailable, w.lane.broker.config.replyTimeout/4))
}

// moves reports whether bytes have moved lately on the connection of the flight
// under way, and has stalled look again. mu is held.
func (w *writer) moves() bool {
	if w.link == nil {
		return false
	}
	patience := w.patience(w.flight)
	left := patience - time.Since(w.link.LastActive())
	if left <= 0 {
		w.stall.Reset(patience)
		return false
	}
	w.stall.Reset(left)
	w.accept()
	return true
}

// refuse refuses new ops and those that wait, as long as the flight under way
// does not get on. mu is held, and released.
func (w *writer) refuse(err error) {
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

// retryFor is how long a batch is repeated that the server answered with
// "not here, not now" (see isElsewhere).
const retryFor = time.Second

// see sends a flight that was not sent, again where that is certainly safe,
// and finishes all of its ops. If the server is out of reach it returns once a
// connection is there again.
func (w *writer) see(f *flight) {
	started := time.Now()
	for attempt := 0; len(f.ops) > 0; attempt++ {
		if w.link == nil {
			if err := w.connect(); err != nil {
				w.fall()
				w.finishAll(f.ops, unavailable(err))
				w.outage(err)
				return
			}
		}
		err := w.round(f)
		switch {
		case err == nil:
		case errors.Is(err, conn.ErrNotSent) && attempt == 0:
			// It was idle, and the server closed it: no reason to fail.
			l := w.link
			w.drop()
			w.endedIdle(l, err)
		case errors.Is(err, conn.ErrNotSent), errors.Is(err, conn.ErrLost):
			w.fall()
			w.finishAll(f.ops, unavailable(err))
			w.drop()
			w.outage(err)
			return
		case time.Since(started) > retryFor:
			w.finishAll(f.ops, unavailable(err))
			f.ops = nil
		case errors.Is(err, errBunches):
		default: // elsewhere
			w.drop()
			if !w.pause(w.lane.broker.backoff.After(attempt)) {
				w.finishAll(f.ops, broker.ErrClosed)
				return
			}
		}
	}
}

// fall notes that the master is out of reach, before anybody is told.
func (w *writer) fall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
}

func (w *writer) finishAll(ops []*op, err error) {
	w.mu.Lock()
	err = w.retryable(err)
	w.mu.Unlock()
	for _, o := range ops {
		o.finish(err)
	}
}

// round sends f, unless that was done, and receives the replies. It leaves
// those ops that were certainly not done and may be sent again, with the
// reason; the others are finished.
func (w *writer) round(f *flight) (err error) {
	if !f.sent {
		w.sending.Lock()
		w.encode(f, w.link)
		w.flush(f, w.link)
		w.link.ExpectReply()
		w.sending.Unlock()
	}
	f.sent = false
	if err = w.link.Receive(f.commands); err == nil {
		if slices.ContainsFunc(f.commands, (*resp.Command).ScriptUnknown) {
			w.sending.Lock()
			err = w.link.Rerun(f.commands)
			w.sending.Unlock()
		}
	} else {
		w.sending.Lock() // until who sent it knows how that went
		if errors.Is(f.err, conn.ErrNotSent) {
			err = f.err
		}
		w.sending.Unlock()
	}
	if errors.Is(err, conn.ErrNotSent) {
		return err
	}
	f.ops = nil
	for i := range f.groups {
		left, reason := f.groups[i].finish(w)
		f.ops = append(f.ops, left...)
		if reason != nil && err == nil {
			err = reason
		}
	}
	return err
}

// connect makes the connection and first of all announces who lives here
// again: the server may have forgotten, and what follows relies on it.
func (w *writer) connect() error {
	l, err := w.lane.dial(background, w.lane.broker.config.replyTimeout, w.look)
	if err != nil {
		return err
	}
	if commands := w.lane.announcements(); len(commands) > 0 {
		if err = l.Run(commands...); err != nil {
			l.Close()
			return err
		}
	}
	if before := w.ended; before != (conn.Place{}) && (l.Who == "" || l.Place() != before) {
		w.mayHaveLostState()
	}
	w.ended = conn.Place{}
	w.mu.Lock()
	w.link = l
	w.mu.Unlock()
	w.lane.broker.linkUp("writer", w.lane.index)
	return nil
}

func (w *writer) drop() {
	w.mu.Lock()
	l := w.link
	w.link = nil
	w.mu.Unlock()
	if l != nil {
		l.Close()
		w.lane.broker.view.MarkStale()
	}
}

// outage refuses all requests until the server is in reach again or the writer
// is stopped.
func (w *writer) outage(err error) {
	w.stall.Stop()
	w.lane.broker.linkDown("writer", w.lane.index, err)
	w.lane.broker.hub.doubt()
	w.ended = conn.Place{} // what follows from it is done here
	for attempt := 0; ; attempt++ {
		wait := w.lane.broker.backoff.After(attempt)
		w.mu.Lock()
		w.next = time.Now().Add(wait)
		w.refuse(unavailable(err))
		if !w.pause(wait) {
			return
		}
		if err = w.connect(); err == nil {
			w.mu.Lock()
			w.down, w.regained = false, time.Now()
			w.mu.Unlock()
			w.lane.raiseDoubt()
			w.lane.kick()
			return
		}
		w.lane.broker.view.MarkStale()
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

// outOfReach reports whether requests are refused: the connection is down, or
// stalled, or closed.
func (w *writer) outOfReach() bool { return w.trouble() != nil }

// trouble returns why requests are refused, if they are.
func (w *writer) trouble() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refusing
}

// unavailable marks err as one after which certainly nothing was done.
func unavailable(err error) error {
	if errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}
