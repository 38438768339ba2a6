package juggler

import "github.com/juggler-go/juggler/frame"

// shareMost is how many calls are shared at most. More make a larger batch, which
// costs less a call at each of its stops; but none is queued before all are.
const shareMost = 64

// sharedBatch is calls of a turn, each of another session, on their way to a
// broker that waits. One goroutine hands them over together, in the place of
// the sessions' own workers: with one for each call a node spends a quarter of
// its time on goroutines. It does so for calls that no user code can hold up,
// so a session waits for others at most as long as the broker takes.
type sharedBatch struct {
	sh   *shard
	jobs [shareMost]*job
	n    int
	rest []*job // not settled, for work
}

// share takes j into the batch of the turn, if it can, as the one thing that its
// session has under way: what comes next waits in the session's queue.
func (sh *shard) share(j *job) bool {
	h := sh.h
	if j.typ != frame.Call || j.s.queue.busy() || h.cfg.mayBlock() || !h.batchable(j) {
		return false
	}
	q := j.s.makeQueue()
	if !q.claim() {
		return false
	}
	q.unsettled++
	if sh.shared == nil {
		sh.shared = &sharedBatch{sh: sh}
	}
	b := sh.shared
	b.jobs[b.n] = j
	if b.n++; b.n == shareMost {
		sh.handOverShared()
	}
	return true
}

// handOverShared has what is shared handed to the broker.
func (sh *shard) handOverShared() {
	if b := sh.shared; b != nil {
		sh.shared = nil
		b.rest = b.jobs[:b.n]
		sh.h.work.Add(1)
		go b.work()
	}
}

// work hands the batch over. Shutdown waits for it.
func (b *sharedBatch) work() {
	h := b.sh.h
	defer h.work.Done()
	defer func() {
		if len(b.rest) > 0 { // user code ended this goroutine
			h.work.Add(1)
			go b.work()
		}
	}()
	for len(b.rest) > 0 {
		n := h.serveBatch(h.ctx, b.rest[:h.batchLen(b.rest)])
		var sessions [shareMost]*session
		for i, j := range b.rest[:n] {
			sessions[i] = j.s
		}
		b.sh.settled(b.rest[:n]) // which are not ours any more
		for _, s := range sessions[:n] {
			s.queue.yield(s)
		}
		b.rest = b.rest[n:]
	}
}

// claim makes the caller the worker of q, if it has none.
func (q *workQueue) claim() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running {
		return false
	}
	q.running = true
	return true
}

// yield ends claim: a worker of the session's own goes on with what has come
// meanwhile.
func (q *workQueue) yield(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running = len(q.waiting) > 0; q.running {
		s.shard.h.work.Add(1)
		go s.work(q)
	}
}
