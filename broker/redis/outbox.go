package redis

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/oklog/ulid/v2"
)

// An outbox keeps the results for the nodes of one lane until they are stored.
// So a lane that is out of reach, hangs or refuses results holds up nobody but
// its own nodes. It tries again until the calls' time is over. Its goroutine
// exists only while there is something to try again.
type outbox struct {
	lane    *lane
	letters atomic.Int64 // not stored yet
	bytes   atomic.Int64 // of their values

	mu      sync.Mutex // guards the following
	again   []*letter  // to be tried again
	running bool
	stopped bool

	now  chan struct{} // has an element to try at once
	quit chan struct{} // closed by stop
	runs sync.WaitGroup
}

// A letter is a result on its way to its node.
type letter struct {
	op       op
	box      *outbox
	conn     *calleeConn
	held     *heldCall
	deadline time.Time // when nobody waits for it any more
	missing  time.Time // since when the server does not know the node; zero: it does
	ours     bool      // it reports a loss: Reply was not given it
}

// outboxLetters and outboxBytes bound what an outbox holds. Beyond it Reply waits,
// unless the lane is out of reach: then results are dropped, so that those of
// other lanes go on.
const (
	outboxLetters = 65_536
	outboxBytes   = 64 << 20
)

func newOutbox(l *lane) *outbox {
	return &outbox{lane: l, now: make(chan struct{}, 1), quit: make(chan struct{})}
}

// stop ends the goroutine. Whose letters were left has been told.
func (b *outbox) stop() {
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
	close(b.quit)
	b.runs.Wait()
}

// kick has what is there tried at once.
func (b *outbox) kick() {
	select {
	case b.now <- struct{}{}:
	default:
	}
}

func (b *outbox) full() bool {
	return b.letters.Load() >= outboxLetters || b.bytes.Load() >= outboxBytes
}

// post submits letters, and returns what waits until each was stored or is kept to
// be tried again.
func (b *Broker) post(letters []letter) *waiter {
	w := newWaiter(len(letters))
	bundle := bundle{size: len(letters)}
	for i := range letters {
		l := &letters[i]
		l.op.letter, l.op.waiter = l, w
		lane := b.lane(b.keys.laneOfNode(l.op.node))
		if lane == nil {
			l.op.finish(broker.ErrClosed)
			continue
		}
		l.box = lane.outbox
		l.box.letters.Add(1)
		l.box.bytes.Add(int64(len(l.op.value)))
		bundle.add(lane, &l.op)
	}
	bundle.submit()
	return w
}

// finished takes note of what became of a try. It is called by the writer.
func (l *letter) finished(err error) {
	switch {
	case err == nil, l.box == nil: // the broker closes, and this lane was never used
		l.end()
		return
	case err != errNodeMissing:
		l.missing = time.Time{}
	case l.missing.IsZero():
		l.missing = time.Now()
	}
	b := l.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.again = append(b.again, l); !b.running && !b.stopped {
		b.running = true
		b.runs.Go(b.run)
	}
}

// end is called once for each letter: it is stored, or of no use.
func (l *letter) end() {
	if l.box != nil {
		l.box.letters.Add(-1)
		l.box.bytes.Add(-int64(len(l.op.value)))
	}
	l.conn.settled(l)
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
		letters := b.next()
		if letters == nil {
			return
		}
		letters = b.sort(letters)
		if len(letters) == 0 {
			continue
		}
		w := newWaiter(len(letters))
		ops := make([]*op, len(letters))
		for i, l := range letters {
			ops[i] = &l.op
			ops[i].waiter = w
		}
		b.lane.writer.submit(ops...)
		<-w.done // the writer finishes each op within its timeouts
		if b.left() < len(letters) {
			attempt = -1 // some were stored
		}
	}
}

// next returns what is to be tried now; nil: there is nothing, and the goroutine
// ends.
func (b *outbox) next() []*letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	letters := b.again
	b.again = nil
	if len(letters) == 0 || b.stopped {
		b.running = false
		return nil
	}
	return letters
}

func (b *outbox) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.again)
}

// sort drops the letters that are of no use, or for which there is no room, and
// returns the others. What a node does not want nobody else can use; but a node
// that was there a moment ago says so again when the server has forgotten it.
func (b *outbox) sort(letters []*letter) []*letter {
	now := time.Now()
	dropped := map[droppedLetters]int{}
	kept := letters[:0]
	for _, l := range letters {
		reason := ""
		patience, abandoned := l.conn.patience()
		switch {
		case abandoned:
			l.end()
			continue
		case now.After(l.deadline):
			reason = "their time is over"
		case !l.missing.IsZero() && now.Sub(l.missing) > patience && !b.lane.inDoubt():
			reason = "it is gone"
		case b.full() && b.lane.writer.outOfReach():
			reason = "it is out of reach, and too many wait for it"
		default:
			kept = append(kept, l)
			continue
		}
		dropped[droppedLetters{l.op.node, reason}]++
		l.end()
	}
	for of, n := range dropped {
		b.lane.resultsDropped(of.node, n, of.reason)
	}
	return kept
}

type droppedLetters struct {
	node   broker.ID
	reason string
}

// resultsDropped reports results that will never be stored.
func (l *lane) resultsDropped(node broker.ID, results int, reason string) {
	l.broker.stats.resultsDropped.Add(int64(results))
	l.broker.config.logger.Warn("results for a node dropped",
		"node", ulid.ULID(node), "results", results, "reason", reason)
}
