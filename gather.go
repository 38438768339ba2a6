package juggler

import (
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/arena"
)

// gatherMost is how many calls are gathered before they are handed over and
// acknowledged. With more, callees would start late; with fewer, they are woken
// often. gatherBytes is how large a call may be to be gathered, which copies it.
const (
	gatherMost  = 32
	gatherBytes = 1 << 10
)

// gatherer holds calls of the turn that go to the broker together, and are then
// acknowledged together: one batch wakes the callees once, where each call by
// itself would wake them anew, at the price of a system call. It also is less
// code at a time for the processor's cache.
type gatherer struct {
	requests [gatherMost]Request
	calls    [gatherMost]broker.Call // of the requests, if they go together
	errs     [gatherMost]error
	n        int
	arena    arena.Arena // what the slices of calls point into
}

// next returns the request to be read next.
func (g *gatherer) next(s *session) *Request {
	r := &g.requests[g.n]
	r.reset(s)
	return r
}

// gather keeps r, which next returned, for the next flush, and reports
// whether it did.
func (sh *shard) gather(r *Request) bool {
	if r.call == nil || r.err != nil || len(r.args)+len(r.headers) > gatherBytes || sh.h.mustSignInFirst(r.s) {
		return false
	}
	r.id = r.call.id()
	if sh.batch == nil {
		sh.h.serve(sh.h.ctx, r)
	} else if !sh.prepare(r) {
		return false
	}
	if sh.gathered.n++; sh.gathered.n == gatherMost {
		sh.flush()
	}
	return true
}

// prepare makes the call of r, or reports that it may not be made.
func (sh *shard) prepare(r *Request) bool {
	h, g := sh.h, &sh.gathered
	if h.enter(h.ctx, r); r.err == nil {
		if err := r.makeCall(); err != nil {
			h.leave(r, err)
		}
	}
	if r.err != nil {
		return false // and nothing of it is kept: it may be that no flush follows
	}
	c := &g.calls[g.n]
	*c = r.brokerCall
	c.Args, c.Headers = g.arena.Copy(c.Args), g.arena.Copy(c.Headers)
	r.args, r.headers = c.Args, c.Headers
	return true
}

// flush hands over what was gathered, and acknowledges it.
func (sh *shard) flush() {
	g := &sh.gathered
	n := g.n
	if n == 0 {
		return
	}
	if sh.batch != nil {
		sh.callGathered()
	}
	for i := range g.requests[:n] {
		r := &g.requests[i]
		r.s.settle(r)
		r.s, r.call = nil, nil
	}
	g.n = 0
	g.arena.Reset()
}

// callGathered makes the calls.
func (sh *shard) callGathered() {
	h, g := sh.h, &sh.gathered
	calls := g.calls[:g.n]
	sh.batch.CallBatch(h.ctx, calls, g.errs[:g.n])
	for i := range calls {
		r := &g.requests[i]
		h.leave(r, h.callOutcome(r, g.errs[i]))
	}
	clear(calls)
}
