package keyed

import (
	"context"
	"slices"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// What is read in one request, and of the parts of one call.
const (
	maxReads     = 256
	maxReadBytes = 4 << 20
	maxReadParts = 1024
)

// A line is the calls of one part of the broker whose records are to be read: many in one
// request, one request at a time. It implements [worker.Worker].
type line struct {
	hub *Hub

	// Guarded by the hub's mu.
	wanted []*call
	busy   bool
}

// A reading is what is read of a call, for one waiter or for several.
type reading struct {
	call   *call
	takers []*Waiter // those that want its parts
}

// Step reads what is wanted.
func (l *line) Step() (more bool) {
	h := l.hub
	readings, reads := l.take()
	if len(reads) == 0 {
		return false
	}
	records := make([]broker.CallRecord, len(reads))
	ctx, cancel := context.WithTimeout(h.life, h.cfg.Timeout)
	h.conn.ReadCalls(ctx, reads, records)
	cancel()
	if h.life.Err() != nil {
		return true
	}
	out := h.judge(readings, records)
	h.deliver(&out)
	return true
}

// take takes what is read together next, or ends the work.
func (l *line) take() (readings []reading, reads []broker.CallRead) {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for ; n < len(l.wanted) && len(reads) < maxReads && h.life.Err() == nil; n++ {
		c := l.wanted[n]
		c.wanted = false
		if len(c.waiters) > 0 {
			readings, reads = c.plan(readings, reads)
		}
	}
	clear(l.wanted[:n])
	if l.wanted = l.wanted[n:]; len(l.wanted) == 0 {
		l.wanted = nil
	}
	for i := range reads {
		reads[i].MaxBytes = min(reads[i].MaxBytes, maxReadBytes/len(reads))
	}
	l.busy = len(reads) > 0
	return readings, reads
}

// plan adds what is to be read of c: the parts for which waiters have room, and in any case
// what became of it.
func (c *call) plan(readings []reading, reads []broker.CallRead) ([]reading, []broker.CallRead) {
	first := len(reads)
	for _, w := range c.waiters {
		if !w.Parts || !w.window.Takes(w.sent) {
			continue
		}
		want := broker.CallRead{URI: c.uri, Key: c.key, After: w.sent.Parts,
			MaxParts: int(min(w.window.Parts-w.sent.Parts, maxReadParts)),
			MaxBytes: int(min(w.window.Bytes-w.sent.Bytes, maxReadBytes)),
		}
		i := first + slices.Index(reads[first:], want)
		if i < first {
			i = len(reads)
			readings, reads = append(readings, reading{call: c}), append(reads, want)
		}
		readings[i].takers = append(readings[i].takers, w)
	}
	if len(reads) == first {
		return append(readings, reading{call: c}), append(reads, broker.CallRead{URI: c.uri, Key: c.key, After: c.furthest()})
	}
	return readings, reads
}

// furthest returns the greatest number of a part that a waiter of c has got.
func (c *call) furthest() (n uint32) {
	for _, w := range c.waiters {
		n = max(n, w.sent.Parts)
	}
	return n
}

// deliveries are what waiters get, in the order of the fields.
type deliveries struct {
	parts   []broker.Part
	results []broker.Result
	told    []func()
}

// deliver gives waiters what they get. No lock is held, as it may wait.
func (h *Hub) deliver(out *deliveries) {
	if len(out.parts) > 0 {
		h.cfg.Parts(out.parts)
	}
	if len(out.results) > 0 {
		h.cfg.Results(out.results)
	}
	for _, tell := range out.told {
		tell()
	}
}

// judge decides what waiters get of records.
func (h *Hub) judge(readings []reading, records []broker.CallRecord) (out deliveries) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var failed error
	for i, j := 0, 0; i < len(readings); i = j {
		c := readings[i].call
		for j = i + 1; j < len(readings) && readings[j].call == c; j++ {
		}
		if err := h.judgeCall(c, readings[i:j], records[i:j], &out); err != nil {
			failed = err
		}
	}
	if failed != nil {
		h.cfg.Log.Warn("cannot read what became of calls with keys", "error", failed)
	}
	return out
}

// judgeCall is judge for one call. It returns the error of reading it.
func (h *Hub) judgeCall(c *call, readings []reading, records []broker.CallRecord, out *deliveries) error {
	for i := range records {
		if err := records[i].Err; err != nil {
			h.unreadable(c, out)
			return err
		}
	}
	c.failed, c.over = 0, 0
	for i := range readings {
		for _, w := range readings[i].takers {
			switch {
			case w.call != c:
			case w.follows(&records[i]):
				h.give(w, &records[i], out)
			default:
				h.finish(w, &broker.Result{Err: errAnew}, out)
			}
		}
	}
	last := &records[len(records)-1]
	for _, w := range slices.Clone(c.waiters) {
		h.conclude(w, last, out)
	}
	if last.State == broker.CallRunning {
		c.over = h.alarm.Now() + last.Left.Milliseconds()
	}
	if len(c.waiters) > 0 {
		h.watch(c)
	}
	return nil
}

// unreadable is called when the record of c could not be read.
func (h *Hub) unreadable(c *call, out *deliveries) {
	c.failed++
	now := h.alarm.Now()
	if c.over == 0 {
		c.over = now
	}
	if now > c.over+patience.Milliseconds() {
		for _, w := range slices.Clone(c.waiters) {
			h.finish(w, &broker.Result{Err: errUnreadable}, out)
		}
	}
	if len(c.waiters) > 0 {
		h.watch(c)
	}
}

// give gives w the parts of a record that was read for it. Where there were some, there may
// be more.
func (h *Hub) give(w *Waiter, r *broker.CallRecord, out *deliveries) {
	for i := range r.Parts {
		p := &r.Parts[i]
		if p.N != w.sent.Parts+1 || !w.window.Takes(w.sent) {
			break
		}
		w.sent.Parts++
		w.sent.Bytes += uint64(len(p.Args))
		out.parts = append(out.parts, broker.Part{To: w.To, N: p.N, Window: w.window, Args: p.Args})
	}
	if len(r.Parts) > 0 && w.window.Takes(w.sent) && (r.State == broker.CallRunning || w.sent.Parts < r.Result.Parts) {
		h.want(w.call)
	}
}

// conclude ends the wait of w if a record says so.
func (h *Hub) conclude(w *Waiter, r *broker.CallRecord, out *deliveries) {
	if !w.follows(r) {
		h.finish(w, &broker.Result{Err: errAnew}, out)
		return
	}
	behind := w.Parts && next(r, w.sent.Parts) > w.sent.Parts+1
	switch {
	case r.State == broker.CallGone:
		h.gone.Add(1)
		h.cfg.Log.Warn("nothing is kept any more of a call with a key for which a client waits: has the broker lost data?", "uri", w.call.uri)
		h.finish(w, &broker.Result{Err: errGone}, out)
	case r.State == broker.CallRunning && r.Left <= 0, r.State == broker.CallDone && r.Late && w.State != broker.CallDone:
		h.late.Add(1)
		h.finish(w, &broker.Result{Err: errLate}, out)
	case behind:
		h.finish(w, &broker.Result{Err: errBehind}, out)
	case r.State == broker.CallDone && (!w.Parts || w.sent.Parts >= r.Result.Parts):
		h.done.Add(1)
		result := r.Result
		if !w.Parts {
			result.Parts = 0
		}
		h.finish(w, &result, out)
	}
}

// next returns the number of the first part after one that a record may still bring: it is
// greater by more than 1 if parts are gone. Where nothing is kept yet it is the next one.
func next(r *broker.CallRecord, after uint32) uint32 {
	switch {
	case r.First > 0:
		return max(r.First, after+1)
	case r.State == broker.CallDone:
		return max(r.Result.Parts, after) + 1
	}
	return after + 1
}

// finish gives w an outcome, behind the parts that it has got, and ends its wait.
func (h *Hub) finish(w *Waiter, r *broker.Result, out *deliveries) {
	r.To = w.To
	if r.Err != nil && w.Parts {
		r.Parts = max(r.Parts, w.sent.Parts)
	}
	if w.Tell != nil {
		out.told = append(out.told, func() { w.Tell(r) })
	} else {
		out.results = append(out.results, *r)
	}
	h.leave(w)
}

// How a wait ends that has no outcome.
var (
	errLate       = &broker.Error{Code: frame.CodeExpired, Message: "the call's time is over"}
	errGone       = &broker.Error{Code: frame.CodeGone, Message: broker.ErrCallGone.Error()}
	errAnew       = &broker.Error{Code: frame.CodeGone, Message: "the call was made anew, and its parts begin again"}
	errBehind     = &broker.Error{Code: frame.CodeLimit, Message: "parts of the answer are gone that were not read in time"}
	errUnreadable = &broker.Error{Code: frame.CodeUnavailable, Message: "the broker cannot tell what became of the call"}
	errNotStopped = &broker.Error{Code: frame.CodeUnavailable, Message: "the call could not be stopped"}
)
