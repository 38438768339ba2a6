package juggler

import (
	"context"
	"slices"
	"sync"

	"github.com/juggler-go/juggler/frame"
)

// workQueue holds the requests and hooks of a session that are handled off the turn, as
// user code or the broker may wait. They are in one line, in order; calls, or
// publications, may be in a line for each part of the broker instead.
//
// A nil *workQueue is an empty one.
type workQueue struct {
	line
	parts  parts
	cancel context.CancelFunc // of the lines' ctx

	// The following belongs to the turn.

	unsettled int    // requests and hooks that were not settled yet
	bytes     int    // of their messages
	full      bool   // reading is paused
	rights    uint32 // how often rights ended: a SUB that came before is not to slip through
	held      heldEvents
}

// parts are lines for the parts of the broker that calls, or publications, go to:
// while one part is slow or out of reach, what goes to the others goes on. What goes to
// one part keeps its order, and with it what has one URI or channel. Requests of other
// types and hooks wait until nothing is left in these lines, and everything that comes
// behind them waits for them. So do the requests of juggler.0, where ACKs come in order.
//
// All but user belongs to the turn.
type parts struct {
	lines     []*line    // as many as were needed at once since all were empty
	unsettled int        // jobs in them that were not settled yet
	typ       frame.Type // of these
	behind    []*job     // what waits until there are none

	// user is held while non-blocking user code runs for a request of the session:
	// one at a time.
	user sync.Mutex
}

// busy reports, on the turn, whether the next request has to wait for others.
func (q *workQueue) busy() bool { return q != nil && q.unsettled > 0 }

// onlyParts reports whether all that is not settled is in the lines of parts.
func (q *workQueue) onlyParts() bool { return !q.busy() || q.unsettled == q.parts.unsettled }

// makeQueue returns the session's queue, on the turn.
func (s *session) makeQueue() *workQueue {
	if s.queue == nil {
		s.queue = new(workQueue)
		s.queue.s = s
		s.queue.ctx, s.queue.cancel = context.WithCancel(s.shard.h.ctx)
	}
	return s.queue
}

// enqueue adds j to the line it belongs to, on the turn.
func (s *session) enqueue(j *job) {
	q := s.makeQueue()
	j.rights = q.rights
	if j.typ == frame.Pub && j.err == nil {
		j.pubSeq = q.held.sent()
	}
	var waiting int
	switch {
	case q.fitsParts(j):
		waiting = q.lineOf(j).add(j)
	case q.parts.unsettled > 0:
		q.parts.behind = append(q.parts.behind, j)
		waiting = len(q.parts.behind)
	default:
		waiting = q.add(j)
	}
	q.unsettled++
	q.keep(len(j.message))
	cfg := s.shard.h.cfg
	if (waiting >= cfg.maxRequests || q.bytes >= cfg.maxQueue) && !q.full {
		q.full = true
		s.Pause()
	}
}

// enqueueHook adds the call of a hook.
func (s *session) enqueueHook(f func(context.Context)) {
	j := newJob(s, nil)
	j.hook = f
	s.enqueue(j)
}

// fitsParts reports whether j may go into the line of its part of the broker.
func (q *workQueue) fitsParts(j *job) bool {
	h := j.s.shard.h
	switch {
	case h.cfg.mayBlock() || !h.batchable(j):
		return false
	case q.unsettled == 0:
		return true
	}
	return q.onlyParts() && q.parts.typ == j.typ && j.s.protocol != frame.Juggler0
}

// lineOf counts j, which fits, among the jobs of parts, and returns its line.
func (q *workQueue) lineOf(j *job) *line {
	p := &q.parts
	p.typ = j.typ
	p.unsettled++
	part := j.s.shard.h.broker.part(&j.Request)
	i := slices.IndexFunc(p.lines, func(l *line) bool { return l.part == part })
	switch {
	case i >= 0:
		j.line = p.lines[i]
	case len(p.lines) == 1 && p.unsettled == 1: // it is empty
		j.line = p.lines[0]
		j.line.part = part
	default:
		j.line = &line{s: q.s, ctx: q.ctx, part: part}
		p.lines = append(p.lines, j.line)
	}
	return j.line
}

// stop is called when the session ends: only hooks are handled from now on.
func (q *workQueue) stop() {
	if q == nil {
		return
	}
	q.cancel()
	q.held.drop()
}

// answered is called on the turn after each request or hook of the queue was
// settled: it releases events that waited for it, and has the session read
// again.
func (q *workQueue) answered(j *job) {
	q.unsettled--
	q.keep(-len(j.message))
	if j.line != nil {
		q.answeredPart()
	}
	if j.pubSeq != 0 {
		q.held.answered(j.pubSeq)
		q.held.release(q.s)
		if q.held.pubsOut == 0 {
			q.s.shard.replays.resume(q.s)
		}
	}
	if cfg := q.s.shard.h.cfg; q.full && q.longest() <= cfg.maxRequests/2 && q.bytes <= cfg.maxQueue/2 {
		q.full = false
		q.s.readAgain()
	}
}

// keep counts n bytes more, or less, of messages that were not settled.
func (q *workQueue) keep(n int) {
	q.bytes += n
	q.s.shard.group.Keep(n)
}

// answeredPart is called when a job in the line of a part was settled. After the last
// one, what waited behind them is handled.
func (q *workQueue) answeredPart() {
	p := &q.parts
	if p.unsettled--; p.unsettled > 0 {
		return
	}
	clear(p.lines[1:])
	p.lines = p.lines[:1]
	if len(p.behind) > 0 {
		q.add(p.behind...)
		p.behind = nil
	}
}

// longest returns how many jobs wait in the longest line.
func (q *workQueue) longest() int {
	n := q.len() + len(q.parts.behind)
	for _, l := range q.parts.lines {
		n = max(n, l.len())
	}
	return n
}
