package conn

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A Writer sends requests that do not block to the master of one slot, over one
// connection. It is a group commit: an idle writer sends at once; requests that come while
// a batch is under way go out together in the next. So a lone request waits for nobody,
// and many share a round trip.
//
// A goroutine that submits to an idle writer writes the request itself, because to wake
// another one would take longer than the system call. The writer's own goroutine, which
// runs from Start to Stop, receives the replies and sends the next batch. While the
// server is unreachable it refuses requests at once, and reconnects.
//
// All methods may be called concurrently.
type Writer[R Request] struct {
	config WriterConfig[R]

	mu       sync.Mutex // guards the following
	queue    []R
	spare    []R       // the memory of a batch that is complete
	batch    *batch[R] // the batch under way, or nil
	link     *Link     // nil: not connected; only the goroutine changes it
	refusing error     // why new requests are refused: the connection is down, stalled or closed
	next     time.Time // of the next attempt, while refusing
	closed   bool

	shared    bool // the last batch had more than one request
	gathering bool // a goroutine that submits waits for others before it sends

	// sending is held while a batch is encoded and written. Where mu is needed too, that
	// is locked first.
	sending sync.Mutex

	wake    chan struct{}   // has an element if there may be something in queue
	quit    context.Context // ends with Stop
	cancel  context.CancelFunc
	stopped chan struct{} // closed by run

	stall *time.Timer // runs while a batch is under way

	// Where the connection led that the other side ended while it was idle; zero: it
	// has been made anew since. Only the goroutine uses it.
	endedAt Place

	// Whether the master is reachable, guarded by mu. A stalled one is.
	down    bool
	upSince time.Time // since when it is reachable again; zero: it always was
}

// A Request is what a Writer sends, as a command or as a part of one.
type Request interface {
	Size() int    // about how many bytes it has on its way
	Urgent() bool // it is sent before others that wait, as all that it is submitted with

	// Finish is called once, with nil if the server has done what was requested. It must
	// not wait.
	Finish(err error)
}

// A Batcher makes commands of requests. The writer calls it for one batch at a time.
type Batcher[R Request] interface {
	// Commands returns the commands for requests.
	Commands(requests []R) []*resp.Command

	// Settle finishes the requests of the last Commands, whose commands have their
	// replies, or none after a lost connection. It returns those that were certainly not
	// done and may be sent again, with the reason.
	Settle() (again []R, reason error)

	// Refusal returns the error of requests that were certainly not done, because of err,
	// which is ErrClosed after Stop. A retry makes sense after that time.
	Refusal(err error, retryAfter time.Duration) error
}

// A WriterConfig has the settings of a Writer.
type WriterConfig[R Request] struct {
	View     *View
	Slot     int
	Timeout  time.Duration // for a connection, and for replies while no byte moves
	Backoff  Backoff
	Batcher  Batcher[R]
	Observer WriterObserver

	// Greeting returns what is sent first over each new connection, which leads there.
	Greeting func(Place) []*resp.Command
}

// A WriterObserver is told what becomes of a writer's connection, on its goroutine.
type WriterObserver struct {
	Up       func()
	Down     func(err error) // it was lost, or has to be replaced
	Idle     func(err error) // the other side has closed it with nothing under way
	Moved    func()          // after Idle, before Up: another server may answer now
	Regained func()          // requests are taken again, after a loss
}

// ErrClosed is why requests are refused after Stop.
var ErrClosed = errors.New("closed")

// MaxBatchBytes is how much a batch has at most, besides a single request that is larger.
// So replies show early that a large queue makes progress, and little is lost with a
// connection.
const MaxBatchBytes = 1 << 20

// directBytes is how much a goroutine that submits writes itself at most. So much fits
// into the buffer of the socket, because the server has read all that was sent before. So
// a caller with a deadline does not block.
const directBytes = 8 << 10

// NewWriter returns a Writer, to be started.
func NewWriter[R Request](c WriterConfig[R]) *Writer[R] {
	w := &Writer[R]{
		config:  c,
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
	w.quit, w.cancel = context.WithCancel(background)
	w.stall = time.AfterFunc(time.Hour, w.stalled)
	w.stall.Stop()
	return w
}

// Start starts the writer's goroutine.
func (w *Writer[R]) Start() { go w.run() }

// Stop sends what is queued already, if the server is in reach, and ends the
// goroutine and the connection.
func (w *Writer[R]) Stop() {
	w.mu.Lock()
	w.closed = true
	w.cancel()
	w.refusing = ErrClosed
	w.wakeUp()
	w.mu.Unlock()
	<-w.stopped
}

// Submit queues requests, in order, or sends them at once. If the first is urgent they go
// before all that wait.
func (w *Writer[R]) Submit(requests ...R) {
	w.mu.Lock()
	if w.refusing != nil {
		err := w.refusal(w.refusing)
		w.mu.Unlock()
		for _, r := range requests {
			r.Finish(err)
		}
		return
	}
	first := w.batch == nil && len(w.queue) == 0
	if len(requests) > 0 && requests[0].Urgent() {
		w.queue = slices.Insert(w.queue, 0, requests...)
	} else {
		w.queue = append(w.queue, requests...)
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

// within returns how many of requests, at least one, have together at most so many
// bytes, and how many bytes these have.
func within[R Request](requests []R, most int) (n, size int) {
	for n < len(requests) && (n == 0 || size+requests[n].Size() <= most) {
		size += requests[n].Size()
		n++
	}
	return n, size
}

// fitsDirectWrite reports whether the goroutine that has submitted may write the queue
// itself. mu is held.
func (w *Writer[R]) fitsDirectWrite() bool {
	n, size := within(w.queue, directBytes)
	return n > 0 && n == len(w.queue) && size <= directBytes
}

// wakeUp wakes the writer's goroutine, unless it will look at the queue anyway when the
// batch under way is complete. mu is held.
func (w *Writer[R]) wakeUp() {
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

func (w *Writer[R]) run() {
	defer close(w.stopped)
	for f := w.nextBatch(); f != nil; f = w.nextBatch() {
		requests := f.requests
		w.completeBatch(f)
		clear(requests)
		w.endBatch(requests[:0])
	}
	w.dropLink()
}

// nextBatch waits until there is a batch to complete: one that was sent and has a reply
// or has failed, or one that was not sent. It returns nil when the writer was stopped and
// nothing is left.
func (w *Writer[R]) nextBatch() *batch[R] {
	for {
		w.mu.Lock()
		f, l := w.batch, w.link
		if f == nil && l != nil && l.Retired() != nil {
			w.mu.Unlock()
			w.dropLink()
			w.config.Observer.Down(l.Retired())
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
			case <-w.quit.Done():
			}
		}
	}
}

// Stable reports whether the master has been reachable for longer than the timeout.
func (w *Writer[R]) Stable() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.down && (w.upSince.IsZero() || time.Since(w.upSince) > w.config.Timeout)
}

// Unreachable reports whether requests are refused: the connection is down, stalled, or
// closed.
func (w *Writer[R]) Unreachable() bool { return w.Refusing() != nil }

// Refusing returns why requests are refused, or nil.
func (w *Writer[R]) Refusing() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refusing
}
