package juggler

import (
	"context"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// workQueue holds what a session has to handle off the turn, because user
// code or a broker that waits is involved: requests and hooks, in order, in
// its line. Requests that go to different parts of the broker may have a line for
// each part instead, see parts.go.
//
// A nil *workQueue is an empty one.
type workQueue struct {
	line
	cancel context.CancelFunc // of ctx
	parts  parts

	// Those below belong to the turn.
	unsettled int  // requests and hooks that were not settled yet
	full      bool // reading is paused

	// Events of the session's own publications must not overtake their ACKs.
	// While PUBs are out, events are held back until those PUBs are answered
	// that were out when the event came.
	pubsOut  int
	lastPub  uint32          // number of the newest PUB that went out
	donePub  uint32          // it and all PUBs before it were answered
	done     map[uint32]bool // PUBs that were answered before an earlier one
	held     []heldEvent
	heldSize int
}

// A line is jobs to be handled in order. A goroutine works it off that exists
// only while there is something in it.
type line struct {
	ctx context.Context // of the session, for user code; once it has ended, hooks only

	mu      sync.Mutex // guards the following
	waiting []*job
	running bool

	taken []*job // by the worker, whose it is; what is settled is cut off
}

// add leaves jobs to the worker of l, and returns how many wait.
func (l *line) add(s *session, jobs ...*job) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, jobs...)
	if !l.running {
		l.running = true
		s.shard.h.work.Add(1)
		go s.work(l)
	}
	return len(l.waiting)
}

func (l *line) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

type heldEvent struct {
	after  uint32 // the PUB that has to be answered first
	framed []byte
}

// job is a request that waits in a queue, with the memory it needs, or a hook.
type job struct {
	Request
	message []byte                // what the slices of the Request point into
	frame   frame.Frame           // what message was decoded into
	hook    func(context.Context) // set: this is no request
	apart   bool                  // it goes, or went, through the line of a part
	line    *line                 // that line, where the turn has shared it
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

// newJobOf makes a job of an AUTH that was read on the turn.
func newJobOf(r *Request) *job {
	j := newJob(r.s, r.id)
	j.message = append(j.message, r.token...)
	n := len(r.id)
	j.typ, j.id, j.token = r.typ, j.message[:n:n], j.message[n:]
	return j
}

// maxRecycled is the largest message buffer that is kept for reuse.
const maxRecycled = 16 << 10

// recycle gives j back.
func (j *job) recycle() {
	j.reset(nil)
	j.frame.Reset()
	j.hook, j.line, j.apart = nil, nil, false
	if cap(j.message) > maxRecycled {
		j.message = nil
	}
	jobs.Put(j)
}

// busy reports, on the turn, whether what comes now has to wait its turn.
func (q *workQueue) busy() bool { return q != nil && q.unsettled > 0 }

// paused reports whether the session is not being read from, on the turn.
func (q *workQueue) paused() bool { return q != nil && q.full }

// enqueue leaves j to a worker of the session, on the turn.
func (s *session) enqueue(j *job) {
	q := s.makeQueue()
	if j.typ == frame.Pub && j.err == nil {
		q.lastPub++
		q.pubsOut++
		j.pubSeq = q.lastPub
	}
	var n int
	switch {
	case q.goesApart(j):
		n = q.goApart(j).add(s, j)
	case q.parts.out > 0:
		n = q.parts.holdBack(j)
	default:
		n = q.add(s, j)
	}
	q.unsettled++
	if n >= s.shard.h.cfg.maxRequests && !q.full {
		q.full = true
		s.Pause()
	}
}

// makeQueue returns the session's queue, on the turn.
func (s *session) makeQueue() *workQueue {
	if s.queue == nil {
		s.queue = new(workQueue)
		s.queue.ctx, s.queue.cancel = context.WithCancel(s.shard.h.ctx)
	}
	return s.queue
}

// runHook has f run in its turn among what the session handles.
func (s *session) runHook(f func(context.Context)) {
	j := newJob(s, nil)
	j.hook = f
	s.enqueue(j)
}

// stop is called when the session ends: only hooks are handled from now on.
func (q *workQueue) stop() {
	if q == nil {
		return
	}
	q.cancel()
	q.held, q.heldSize = nil, 0
}

// work handles what is in a line until it is empty. Shutdown waits for it.
func (s *session) work(l *line) {
	h := s.shard.h
	defer h.work.Done()
	done := false
	defer func() {
		if !done { // user code ended this goroutine
			h.work.Add(1)
			go s.work(l)
		}
	}()
	s.workOff(l) // what another goroutine has left
	var batch []*job
	for {
		l.mu.Lock()
		batch, l.waiting = l.waiting, batch[:0]
		l.running = len(batch) > 0
		l.mu.Unlock()
		if done = len(batch) == 0; done {
			return
		}
		l.taken = batch
		s.workOff(l)
		clear(batch)
	}
}

// workOff handles, in order, what was taken. Runs of calls, or of publications,
// go as one to a broker that takes batches. Each is settled as soon as it is
// handled, as the next may take its time; the shard has many a wake-up anyway.
func (s *session) workOff(l *line) {
	h := s.shard.h
	for len(l.taken) > 0 {
		j := l.taken[0]
		n := 1
		switch {
		case j.hook != nil:
			hook := j.hook
			j.hook = called // and not again, should it end this goroutine
			h.runGuarded(l.ctx, hook)
		case l.ctx.Err() != nil:
			if j.err == nil {
				j.err = ErrShutdown // nobody is left to see it
			}
		default:
			n = h.serveBatch(l.ctx, l.taken[:h.batchLen(l.taken)])
		}
		s.shard.settled(l.taken[:n])
		l.taken = l.taken[n:]
	}
}

// called takes the place of a hook that was called.
func called(context.Context) {}

// batchLen returns how many of the first jobs may be handed over together.
func (h *Handler) batchLen(batch []*job) int {
	n := 0
	for n < len(batch) && batch[n].typ == batch[0].typ && h.batchable(batch[n]) {
		n++
	}
	return max(n, 1)
}

// runGuarded calls a hook.
func (h *Handler) runGuarded(ctx context.Context, f func(context.Context)) {
	h.protect("hook", func(error) {}, func() { f(ctx) })
}

// batchable reports whether j may be handed over together with others.
func (h *Handler) batchable(j *job) bool {
	if j.err != nil || j.accepted || j.hook != nil || h.cfg.blocking || h.mustSignInFirst(j.s) {
		return false
	}
	return j.typ == frame.Call && h.batch != nil || j.typ == frame.Pub && h.publishes != nil
}

// batchPatience is how long the requests of a batch wait for the later ones
// to be authorized.
const batchPatience = time.Millisecond

// serveBatch serves the first of some calls, or publications, as one batch:
// authorized one by one, handed over together. It returns how many: not those
// that come up once ctx has ended. One alone may be any request. If user code ends
// the goroutine, whoever goes on has all served again, which leaves those alone
// that have an outcome.
func (h *Handler) serveBatch(ctx context.Context, batch []*job) (n int) {
	if len(batch) == 1 {
		h.serve(ctx, &batch[0].Request)
		return 1
	}
	ready := make([]*Request, 0, len(batch))
	defer func() { h.handOverBatch(ctx, ready) }() // also when user code ends the goroutine
	start := time.Now()
	for n = 0; n < len(batch) && (n == 0 || ctx.Err() == nil && time.Since(start) < batchPatience); n++ {
		r := &batch[n].Request
		if h.enter(ctx, r); r.err == nil {
			ready = append(ready, r)
		}
	}
	return n
}

// handOverBatch hands requests that have entered to the broker, all of one type.
func (h *Handler) handOverBatch(ctx context.Context, ready []*Request) {
	ready = h.filledIn(ready)
	if len(ready) == 0 {
		return
	}
	errs := make([]error, len(ready))
	if ready[0].typ == frame.Call {
		h.callBatch(ctx, ready, errs)
	} else {
		h.publishBatch(ctx, ready, errs)
	}
	h.leaveAll(ready, errs)
}

// filledIn fills in what the broker gets of requests, all at the same time, as
// the time of calls goes on. It returns, in the same place, those of which it can.
func (h *Handler) filledIn(requests []*Request) []*Request {
	n := 0
	for _, r := range requests {
		if err := r.fillIn(); err != nil {
			h.leave(r, err)
			continue
		}
		requests[n] = r
		n++
	}
	return requests[:n]
}

func (h *Handler) callBatch(ctx context.Context, ready []*Request, errs []error) {
	calls := make([]broker.Call, len(ready))
	for i, r := range ready {
		calls[i] = r.brokerCall
	}
	ctx, cancel := h.brokerContext(ctx)
	defer cancel()
	h.batch.CallBatch(ctx, calls, errs)
	for i, r := range ready {
		errs[i] = h.callOutcome(r, errs[i])
	}
}

func (h *Handler) publishBatch(ctx context.Context, ready []*Request, errs []error) {
	if err := h.behind(); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return
	}
	h.stats.publications.Add(uint64(len(ready)))
	events := make([]broker.Event, len(ready))
	for i, r := range ready {
		events[i] = r.brokerEvent
	}
	ctx, cancel := h.brokerContext(ctx)
	defer cancel()
	h.publishes.PublishBatch(ctx, events, errs)
	for i := range errs {
		errs[i] = publishOutcome(errs[i])
	}
}

// fillIn fills in what the broker gets of a CALL or PUB.
func (r *Request) fillIn() error {
	if r.typ == frame.Call {
		return r.makeCall()
	}
	return r.makeEvent()
}

// settled leaves jobs that were handled in the shard's inbox.
func (sh *shard) settled(batch []*job) {
	sh.inbox.mu.Lock()
	sh.inbox.settled = append(sh.inbox.settled, batch...)
	sh.inbox.mu.Unlock()
	sh.group.Wake()
}

// answered is called on the turn after each request or hook of the queue was
// settled: it releases events that waited for it, and has the session read
// again.
func (q *workQueue) answered(s *session, j *job) {
	q.unsettled--
	if j.apart {
		q.returned(s)
	}
	if j.pubSeq != 0 {
		q.pubsOut--
		q.answeredPub(j.pubSeq)
		q.release(s)
	}
	if q.full && max(q.len()+len(q.parts.behind), q.parts.longest()) <= s.shard.h.cfg.maxRequests/2 {
		q.full = false
		s.pinged = false // its answer could not be read
		s.Resume()
	}
}

// answeredPub notes that a PUB was answered, maybe before an earlier one.
func (q *workQueue) answeredPub(number uint32) {
	if number != q.donePub+1 {
		if q.done == nil {
			q.done = map[uint32]bool{}
		}
		q.done[number] = true
		return
	}
	for q.donePub = number; q.done[q.donePub+1]; q.donePub++ {
		delete(q.done, q.donePub+1)
	}
}

// hold keeps an event back if a PUB of the session is out.
func (q *workQueue) hold(s *session, framed []byte) bool {
	if q == nil || q.pubsOut == 0 {
		return false
	}
	q.heldSize += len(framed)
	if q.heldSize > s.shard.h.cfg.maxQueue {
		s.end(CloseSlowConsumer, "too many events wait for the answer to a PUB")
		return true
	}
	q.held = append(q.held, heldEvent{q.lastPub, append([]byte(nil), framed...)})
	return true
}

// release sends the events whose PUBs are answered.
func (q *workQueue) release(s *session) {
	for len(q.held) > 0 && int32(q.donePub-q.held[0].after) >= 0 {
		framed := q.held[0].framed
		q.held[0] = heldEvent{}
		q.held = q.held[1:]
		q.heldSize -= len(framed)
		s.WriteRaw(framed) // may end the session, which empties q.held
	}
	if len(q.held) == 0 {
		q.held = nil
	}
}

// askLater has f ask the broker soon, within the broker's time.
func (h *Handler) askLater(f func(context.Context)) {
	h.later.Do(func() {
		ctx, cancel := context.WithTimeout(h.asking, h.cfg.brokerTimeout)
		defer cancel()
		f(ctx)
	})
}
