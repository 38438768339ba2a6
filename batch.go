package juggler

import (
	"context"
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/worker"
)

// maxTurnBatch is how many calls a turnBatch has at most. More make a larger batch,
// which costs less a call at each of its stops; but none is queued before all are.
const maxTurnBatch = 64

// A turnBatch is calls of a turn, each of another session, on their way to one part of
// a broker that may wait. One goroutine sends them together, in the place of the
// sessions' own workers: with one for each call a node spends a quarter of its time on
// goroutines. It does so for calls that no user code can hold up, so a session waits
// for others at most as long as that part of the broker takes. It implements
// [worker.Worker].
type turnBatch struct {
	sh   *shard
	part int
	jobs [maxTurnBatch]*job
	n    int    // of jobs
	left []*job // of jobs: not settled
}

// joinBatch adds j to a batch of the turn, and reports whether it could: only a CALL may
// join, as the one request that its session has under way at that part of the broker.
// What the session sends next waits in the line.
func (sh *shard) joinBatch(j *job) bool {
	if j.typ != frame.Call {
		return false
	}
	q := j.s.makeQueue()
	if !q.fitsParts(j) {
		return false
	}
	l := q.lineOf(j)
	q.unsettled++
	q.keep(len(j.message))
	if !l.acquire() {
		l.add(j)
		return true
	}
	i := slices.IndexFunc(sh.batches, func(b *turnBatch) bool { return b.part == l.part })
	if i < 0 {
		i = len(sh.batches)
		sh.batches = append(sh.batches, &turnBatch{sh: sh, part: l.part})
	}
	b := sh.batches[i]
	b.jobs[b.n] = j
	if b.n++; b.n == maxTurnBatch {
		sh.batches = slices.Delete(sh.batches, i, i+1)
		b.send()
	}
	return true
}

// sendBatches sends the batches of the turn.
func (sh *shard) sendBatches() {
	for _, b := range sh.batches {
		b.send()
	}
	clear(sh.batches)
	sh.batches = sh.batches[:0]
}

// send has the calls sent to the broker. Shutdown waits for it.
func (b *turnBatch) send() {
	b.left = b.jobs[:b.n]
	worker.Start(&b.sh.h.work, b)
}

// Step sends the calls, or some of them.
func (b *turnBatch) Step() (more bool) {
	h := b.sh.h
	done := b.left[:h.serveBatch(h.ctx, b.left[:h.batchLen(b.left)])]
	var acquired [maxTurnBatch]*line
	for i, j := range done {
		acquired[i] = j.line
	}
	n := len(done)
	b.left = b.left[n:]
	b.sh.settled(done) // which are not ours any more
	for _, l := range acquired[:n] {
		l.release()
	}
	return len(b.left) > 0
}

// batchLen returns how many of the first jobs may be sent together.
func (h *Handler) batchLen(batch []*job) int {
	n := 0
	for n < len(batch) && batch[n].typ == batch[0].typ && h.batchable(batch[n]) {
		n++
	}
	return max(n, 1)
}

// batchable reports whether j may be sent together with others.
func (h *Handler) batchable(j *job) bool {
	if j.err != nil || j.accepted || j.hook != nil || j.keyed != nil || h.cfg.blocking || h.mustSignInFirst(j.s) {
		return false
	}
	return j.typ == frame.Call && h.broker.batchCaller != nil || j.typ == frame.Pub && h.broker.batchPublisher != nil
}

// batchPatience is how long the requests of a batch wait for the later ones
// to be authorized.
const batchPatience = time.Millisecond

// serveBatch serves the first requests of a batch, all of them calls or publications:
// authorized one by one, sent together. It returns how many; it stops when ctx has ended.
// A batch of one may be any request. If user code ends the goroutine, the next one serves
// the whole batch again, and requests that have an outcome are left alone.
func (h *Handler) serveBatch(ctx context.Context, batch []*job) (n int) {
	if len(batch) == 1 {
		h.serve(ctx, &batch[0].Request)
		return 1
	}
	ready := make([]*Request, 0, len(batch))
	defer func() { h.sendBatch(ctx, ready) }() // also when user code ends the goroutine
	start := time.Now()
	for n = 0; n < len(batch) && (n == 0 || ctx.Err() == nil && time.Since(start) < batchPatience); n++ {
		r := &batch[n].Request
		if h.before(ctx, r); r.err == nil {
			ready = append(ready, r)
		}
	}
	return n
}

// sendBatch sends requests, all of one type, to the broker.
func (h *Handler) sendBatch(ctx context.Context, ready []*Request) {
	ready = h.fillIn(ready)
	if len(ready) == 0 {
		return
	}
	errs := make([]error, len(ready))
	if ready[0].typ == frame.Call {
		h.sendCalls(ctx, ready, errs)
	} else {
		h.sendEvents(ctx, ready, errs)
	}
	h.afterAll(ready, errs)
}

// fillIn fills in the calls, or events, of requests, all at the same time, as the time of
// calls goes on. It returns, in the same place, the requests of which it could.
func (h *Handler) fillIn(requests []*Request) []*Request {
	n := 0
	for _, r := range requests {
		if err := r.fillIn(); err != nil {
			h.after(r, err)
			continue
		}
		requests[n] = r
		n++
	}
	return requests[:n]
}

// sendCalls sends calls.
func (h *Handler) sendCalls(ctx context.Context, ready []*Request, errs []error) {
	calls := make([]broker.Call, len(ready))
	for i, r := range ready {
		calls[i] = r.brokerCall
	}
	h.broker.callBatch(ctx, calls, errs)
	for i, r := range ready {
		errs[i] = h.callOutcome(r, errs[i])
	}
}

// sendEvents sends events.
func (h *Handler) sendEvents(ctx context.Context, ready []*Request, errs []error) {
	if err := h.behind(); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return
	}
	if slices.ContainsFunc(ready, (*Request).hasKey) {
		h.sendPublications(ctx, ready, errs)
		return
	}
	h.stats.publications.Add(uint64(len(ready)))
	events := make([]broker.Event, len(ready))
	for i, r := range ready {
		events[i] = r.brokerEvent
	}
	h.broker.publishBatch(ctx, events, errs)
	for i := range errs {
		errs[i] = publishOutcome(errs[i])
	}
}

// sendPublications sends events of which some have keys.
func (h *Handler) sendPublications(ctx context.Context, ready []*Request, errs []error) {
	ctx, cancel := h.broker.bound(ctx, h.broker.publishesNeverWait)
	defer cancel()
	publications, done := make([]broker.Publication, len(ready)), make([]broker.Published, len(ready))
	for i, r := range ready {
		publications[i] = r.publication()
	}
	h.publishKept(ctx, publications, done)
	for i := range done {
		errs[i] = done[i].Err
	}
}
