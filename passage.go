package juggler

import (
	"context"
	"iter"
)

// A passage is the way of a request through middleware, interrupted where the
// broker comes: so many requests go to the broker together although middleware
// has to learn what became of each from its own next. The chain runs as a
// coroutine, on the goroutine of its batch. Only middleware that declares that it
// never waits is interrupted: it holds no lock that a later request of the batch
// might wait for.
type passage struct {
	pause   func(struct{}) bool
	resume  func() (struct{}, bool)
	outcome error
}

// enter takes r through all that stands before the broker. Without an error in r,
// leave has to follow.
func (h *Handler) enter(ctx context.Context, r *Request) {
	if len(h.cfg.middleware) == 0 {
		r.err = h.authorize(ctx, r)
		return
	}
	p := new(passage)
	p.resume, _ = iter.Pull(func(yield func(struct{}) bool) {
		p.pause = yield
		h.serve(ctx, r)
	})
	r.passage = p
	p.resume()
}

// wait is the end of the chain for a request with a passage.
func (p *passage) wait() error {
	p.pause(struct{}{})
	return p.outcome
}

// leave ends what enter began, once it is known what became of r.
func (r *Request) leave(err error) {
	if p := r.passage; p != nil {
		r.passage = nil // not a second time, if next should be called twice
		p.outcome = err
		p.resume()
		return
	}
	r.err = err
	r.accepted = err == nil
}

// leaveAll has requests leave, each, even if user code of one ends the goroutine.
func leaveAll(requests []*Request, errs []error) {
	i := 0
	defer func() {
		if i < len(requests) {
			leaveAll(requests[i+1:], errs[i+1:])
		}
	}()
	for ; i < len(requests); i++ {
		requests[i].leave(errs[i])
	}
}
