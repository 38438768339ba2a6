package juggler

import (
	"context"
	"sync"
	"time"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/worker"
)

// A job is a request that is handled off the turn, with the memory it needs, or a
// hook.
type job struct {
	Request
	message []byte                // what the slices of the Request point into
	frame   frame.Frame           // what message was decoded into
	hook    func(context.Context) // set: this is no request
	line    *line                 // of a part of the broker, if it went into one
}

var jobs = sync.Pool{New: func() any { return new(job) }}

// newJob makes a job of a copy of message.
func newJob(s *session, message []byte) *job {
	j := jobs.Get().(*job)
	j.reset(s)
	j.received = time.Now()
	j.message = append(j.message[:0], message...)
	return j
}

// newJobOf makes a job of an AUTH or a SUB that was read on the turn.
func newJobOf(r *Request) *job {
	j := newJob(r.s, r.id)
	j.message = append(j.message, r.token...)
	n := len(r.id)
	j.typ, j.id, j.token = r.typ, j.message[:n:n], j.message[n:]
	j.channel, j.pattern, j.by, j.history, j.wantsHere = r.channel, r.pattern, r.by, r.history, r.wantsHere
	return j
}

// maxRecycled is the largest message buffer that is kept for reuse.
const maxRecycled = 16 << 10

// recycle gives j back.
func (j *job) recycle() {
	j.reset(nil)
	j.frame.Reset()
	j.hook, j.line = nil, nil
	if cap(j.message) > maxRecycled {
		j.message = nil
	}
	jobs.Put(j)
}

// A line is jobs of a session that are handled in order, on a goroutine that exists
// only while there are some. It implements [worker.Worker].
type line struct {
	s    *session
	ctx  context.Context // of the session, for user code; once it has ended, hooks only
	part int             // of the broker that all its jobs go to, if it is the line of one

	mu      sync.Mutex // guards the following
	waiting []*job
	busy    bool // its worker, or a batch of the turn, has jobs of it

	// The worker's.
	jobs []*job // taken from waiting
	left []*job // of jobs: not settled
}

// add leaves jobs to the worker, and returns how many wait.
func (l *line) add(jobs ...*job) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, jobs...)
	if !l.busy {
		l.busy = true
		l.startWorker()
	}
	return len(l.waiting)
}

// acquire makes the caller the worker of l, if it has none.
func (l *line) acquire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		return false
	}
	l.busy = true
	return true
}

// release follows acquire: a worker goes on with what has come meanwhile.
func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy = len(l.waiting) > 0; l.busy {
		l.startWorker()
	}
}

// startWorker starts the worker. Shutdown waits for it.
func (l *line) startWorker() { worker.Start(&l.s.shard.h.work, l) }

func (l *line) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// Step handles the first of the jobs, or some of them together. They are settled before
// the next one is handled, which may take its time.
func (l *line) Step() (more bool) {
	if len(l.left) == 0 && !l.take() {
		return false
	}
	n := l.handle()
	l.s.shard.settled(l.left[:n])
	l.left = l.left[n:]
	return true
}

// take takes what waits. If that is nothing it ends the worker.
func (l *line) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.jobs)
	l.jobs, l.waiting = l.waiting, l.jobs[:0]
	l.left = l.jobs
	l.busy = len(l.left) > 0
	return l.busy
}

// handle handles the first of the jobs, and returns how many: a run of calls, or of
// publications, goes as one batch to a broker that takes them.
func (l *line) handle() int {
	h, j := l.s.shard.h, l.left[0]
	switch {
	case j.hook != nil:
		hook := j.hook
		j.hook = hookDone // should it end this goroutine, it is not called again
		h.callHook(l.ctx, hook)
	case l.ctx.Err() != nil:
		if j.err == nil {
			j.err = ErrShutdown // nobody is left to see it
		}
	default:
		return h.serveBatch(l.ctx, l.left[:h.batchLen(l.left)])
	}
	return 1
}

// hookDone takes the place of a hook that was called.
func hookDone(context.Context) {}

// callHook calls a hook.
func (h *Handler) callHook(ctx context.Context, f func(context.Context)) {
	h.protect("hook", func(error) {}, func() { f(ctx) })
}
