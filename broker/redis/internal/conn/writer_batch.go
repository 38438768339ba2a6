package conn

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A batch is what goes out together and is under way.
type batch[R Request] struct {
	requests []R
	size     int // in bytes

	// Set when it is sent.
	sent     bool
	commands []*resp.Command
	err      error // of the write, guarded by Writer.sending
}

// startBatch makes a batch of the front of the queue. mu is held, and no batch is under
// way.
func (w *Writer[R]) startBatch() *batch[R] {
	n, size := within(w.queue, MaxBatchBytes)
	w.batch = &batch[R]{requests: w.queue[:n:n], size: size}
	w.shared = len(w.queue) > 1
	rest := w.queue[n:]
	w.queue, w.spare = append(w.spare, rest...), nil
	clear(rest)
	w.stall.Reset(w.patience(w.batch))
	return w.batch
}

// encode makes commands of a batch. sending is held.
func (w *Writer[R]) encode(f *batch[R], l *Link) {
	f.sent = true
	f.commands = w.config.Batcher.Commands(f.requests)
	l.Encode(f.commands)
}

// flush writes what was encoded. sending is held.
func (w *Writer[R]) flush(f *batch[R], l *Link) {
	if f.err = l.Flush(); f.err != nil {
		l.Cut() // so that the reading goroutine notices
	}
}

// retryFor is how long a batch is repeated that the server answered with an error for
// which resp.IsMisdirected is true.
const retryFor = time.Second

// completeBatch sends a batch if that was not done, repeats what is certainly safe to
// repeat, and finishes all requests. If the server is unreachable it returns once there
// is a connection again.
func (w *Writer[R]) completeBatch(f *batch[R]) {
	started := time.Now()
	for attempt := 0; len(f.requests) > 0; attempt++ {
		if w.link == nil {
			if err := w.connect(background); err != nil {
				w.abandonBatch(f, err)
				return
			}
		}
		err := w.roundTrip(f)
		switch {
		case err == nil:
		case errors.Is(err, ErrNotSent) && attempt == 0:
			// The server has closed it while it was idle: no reason to fail.
			w.endedIdle(w.link, err)
		case errors.Is(err, ErrNotSent), errors.Is(err, ErrLost):
			w.abandonBatch(f, err)
			return
		case time.Since(started) > retryFor:
			w.refuseAll(f.requests, err)
			return
		case !resp.IsMisdirected(err): // the batcher makes other commands now
		default:
			w.dropLink()
			if !Sleep(w.quit, w.config.Backoff.After(attempt)) {
				w.refuseAll(f.requests, ErrClosed)
				return
			}
		}
	}
}

// abandonBatch refuses the requests that are left in a batch, as the connection is lost,
// and makes it anew.
func (w *Writer[R]) abandonBatch(f *batch[R], err error) {
	w.mu.Lock()
	w.down = true // before any request is finished
	w.mu.Unlock()
	w.refuseAll(f.requests, err)
	w.dropLink()
	w.reconnect(err)
}

// roundTrip sends f, unless that was done, and receives the replies. It leaves those
// requests in f that were certainly not done and may be sent again, and returns the
// reason; the others are finished.
func (w *Writer[R]) roundTrip(f *batch[R]) (err error) {
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
		if errors.Is(f.err, ErrNotSent) {
			err = f.err
		}
		w.sending.Unlock()
	}
	if errors.Is(err, ErrNotSent) {
		return err
	}
	if slices.ContainsFunc(f.commands, suggestsFailover) {
		w.config.View.MarkStale()
	}
	var reason error
	f.requests, reason = w.config.Batcher.Settle()
	if err == nil {
		err = reason
	}
	return err
}

func suggestsFailover(c *resp.Command) bool { return resp.SuggestsFailover(c.Reply.Err()) }

// endBatch ends a batch. Its memory is used again.
func (w *Writer[R]) endBatch(spare []R) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stall.Stop()
	w.batch, w.spare = nil, spare
	w.accept()
}

// patience is how long a batch may be under way without a byte moving before further
// requests are refused.
func (w *Writer[R]) patience(f *batch[R]) time.Duration {
	return w.config.Timeout/4 + TransmitTime(f.size)
}

// stalled is called when a batch has been under way for a while. If no byte has moved
// lately, it refuses the requests that wait behind the batch, until bytes move again:
// they were certainly not sent.
func (w *Writer[R]) stalled() {
	w.mu.Lock()
	if w.batch == nil || w.progresses() {
		w.mu.Unlock()
		return
	}
	w.refuse(fmt.Errorf("no reply for %v", w.config.Timeout/4))
}

// progresses reports whether bytes have moved lately for the batch under way, and has
// stalled called again. mu is held.
func (w *Writer[R]) progresses() bool {
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
