package redis

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/oklog/ulid/v2"
)

// An outbox keeps the results for the nodes of one lane, and the outcomes of its calls with
// keys, until they are stored. So a lane that is unreachable, hangs or refuses results holds
// up only its own nodes. It tries again until the calls' time is over. Its goroutine exists
// only while there is something to try again.
type outbox struct {
	lane    *lane
	entries atomic.Int64 // not stored yet
	bytes   atomic.Int64 // of their values

	mu      sync.Mutex     // guards the following
	again   []*outboxEntry // to be tried again
	running bool
	stopped bool

	now  chan struct{} // has an element to try at once
	quit chan struct{} // closed by stop
	runs sync.WaitGroup
}

// An outboxEntry is a result that is not stored yet.
type outboxEntry struct {
	op       op
	box      *outbox
	conn     *calleeConn
	held     *heldCall
	deadline time.Time // when nobody waits for it any more
	missing  time.Time // since when the server does not know the node; zero: it does
	ours     bool      // it reports a loss: Reply was not given it
}

// outboxEntries and outboxBytes bound what an outbox holds. Beyond it Reply waits,
// unless the lane is out of reach: then results are dropped, so that those of
// other lanes go on.
const (
	outboxEntries = 65_536
	outboxBytes   = 64 << 20
)

func newOutbox(l *lane) *outbox {
	return &outbox{lane: l, now: make(chan struct{}, 1), quit: make(chan struct{})}
}

// stop ends the goroutine. The callees of what is left know.
func (b *outbox) stop() {
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
	close(b.quit)
	b.runs.Wait()
}

// retryNow has all entries retried at once.
func (b *outbox) retryNow() {
	select {
	case b.now <- struct{}{}:
	default:
	}
}

func (b *outbox) full() bool {
	return b.entries.Load() >= outboxEntries || b.bytes.Load() >= outboxBytes
}

// post submits entries, and returns a waiter that is done when each was stored or is kept
// to be retried.
func (b *Broker) post(entries []outboxEntry) *waiter {
	w := newWaiter(len(entries))
	bundle := bundle{size: len(entries)}
	for i := range entries {
		e := &entries[i]
		e.op.entry, e.op.waiter = e, w
		lane := e.held.lane(e.op.node)
		if lane == nil {
			e.op.Finish(broker.ErrClosed)
			continue
		}
		e.box = lane.outbox
		e.box.entries.Add(1)
		e.box.bytes.Add(int64(len(e.op.value)))
		bundle.add(lane, &e.op)
	}
	bundle.submit()
	return w
}

// finished handles the outcome of a try. The writer calls it.
func (e *outboxEntry) finished(err error) {
	switch {
	case err == nil, e.box == nil: // the broker closes, and this lane was never used
		e.end()
		return
	case err != errNodeMissing:
		e.missing = time.Time{}
	case e.missing.IsZero():
		e.missing = time.Now()
	}
	b := e.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.again = append(b.again, e); !b.running && !b.stopped {
		b.running = true
		b.runs.Go(b.run)
	}
}

// end is called once for each entry: it is stored, or dropped.
func (e *outboxEntry) end() {
	if e.box != nil {
		e.box.entries.Add(-1)
		e.box.bytes.Add(-int64(len(e.op.value)))
	}
	e.conn.entryDone(e)
}

func (b *outbox) run() {
	for attempt := 0; ; attempt++ {
		timer := time.NewTimer(b.lane.broker.backoff.After(attempt))
		select {
		case <-timer.C:
		case <-b.now:
		case <-b.quit:
		}
		timer.Stop()
		entries := b.next()
		if entries == nil {
			return
		}
		entries = b.dropUseless(entries)
		if len(entries) == 0 {
			continue
		}
		w := newWaiter(len(entries))
		ops := make([]*op, len(entries))
		for i, e := range entries {
			ops[i] = &e.op
			ops[i].waiter = w
		}
		b.lane.writer.Submit(ops...)
		<-w.done // the writer finishes each op within its timeouts
		if b.left() < len(entries) {
			attempt = -1 // some were stored
		}
	}
}

// next returns what is to be tried now; nil: there is nothing, and the goroutine
// ends.
func (b *outbox) next() []*outboxEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	entries := b.again
	b.again = nil
	if len(entries) == 0 || b.stopped {
		b.running = false
		return nil
	}
	return entries
}

func (b *outbox) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.again)
}

// dropUseless drops the entries that are of no use, or for which there is no room, and
// returns the others. A result is of use to its node only. A node that the server knew a
// moment ago is given time to announce itself again: the server may have lost its data.
func (b *outbox) dropUseless(entries []*outboxEntry) []*outboxEntry {
	now := time.Now()
	dropped := map[droppedResults]int{}
	kept := entries[:0]
	for _, e := range entries {
		reason := ""
		patience, abandoned := e.conn.missingNodeTimeout()
		switch {
		case abandoned:
			e.end()
			continue
		case now.After(e.deadline):
			reason = "their time is over"
		case !e.missing.IsZero() && now.Sub(e.missing) > patience && !b.lane.mayHaveLostState():
			reason = "it is gone"
		case b.full() && b.lane.writer.Unreachable():
			reason = "it is out of reach, and too many wait for it"
		default:
			kept = append(kept, e)
			continue
		}
		dropped[droppedResults{e.op.node, reason}]++
		e.end()
	}
	for of, n := range dropped {
		b.lane.resultsDropped(of.node, n, of.reason)
	}
	return kept
}

type droppedResults struct {
	node   broker.ID
	reason string
}

// resultsDropped reports results that will never be stored.
func (l *lane) resultsDropped(node broker.ID, results int, reason string) {
	l.broker.stats.resultsDropped.Add(int64(results))
	l.broker.config.logger.Warn("results for a node dropped",
		"node", ulid.ULID(node), "results", results, "reason", reason)
}
