package juggler

import "github.com/juggler-go/juggler/broker"

// gatherMost is how many calls are gathered before they go to the broker.
// With more, callees would start late; with fewer, they are woken often.
// gatherBytes is how large a call may be to be gathered, which copies it.
const (
	gatherMost  = 32
	gatherBytes = 1 << 10
)

// gatherer holds calls of the turn that go to the broker together: one batch
// wakes the callees once, where each call by itself would wake them anew, at
// the price of a system call.
type gatherer struct {
	requests [gatherMost]Request
	calls    [gatherMost]broker.Call
	errs     [gatherMost]error
	n        int
	arena    arena // what the requests' slices point into
}

// gathers reports whether calls are gathered at all. Middleware has to learn
// what became of each from its own next.
func (h *Handler) gathers() bool {
	return h.inline && h.batch != nil && len(h.cfg.middleware) == 0
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
	h, g := sh.h, &sh.gathered
	size := len(r.args) + len(r.headers)
	if r.call == nil || r.err != nil || size > gatherBytes || h.mustSignInFirst(r.s) {
		return false
	}
	r.id = r.call.id()
	r.args, r.headers = g.arena.keep(r.args), g.arena.keep(r.headers)
	if r.err = h.authorize(h.ctx, r); r.err == nil {
		r.err = r.makeCall()
	}
	if r.err != nil {
		return false
	}
	g.calls[g.n] = r.brokerCall
	if g.n++; g.n == gatherMost {
		sh.flush()
	}
	return true
}

// flush hands over what was gathered.
func (sh *shard) flush() {
	h, g := sh.h, &sh.gathered
	n := g.n
	if n == 0 {
		return
	}
	batch := h.batch
	if sh.loan != nil {
		batch = sh.loan
	}
	batch.CallBatch(h.ctx, g.calls[:n], g.errs[:n])
	for i := range n {
		r := &g.requests[i]
		r.err = h.callOutcome(r, g.errs[i])
		r.accepted = r.err == nil
		r.s.settle(r)
		r.s, r.call = nil, nil
	}
	clear(g.calls[:n])
	g.n = 0
	g.arena.reset()
}
