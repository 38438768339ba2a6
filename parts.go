package juggler

import (
	"slices"
	"sync"

	"github.com/juggler-go/juggler/frame"
)

// parts are the lines of a session for the parts of the broker that calls, or
// publications, go to: while one part is slow or out of reach, what goes to the others
// goes on. What goes to one part keeps its order, and with it what has one URI or
// channel. Requests of other types and hooks wait until nothing is left in these lines,
// and everything that comes behind them waits for them. So do the requests of juggler.0,
// where ACKs come in order.
//
// All but user belongs to the turn.
type parts struct {
	lines  []*partLine // as many as were needed at once since all were empty
	out    int         // jobs in them that were not settled yet
	typ    frame.Type  // of these
	behind []*job      // what waits until there are none

	// user is held while non-blocking user code runs for a request of the session:
	// one at a time.
	user sync.Mutex
}

// A partLine is the line for one part of the broker.
type partLine struct {
	line
	part int
}

// goesApart reports whether j may go into the line of its part.
func (q *workQueue) goesApart(j *job) bool {
	h := j.s.shard.h
	switch {
	case h.cfg.mayBlock() || !h.batchable(j):
		return false
	case q.unsettled == 0:
		return true
	}
	return q.inParts() && q.parts.typ == j.typ && j.s.protocol != frame.Juggler0
}

// inParts reports whether all that is not settled is in lines of parts.
func (q *workQueue) inParts() bool { return q.unsettled == q.parts.out }

// goApart notes that j, which may, goes into the line of its part, which it returns.
func (q *workQueue) goApart(j *job) *line {
	p := &q.parts
	part := j.s.shard.h.partOf(j)
	j.apart = true
	p.typ = j.typ
	p.out++
	i := slices.IndexFunc(p.lines, func(l *partLine) bool { return l.part == part })
	switch {
	case i >= 0:
		return &p.lines[i].line
	case len(p.lines) == 1 && p.out == 1: // it is empty
		p.lines[0].part = part
		return &p.lines[0].line
	}
	l := &partLine{part: part, line: line{ctx: q.ctx}}
	p.lines = append(p.lines, l)
	return &l.line
}

// partOf returns the part of the broker that a call or publication goes to.
func (h *Handler) partOf(j *job) int {
	switch {
	case j.typ == frame.Call && h.callParts != nil:
		return h.callParts.Part(j.uri)
	case j.typ == frame.Pub && h.publishParts != nil:
		return h.publishParts.Part(j.channel)
	}
	return 0
}

// holdBack has j wait until the lines of parts are empty, and returns how many do.
func (p *parts) holdBack(j *job) int {
	p.behind = append(p.behind, j)
	return len(p.behind)
}

// returned is called when a job of a part was settled.
func (q *workQueue) returned(s *session) {
	p := &q.parts
	if p.out--; p.out > 0 {
		return
	}
	clear(p.lines[1:])
	p.lines = p.lines[:1]
	if len(p.behind) > 0 {
		q.add(s, p.behind...)
		p.behind = nil
	}
}

// longest returns how many jobs wait in the longest line of a part.
func (p *parts) longest() int {
	n := 0
	for _, l := range p.lines {
		n = max(n, l.len())
	}
	return n
}
