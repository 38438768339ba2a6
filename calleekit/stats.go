package calleekit

import "time"

// A StartObserver is told when a function is about to be called. See
// [WithObserver].
type StartObserver interface {
	// OnCallStart is called on the function's goroutine, before the function
	// and its middleware; a panic ends the call as one of the function does.
	OnCallStart(uri string)
}

// An EndObserver is told when a function has returned, panicked or ended its
// goroutine. See [WithObserver].
type EndObserver interface {
	// OnCallEnd is called on the function's goroutine before the result is
	// stored, so it must not take long. code is 0 for a result and that of
	// the error otherwise. A panic is logged.
	OnCallEnd(uri string, code int, took time.Duration)
}

// observeStart tells the observers that t's function is about to be called.
func (c *Callee) observeStart(t *task) {
	for _, o := range c.observers {
		if o, ok := o.(StartObserver); ok {
			o.OnCallStart(t.route.uri)
		}
	}
}

// observeEnd tells the observers how t's function, called at start, ended.
func (c *Callee) observeEnd(t *task, start time.Duration) {
	took := t.ctx.pool.now() - start
	defer func() {
		if v := recover(); v != nil {
			c.log.Error("an observer panicked", "uri", t.route.uri, "panic", v)
		}
	}()
	code := 0
	if t.result.Err != nil {
		code = int(t.result.Err.Code)
	}
	for _, o := range c.observers {
		if o, ok := o.(EndObserver); ok {
			o.OnCallEnd(t.route.uri, code, took)
		}
	}
}

// Stats says what a callee is doing and has done since it was made.
type Stats struct {
	Waiting    int // calls taken whose function is about to be called
	Running    int // functions that run
	Unanswered int // results that the broker has not stored yet

	Calls     uint64 // functions called
	Failed    uint64 // of those, how many ended in an error
	Panics    uint64 // of those, how many panicked or called runtime.Goexit
	Unstarted uint64 // calls that expired or were cancelled before their function was called
	Lost      uint64 // results given up: the callee stopped before the broker had stored them
}

// Stats returns the counters. The figures of URIs with limits of their own
// are read one after the other, so sums may be off by the calls of a moment.
func (c *Callee) Stats() Stats {
	var s Stats
	for _, p := range c.runningPools() {
		p.addStats(&s)
	}
	s.Panics = c.panics.Load()
	return s
}
