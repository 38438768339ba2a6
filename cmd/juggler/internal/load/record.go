package load

import (
	"sync"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of latencies, in microseconds, and their precision in digits.
const (
	leastLatency = 1
	mostLatency  = 10 * 60 * 1_000_000
	digits       = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(leastLatency, mostLatency, digits)
}

// counts are what is counted, of one second or of all.
type counts struct {
	Sent     uint64         `json:"sent"`
	Calls    uint64         `json:"calls"`  // with their result
	Pubs     uint64         `json:"pubs"`   // confirmed
	Events   uint64         `json:"events"` // received
	Parts    uint64         `json:"parts"`  // of answers
	Errors   map[int]uint64 `json:"-"`      // by code
	calls    *hdrhistogram.Histogram
	pubs     *hdrhistogram.Histogram
	events   *hdrhistogram.Histogram
	lag      *hdrhistogram.Histogram // between due and sent
	recovery *hdrhistogram.Histogram // from SUB until nothing is missing
	failures uint64
}

func newCounts() *counts {
	return &counts{Errors: make(map[int]uint64), calls: newHistogram(), pubs: newHistogram(), events: newHistogram(), lag: newHistogram(), recovery: newHistogram()}
}

// add adds o to c.
func (c *counts) add(o *counts) {
	c.Sent += o.Sent
	c.Calls += o.Calls
	c.Pubs += o.Pubs
	c.Events += o.Events
	c.Parts += o.Parts
	c.failures += o.failures
	for code, n := range o.Errors {
		c.Errors[code] += n
	}
	c.calls.Merge(o.calls)
	c.pubs.Merge(o.pubs)
	c.events.Merge(o.events)
	c.lag.Merge(o.lag)
	c.recovery.Merge(o.recovery)
}

func (c *counts) reset() {
	calls, pubs, events, lag, recovery := c.calls, c.pubs, c.events, c.lag, c.recovery
	for _, h := range []*hdrhistogram.Histogram{calls, pubs, events, lag, recovery} {
		h.Reset()
	}
	*c = counts{Errors: make(map[int]uint64), calls: calls, pubs: pubs, events: events, lag: lag, recovery: recovery}
}

// shards is how many locks share the recording.
const shards = 8

// record takes note of what happens, from all clients.
type record struct {
	shards [shards]struct {
		mu sync.Mutex
		counts
	}
	mu             sync.Mutex
	unexpectedN    uint64 // second outcomes, and answers to nothing
	wrongParts     uint64 // parts that did not follow the one before
	lostConns      uint64
	drops          uint64 // connections that we dropped
	notRecoveredN  uint64 // SUBs with a position that events may be missing after
	replayed       uint64 // events that came before a client was up to date again
	failedConnects uint64
	unknown        uint64 // requests whose connection was lost
	gaps           uint64 // that the server told of
	firstLoss      error
}

func newRecord() *record {
	r := &record{}
	for i := range r.shards {
		r.shards[i].counts = *newCounts()
	}
	return r
}

// note runs f on the counts that a client shares with others.
func (r *record) note(client int, f func(*counts)) {
	s := &r.shards[client%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counts)
}

func micros(ns int64) int64 { return min(max(ns/1000, leastLatency), mostLatency) }

func (r *record) sent(client int, _ byte, lag int64) {
	r.note(client, func(c *counts) {
		c.Sent++
		_ = c.lag.RecordValue(micros(lag)) // within bounds
	})
}

// outcome notes the outcome of a request: code 0 is success. Times are in
// nanoseconds; the latency counts from when the request was due, so that a
// server that stalls is seen by all requests that it held up.
func (r *record) outcome(client int, kind byte, due, now int64, code int) {
	r.note(client, func(c *counts) {
		switch {
		case code != 0:
			c.Errors[code]++
			c.failures++
		case kind == kindPub:
			c.Pubs++
			_ = c.pubs.RecordValue(micros(now - due))
		default:
			c.Calls++
			_ = c.calls.RecordValue(micros(now - due))
		}
	})
}

func (r *record) event(client int, due, now int64) {
	r.note(client, func(c *counts) {
		c.Events++
		_ = c.events.RecordValue(micros(now - due))
	})
}

// part notes a part of an answer, which follows the one before or does not.
func (r *record) part(client int, follows bool) {
	r.note(client, func(c *counts) { c.Parts++ })
	if !follows {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.wrongParts++
	}
}

func (r *record) unexpected(int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unexpectedN++
}

func (r *record) gap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gaps++
}

func (r *record) failedConnect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failedConnects++
}

func (r *record) notRecovered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notRecoveredN++
}

func (r *record) replay() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replayed++
}

func (r *record) recovered(client int, took int64) {
	r.note(client, func(c *counts) { _ = c.recovery.RecordValue(micros(took)) })
}

func (r *record) lostConnection(unknown int, err error, dropped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown += uint64(unknown)
	if dropped {
		r.drops++
		return
	}
	r.lostConns++
	if r.firstLoss == nil {
		r.firstLoss = err
	}
}

// take returns what was counted since the last call.
func (r *record) take() *counts {
	sum := newCounts()
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		sum.add(&s.counts)
		s.reset()
		s.mu.Unlock()
	}
	return sum
}
