package juggler

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// Shutdown ends the handler: new handshakes are refused, the sessions are
// asked to go elsewhere (GOAWAY, then close code 1001) at the rate of
// [WithDrainRate], each with the chance to finish its calls but not to make
// more, and everything that the handler started or opened is closed. If ctx ends
// first, what is left is closed with 1001, reset a moment later, and ctx's error
// is returned.
//
// The http.Server that serves the handler knows nothing of WebSockets, and has to be shut
// down, too: see [Handler.ShutdownWith].
//
// A broker passed to New is closed by its owner, afterwards. Calling Shutdown
// again waits for the first call to be done.
func (h *Handler) Shutdown(ctx context.Context) error {
	if again := h.closing.Swap(true); again {
		select {
		case <-h.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer close(h.done)
	h.broker.stopOpening()
	h.clusterSide.renew()
	err := h.drain(ctx)
	return errors.Join(err, h.close(ctx))
}

// ShutdownWith is [Handler.Shutdown] together with that of the servers that serve the
// handler. They stop accepting, and the sessions are asked to go, at the same time: a
// server waits for the requests of all its handlers, and one that takes long, as a
// download does, would leave the sessions no time. It returns the errors of all.
func (h *Handler) ShutdownWith(ctx context.Context, servers ...*http.Server) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { errs[i] = s.Shutdown(ctx) })
	}
	err := h.Shutdown(ctx)
	all.Wait()
	return errors.Join(append(errs, err)...)
}

// drain asks every session to go and waits until none is left.
func (h *Handler) drain(ctx context.Context) error {
	spread, grace := h.pace(ctx)
	turn := make(chan struct{}, maxShards)
	n := 0
	for i := range h.shards {
		sh := h.shards[i].Load()
		if sh == nil {
			continue // if it is only being made, its sessions will see that the handler is closing
		}
		n++
		sh.command(func() {
			sh.drain(spread, grace)
			turn <- struct{}{}
		})
	}
	for range n {
		select {
		case <-turn:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return h.awaitEmpty(ctx)
}

// awaitEmpty waits until no session is left.
func (h *Handler) awaitEmpty(ctx context.Context) error {
	for h.sessions.Load() > 0 {
		select {
		case <-h.empty:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leaveGrace is how long a juggler.1 client has to connect elsewhere after the time
// that GOAWAY named, before its session is closed: four round trips on a bad line.
// Clients of ours leave by themselves, sooner.
const leaveGrace = 5 * time.Second

// pace returns the time over which the sessions are asked to go, and how long each may
// stay after that: as the drain rate says, or shorter, to be done before ctx ends.
func (h *Handler) pace(ctx context.Context) (spread, grace time.Duration) {
	spread = time.Duration(h.sessions.Load()) * time.Second / time.Duration(h.cfg.drainRate)
	grace = leaveGrace
	if end, ok := ctx.Deadline(); ok {
		left := max(time.Until(end), 0)
		spread, grace = min(spread, left/2), min(grace, left/4)
	}
	return spread, grace
}

// drain asks the shard's sessions to go elsewhere, spread over a time.
func (sh *shard) drain(spread, grace time.Duration) {
	n, sessions := 0, len(sh.slots)-len(sh.free)
	for _, s := range sh.slots {
		if s == nil || s.state >= closing {
			continue
		}
		n++
		s.draining = true
		// As floats: spread times n may be more than an int64 holds.
		after := time.Duration(float64(spread) * float64(n) / float64(sessions))
		if n == 1 {
			after = 0
		}
		if s.protocol == frame.Juggler1 {
			s.send(&frame.Frame{Type: frame.GoAway, After: after, Message: []byte("going away")})
			after += grace
		}
		s.due(after)
	}
}

// leave ends a draining session as soon as its calls have their outcome, but for those with
// keys, which its client joins elsewhere. Until then it begins nothing new, or it might
// never go.
func (s *session) leave() {
	s.leaving = true
	if !s.awaitsCalls() && !s.queue.busy() {
		s.end(CloseGoingAway, "going away")
		return
	}
	s.due(leaveCheck)
}

// awaitsCalls reports whether calls of s would be lost with it.
func (s *session) awaitsCalls() bool {
	p := s.calls
	for p != nil && p.keyed {
		p = p.next
	}
	return p != nil
}

// leaveCheck is how often a draining session is asked whether it is done.
const leaveCheck = 20 * time.Millisecond

// close ends what is left and everything that the handler holds.
func (h *Handler) close(ctx context.Context) error {
	var errs []error
	if ctx.Err() != nil {
		h.log.Warn("shutdown ran out of time", "sessions", h.sessions.Load())
		h.endAll()
	}
	errs = append(errs, h.pool.Close())
	h.watchdog.timer.Stop()
	h.cancel()
	for i := range h.shards {
		if sh := h.shards[i].Load(); sh != nil {
			sh.inbox.giveUp()
		}
	}
	h.keyed.Close()
	if h.here != nil {
		h.here.Close()
	}
	h.broker.endAsking(ctx)
	errs = append(errs, h.broker.close(), h.userSessions.close(), h.clusterSide.close(ctx), h.awaitWork(ctx))
	if h.owned != nil {
		errs = append(errs, h.owned.Close())
	}
	h.logs.Close()
	return errors.Join(errs...)
}

// endAll closes the sessions that are left with 1001, and gives those that
// read it a moment to go.
func (h *Handler) endAll() {
	for i := range h.shards {
		if sh := h.shards[i].Load(); sh != nil {
			sh.command(func() {
				for _, s := range sh.slots {
					if s != nil {
						s.end(CloseGoingAway, "going away")
					}
				}
			})
		}
	}
	moment, cancel := context.WithTimeout(context.Background(), lastMoment)
	defer cancel()
	_ = h.awaitEmpty(moment) // sessions that are left then are reset
}

// lastMoment is how long clients and the broker have beyond Shutdown's context.
const lastMoment = 100 * time.Millisecond

// awaitWork waits for the goroutines that run user code, until ctx ends: code that
// ignores its context runs on.
func (h *Handler) awaitWork(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // ends with the last of them
		h.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
		return nil
	case <-time.After(leaveCheck):
		return errors.New("juggler: user code did not end with its context")
	}
}
