package juggler

import (
	"slices"

	"github.com/juggler-go/juggler/frame"
)

// shareMost is how many calls are shared at most. More make a larger batch, which
// costs less a call at each of its stops; but none is queued before all are.
const shareMost = 64

// sharedBatch is calls of a turn, each of another session, on their way to a
// broker that waits. One goroutine hands them over together, in the place of
// the sessions' own workers: with one for each call a node spends a quarter of
// its time on goroutines. It does so for calls that no user code can hold up,
// so a session waits for others at most as long as the broker takes, and only for
// those whose calls go to the same part of it.
type sharedBatch struct {
	sh   *shard
	part int // of the broker, for all calls
	jobs [shareMost]*job
	n    int
	rest []*job // not settled, for work
}

// share takes j into the batch of the turn, if it can, as the one thing that its
// session has under way at its part of the broker: what comes next waits in a line.
func (sh *shard) share(j *job) bool {
	if j.typ != frame.Call {
		return false
	}
	q := j.s.makeQueue()
	if !q.goesApart(j) {
		return false
	}
	j.line = q.goApart(j)
	q.unsettled++
	if !j.line.claim() {
		j.line.add(j.s, j)
		return true
	}
	part := sh.h.partOf(j)
	i := slices.IndexFunc(sh.shared, func(b *sharedBatch) bool { return b.part == part })
	if i < 0 {
		i = len(sh.shared)
		sh.shared = append(sh.shared, &sharedBatch{sh: sh, part: part})
	}
	b := sh.shared[i]
	b.jobs[b.n] = j
	if b.n++; b.n == shareMost {
		sh.shared = slices.Delete(sh.shared, i, i+1)
		b.handOver()
	}
	return true
}

// handOverShared has what is shared handed to the broker.
func (sh *shard) handOverShared() {
	for _, b := range sh.shared {
		b.handOver()
	}
	clear(sh.shared)
	sh.shared = sh.shared[:0]
}

func (b *sharedBatch) handOver() {
	b.rest = b.jobs[:b.n]
	b.sh.h.work.Add(1)
	go b.work()
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
		var claimed [shareMost]struct {
			s *session
			l *line
		}
		for i, j := range b.rest[:n] {
			claimed[i].s, claimed[i].l = j.s, j.line
		}
		b.sh.settled(b.rest[:n]) // which are not ours any more
		for _, c := range claimed[:n] {
			c.l.yield(c.s)
		}
		b.rest = b.rest[n:]
	}
}

// claim makes the caller the worker of l, if it has none.
func (l *line) claim() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running {
		return false
	}
	l.running = true
	return true
}

// yield ends claim: a worker of the session's own goes on with what has come
// meanwhile.
func (l *line) yield(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running = len(l.waiting) > 0; l.running {
		s.shard.h.work.Add(1)
		go s.work(l)
	}
}
