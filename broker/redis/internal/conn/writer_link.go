package conn

import (
	"context"
	"errors"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// awaitInput waits for the first byte of a reply, or for wakeUp.
func (w *Writer[R]) awaitInput(l *Link) {
	err := l.Await()
	if errors.Is(err, ErrInterrupted) {
		return
	}
	w.mu.Lock()
	idle := w.batch == nil
	if idle {
		w.link = nil // before anybody sends over it
	}
	w.mu.Unlock()
	switch {
	case !idle:
	case err == nil: // nothing was sent
		w.close(l)
		w.config.Observer.Down(resp.ErrProtocol)
	default:
		w.endedIdle(l, err)
	}
}

// endedIdle handles that the other side has closed an idle connection. The next
// connection tells whether the server is still the same; until then nothing is learned
// from it.
func (w *Writer[R]) endedIdle(l *Link, err error) {
	w.mu.Lock()
	w.link = nil
	w.mu.Unlock()
	w.close(l)
	w.endedAt = l.Place()
	w.config.Observer.Idle(err)
}

// dropLink closes the connection, if there is one.
func (w *Writer[R]) dropLink() {
	w.mu.Lock()
	l := w.link
	w.link = nil
	w.mu.Unlock()
	if l != nil {
		w.close(l)
	}
}

// close closes a link that nobody uses any more.
func (w *Writer[R]) close(l *Link) {
	l.Close()
	w.config.View.MarkStale()
}

// connect connects, unless ctx ends first, and sends the greeting before anything else:
// what follows relies on it.
func (w *Writer[R]) connect(ctx context.Context) error {
	l, err := w.config.View.Dial(ctx, w.config.Slot, Server{}, w.config.Timeout, w.linkRetired)
	if err != nil {
		return err
	}
	if greeting := w.config.Greeting(l.Place()); len(greeting) > 0 {
		stop := context.AfterFunc(ctx, l.Cut)
		err = l.Run(greeting...)
		if !stop() {
			err = ctx.Err()
		}
		if err != nil {
			l.Close()
			return err
		}
	}
	if before := w.endedAt; before != (Place{}) && (l.Who == "" || l.Place() != before) {
		w.config.Observer.Moved()
	}
	w.endedAt = Place{}
	w.mu.Lock()
	w.link = l
	w.mu.Unlock()
	w.config.Observer.Up()
	return nil
}

// linkRetired has the goroutine replace the link.
func (w *Writer[R]) linkRetired() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeUp()
}

// reconnect refuses all requests until there is a connection again or the writer is
// stopped.
func (w *Writer[R]) reconnect(err error) {
	w.stall.Stop()
	w.config.Observer.Down(err)
	w.endedAt = Place{} // Down and Regained say more than Moved
	for attempt := 0; ; attempt++ {
		wait := w.config.Backoff.After(attempt)
		w.mu.Lock()
		w.next = time.Now().Add(wait)
		w.refuse(err)
		if !Sleep(w.quit, wait) {
			return
		}
		if err = w.connect(w.quit); err == nil { // nothing waits for it that Stop would lose
			w.mu.Lock()
			w.down, w.upSince = false, time.Now()
			w.mu.Unlock()
			w.config.Observer.Regained()
			return
		}
		w.config.View.MarkStale()
	}
}

// refuse refuses new requests and those that wait, until accept. mu is held, and
// released.
func (w *Writer[R]) refuse(err error) {
	if !w.closed {
		w.refusing = err
	}
	requests := w.queue
	w.queue = nil
	w.mu.Unlock()
	w.refuseAll(requests, err)
}

// accept ends what refuse began. mu is held.
func (w *Writer[R]) accept() {
	if !w.closed {
		w.refusing = nil
	}
}

// refuseAll finishes requests that were certainly not done, because of err.
func (w *Writer[R]) refuseAll(requests []R, err error) {
	w.mu.Lock()
	err = w.refusal(err)
	w.mu.Unlock()
	for _, r := range requests {
		r.Finish(err)
	}
}

// refusal returns the error of requests that are refused because of err. mu is held.
func (w *Writer[R]) refusal(err error) error {
	after := max(time.Until(w.next), 0) + Jitter(2*w.config.Backoff.First)
	return w.config.Batcher.Refusal(err, after)
}
