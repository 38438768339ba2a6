package juggler

import "time"

// A CallEnd says how a CALL ended.
type CallEnd struct {
	Session Session
	URI     string // may be kept; empty if the CALL was malformed

	// Code is 0 if the call succeeded, else that of the error in RES or NACK. A
	// call that its session did not live to see the end of has 499; juggler.0 has no
	// message for 408 and 499.
	Code int

	Refused bool // by NACK: it was certainly not queued
	Untold  bool // the session had ended, or was being closed: nobody was told

	// Parts is how many parts of the answer were sent to the client before the end.
	Parts int

	// Total is the time from when the CALL was read to its end, 0 if it was refused
	// for its form or for a limit. Ran is how long the callee's function ran, by the
	// callee's clock; 0 if that is unknown, as after 408. The difference went into ways
	// and queues.
	Total, Ran time.Duration
}

// WithCallObserver has functions told of every CALL when it ends: when RES or NACK was
// written, or the session has gone. Middleware ends earlier, when the call is accepted.
// They run on the event loop, so they must never wait, neither for I/O nor for a lock
// that is held across I/O: one that takes more than 100 ms is logged, and counted in
// [Stats]. They may panic, but not call runtime.Goexit. Used several times, it appends.
//
// For counts and mean times by URI see [WithCallStats]; for what belongs to one call see
// [Request.OnCallEnd].
func WithCallObserver(f ...func(CallEnd)) Option {
	return optionFunc(func(c *config) {
		for _, observer := range f {
			if c.problems.NotNil("WithCallObserver", observer, "a function") {
				c.callObservers = append(c.callObservers, observer)
			}
		}
	})
}

// callWatch is what a CALL that somebody watches takes with it.
type callWatch struct {
	began time.Duration // by the handler's clock; 0 if it is not known
	onEnd func(CallEnd) // of its middleware, or nil
}

// join adds to w, of a pending call, that of its request.
func (w *callWatch) join(r callWatch) {
	w.onEnd = r.onEnd
	if w.began == 0 {
		w.began = r.began
	}
}

// callsAreWatched reports whether somebody wants to know how all calls end.
func (c *config) callsAreWatched() bool {
	return len(c.callObservers) > 0 || c.callStats > 0
}

// clock returns the time since New.
func (h *Handler) clock() time.Duration { return time.Since(h.epoch) }

// callEnded tells of the end of a CALL of s, on the turn. p is nil if it was refused
// before it was pending.
func (s *session) callEnded(p *pendingCall, e CallEnd) {
	h := s.shard.h
	if !h.cfg.callsAreWatched() && (p == nil || p.watch.onEnd == nil) {
		return
	}
	e.Session, e.Untold = Session{s}, s.state >= closing
	if p != nil {
		e.URI, e.Total = p.uri, h.clock()-p.watch.began
		if p.stream != nil {
			e.Parts = int(p.stream.written.Parts - p.stream.before)
		}
	}
	h.callStats.add(&e)
	for _, f := range h.cfg.callObservers {
		s.shard.tell(f, e)
	}
	if p != nil && p.watch.onEnd != nil {
		s.shard.tell(p.watch.onEnd, e)
	}
}

// tell calls an observer.
func (sh *shard) tell(f func(CallEnd), e CallEnd) {
	call := sh.enter(pcOf(f))
	sh.h.protect("call observer", endedLoop, func() { f(e) })
	sh.h.leave(call)
}
