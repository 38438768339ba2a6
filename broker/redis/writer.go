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

// A writer sends all commands that do not block to the master of one lane, over one
// connection. It is a group commit: an idle writer sends at once; requests that come
// while a batch is under way go out together in the next. So a lone request waits for
// nobody, and many share a round trip.
//
// A goroutine that submits to an idle writer writes the request itself, because to wake
// another one would take longer than the system call. The writer's own goroutine, which
// runs from start to stop, receives the replies and sends the next batch. While the
// server is unreachable it refuses requests at once, and reconnects.
type writer struct {
	lane *lane

	mu       sync.Mutex // guards the following
	queue    []*op
	spare    []*op      // the memory of a batch that is complete
	batch    *batch     // the batch under way, or nil
	link     *conn.Link // nil: not connected; only the goroutine changes it
	refusing error      // what new ops get: the connection is down, stalled or closed
	next     time.Time  // of the next attempt, while refusing
	closed   bool

	shared    bool // the last batch had more than one op
	gathering bool // a goroutine that submits waits for others before it sends

	// sending is held while a batch is encoded and written. Where mu is needed too, that
	// is locked first.
	sending sync.Mutex

	wake    chan struct{} // has an element if there may be something in queue
	quit    chan struct{} // closed by stop
	stopped chan struct{} // closed by run

	stall *time.Timer // runs while a batch is under way

	// Where the connection led that the other side ended while it was idle; zero: it
	// has been made anew since. Only the goroutine uses it.
	endedAt conn.Place

	// Whether the master is reachable, guarded by mu. A stalled one is.
	down    bool
	upSince time.Time // since when it is reachable again; zero: it always was
}

// A batch is what goes out together and is under way.
type batch struct {
	ops  []*op
	size int // in bytes

	// Set when it is sent.
	sent     bool
	groups   []group // of ops
	commands []*resp.Command
	err      error // of the write, guarded by writer.sending
}

// directBytes is how much a goroutine that submits writes itself at most. So much fits
// into the buffer of the socket, because the server has read all that was sent before. So
// a caller with a deadline does not block.
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
	w.wakeUp()
	w.mu.Unlock()
	<-w.stopped
}

// submit queues ops, in order, or sends them at once. Urgent ones go before all that
// wait.
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
	first := w.batch == nil && len(w.queue) == 0
	if len(ops) > 0 && ops[0].urgent {
		w.queue = slices.Insert(w.queue, 0, ops...)
	} else {
		w.queue = append(w.queue, ops...)
	}
	if first && w.shared {
		w.gathering = true
		w.mu.Unlock()
		runtime.Gosched() // others are about to submit, too
		w.mu.Lock()
		w.gathering = false
	}
	l := w.link
	if !first || l == nil || l.Retired() != nil || !w.fitsDirectWrite() {
		w.wakeUp()
		w.mu.Unlock()
		return
	}
	f := w.startBatch()
	w.sending.Lock()
	w.encode(f, l)
	l.ExpectReply() // before anybody may set another deadline
	w.mu.Unlock()
	w.flush(f, l)
	w.sending.Unlock()
}

// stable reports whether the master has been reachable for a while: long enough for all
// events that went through another master meanwhile to arrive, so that none overtakes
// them.
func (w *writer) stable() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.down && (w.upSince.IsZero() || time.Since(w.upSince) > w.lane.broker.config.replyTimeout)
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

// fitsDirectWrite reports whether the goroutine that has submitted may write the queue
// itself. mu is held.
func (w *writer) fitsDirectWrite() bool {
	n, size := within(w.queue, directBytes)
	return n > 0 && n == len(w.queue) && size <= directBytes
}

// wakeUp wakes the writer's goroutine, unless it will look at the queue anyway when the
// batch under way is complete. mu is held.
func (w *writer) wakeUp() {
	switch {
	case w.batch != nil || w.gathering:
	case w.link != nil:
		w.link.Interrupt()
	default:
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// linkRetired has the goroutine replace the link.
func (w *writer) linkRetired() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeUp()
}

// startBatch makes a batch of the front of the queue. It is bounded, so that replies show
// early that a large queue makes progress, and that little is lost with a connection. mu
// is held, and no batch is under way.
func (w *writer) startBatch() *batch {
	n, size := within(w.queue, maxBatchBytes)
	w.batch = &batch{ops: w.queue[:n:n], size: size}
	w.shared = len(w.queue) > 1
	rest := w.queue[n:]
	w.queue, w.spare = append(w.spare, rest...), nil
	clear(rest)
	w.stall.Reset(w.patience(w.batch))
	return w.batch
}

// patience is how long a batch may be under way without a byte moving before further
// requests are refused.
func (w *writer) patience(f *batch) time.Duration {
	return w.lane.broker.config.replyTimeout/4 + conn.TransmitTime(f.size)
}

// encode makes commands of a batch. sending is held.
func (w *writer) encode(f *batch, l *conn.Link) {
	f.sent = true
	f.groups = w.lane.group(f.ops)
	f.commands = make([]*resp.Command, len(f.groups))
	for i := range f.groups {
		f.commands[i] = f.groups[i].command
	}
	l.Encode(f.commands)
}

// flush writes what was encoded. sending is held.
func (w *writer) flush(f *batch, l *conn.Link) {
	if f.err = l.Flush(); f.err != nil {
		l.Cut() // so that the reading goroutine notices
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

// retryable adds after how long a retry makes sense. mu is held.
func (w *writer) retryable(err error) error {
	if !errors.Is(err, broker.ErrUnavailable) {
		return err
	}
	after := max(time.Until(w.next), 0) + conn.Jitter(2*w.lane.broker.config.backoffMin)
	return broker.WithRetryAfter(err, after)
}

func (w *writer) run() {
	defer close(w.stopped)
	for f := w.nextBatch(); f != nil; f = w.nextBatch() {
		ops := f.ops
		w.completeBatch(f)
		clear(ops)
		w.endBatch(ops[:0])
	}
	w.dropLink()
}

// nextBatch waits until there is a batch to complete: one that was sent and has a reply
// or has failed, or one that was not sent. It returns nil when the writer was stopped and
// nothing is left.
func (w *writer) nextBatch() *batch {
	for {
		w.mu.Lock()
		f, l := w.batch, w.link
		if f == nil && l != nil && l.Retired() != nil {
			w.link = nil
			w.mu.Unlock()
			l.Close()
			w.lostIdle(l.Retired())
			continue
		}
		if f == nil && len(w.queue) > 0 && !w.gathering {
			f = w.startBatch()
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
			w.awaitInput(l)
		default:
			select {
			case <-w.wake:
			case <-w.quit:
			}
		}
	}
}

// awaitInput waits for the first byte of a reply, or for wakeUp.
func (w *writer) awaitInput(l *conn.Link) {
	err := l.Await()
	if errors.Is(err, conn.ErrInterrupted) {
		return
	}
	w.mu.Lock()
	idle := w.batch == nil
	if idle {
		w.link = nil
	}
	w.mu.Unlock()
	switch {
	case !idle:
	case err == nil:
		l.Close()
		w.lostIdle(resp.ErrProtocol) // nothing was sent
	default:
		l.Close()
		w.endedIdle(l, err)
	}
}

// lostIdle handles a connection that was given up while it was idle.
func (w *writer) lostIdle(err error) {
	w.lane.broker.linkDown("writer", w.lane.index, err)
	w.suspectStateLoss()
	w.lane.broker.view.MarkStale()
}

// endedIdle handles that the other side has closed an idle connection. The next
// connection tells whether the server is still the same; until then nothing is learned
// from it.
func (w *writer) endedIdle(l *conn.Link, err error) {
	w.endedAt = l.Place()
	w.lane.broker.linkIdle("writer", w.lane.index, err)
	w.lane.broker.view.MarkStale()
}

// suspectStateLoss notes that the master may have lost its data, and may not have passed
// on events that it had confirmed.
func (w *writer) suspectStateLoss() {
	w.lane.suspectStateLoss()
	w.lane.broker.hub.suspectLostEvents()
}

// endBatch ends a batch. Its memory is used again.
func (w *writer) endBatch(spare []*op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stall.Stop()
	w.batch, w.spare = nil, spare
	w.accept()
}

// accept ends what refuse began. mu is held.
func (w *writer) accept() {
	if !w.closed {
		w.refusing = nil
	}
}

// stalled is called when a batch has been under way for a while. If no byte has moved
// lately, it refuses the requests that wait behind the batch, until bytes move again:
// they were certainly not sent.
func (w *writer) stalled() {
	w.mu.Lock()
	if w.batch == nil || w.progresses() {
		w.mu.Unlock()
		return
	}
	w.refuse(fmt.Errorf("%w: no reply for %v", broker.ErrUnavailable, w.lane.broker.config.replyTimeout/4))
}

// progresses reports whether bytes have moved lately for the batch under way, and has
// stalled called again. mu is held.
func (w *writer) progresses() bool {
	if w.link == nil {
		return false
	}
	patience := w.patience(w.batch)
	left := patience - time.Since(w.link.LastActive())
	if left <= 0 {
		w.stall.Reset(patience)
		return false
	}
	w.stall.Reset(left)
	w.accept()
	return true
}

// refuse refuses new ops and those that wait, until accept. mu is held, and released.
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

// retryFor is how long a batch is repeated that the server answered with an error for
// which resp.IsMisdirected is true.
const retryFor = time.Second

// completeBatch sends a batch if that was not done, repeats what is certainly safe to
// repeat, and finishes all ops. If the server is unreachable it returns once there is a
// connection again.
func (w *writer) completeBatch(f *batch) {
	started := time.Now()
	for attempt := 0; len(f.ops) > 0; attempt++ {
		if w.link == nil {
			if err := w.connect(); err != nil {
				w.markDown()
				w.finishAll(f.ops, unavailable(err))
				w.reconnect(err)
				return
			}
		}
		err := w.roundTrip(f)
		switch {
		case err == nil:
		case errors.Is(err, conn.ErrNotSent) && attempt == 0:
			// The server has closed it while it was idle: no reason to fail.
			l := w.link
			w.dropLink()
			w.endedIdle(l, err)
		case errors.Is(err, conn.ErrNotSent), errors.Is(err, conn.ErrLost):
			w.markDown()
			w.finishAll(f.ops, unavailable(err))
			w.dropLink()
			w.reconnect(err)
			return
		case time.Since(started) > retryFor:
			w.finishAll(f.ops, unavailable(err))
			f.ops = nil
		case errors.Is(err, errBunches):
		default: // elsewhere
			w.dropLink()
			if !w.pause(w.lane.broker.backoff.After(attempt)) {
				w.finishAll(f.ops, broker.ErrClosed)
				return
			}
		}
	}
}

// markDown notes that the master is unreachable, before any op is finished.
func (w *writer) markDown() {
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

// roundTrip sends f, unless that was done, and receives the replies. It leaves those ops
// in f that were certainly not done and may be sent again, and returns the reason; the
// others are finished.
func (w *writer) roundTrip(f *batch) (err error) {
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
		w.sending.Lock() // until the goroutine that sent it has noted the error
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

// connect connects, and renews all leases before anything else: the server may have lost
// them, and what follows relies on them.
func (w *writer) connect() error {
	l, err := w.lane.dial(background, w.lane.broker.config.replyTimeout, w.linkRetired)
	if err != nil {
		return err
	}
	if commands := w.lane.announcements(); len(commands) > 0 {
		if err = l.Run(commands...); err != nil {
			l.Close()
			return err
		}
	}
	if before := w.endedAt; before != (conn.Place{}) && (l.Who == "" || l.Place() != before) {
		w.suspectStateLoss()
	}
	w.endedAt = conn.Place{}
	w.mu.Lock()
	w.link = l
	w.mu.Unlock()
	w.lane.broker.linkUp("writer", w.lane.index)
	return nil
}

func (w *writer) dropLink() {
	w.mu.Lock()
	l := w.link
	w.link = nil
	w.mu.Unlock()
	if l != nil {
		l.Close()
		w.lane.broker.view.MarkStale()
	}
}

// reconnect refuses all requests until there is a connection again or the writer is
// stopped.
func (w *writer) reconnect(err error) {
	w.stall.Stop()
	w.lane.broker.linkDown("writer", w.lane.index, err)
	w.lane.broker.hub.suspectLostEvents()
	w.endedAt = conn.Place{} // what follows from it is done here
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
			w.down, w.upSince = false, time.Now()
			w.mu.Unlock()
			w.lane.suspectStateLoss()
			w.lane.announceNow()
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

// unreachable reports whether requests are refused: the connection is down, stalled, or
// closed.
func (w *writer) unreachable() bool { return w.refusal() != nil }

// refusal returns why requests are refused, or nil.
func (w *writer) refusal() error {
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
