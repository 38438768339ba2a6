package memory

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

var errAddressInUse = errors.New("memory: call: the address of an unanswered call is used again")

// rpc is the calling side of a Broker. One lock guards it all. Payloads are
// copied and callbacks run without it, and nothing is waited for under it.
type rpc struct {
	config
	start time.Time
	pool  callPool

	mu      sync.Mutex // guards the following, and what of queues, calls and connections says so
	closed  bool
	callers map[broker.ID]*callerConn
	callees map[*calleeConn]struct{}
	queues  map[string]*queue
	calls   callTable // all that are queued, handed or taken
	records records   // of calls with keys

	queued    int64         // bytes of the calls in all queues
	nextSweep time.Duration // look for expired calls in all queues, but not before this
	sweepAt   int           // look for unused queues before there are more than this
}

// A sweep looks at all queues, hence not for each call that is refused.
const (
	minSweepInterval = 100 * time.Millisecond
	minSweepQueues   = 1024
)

func (r *rpc) init(cfg config) {
	r.config = cfg
	r.start = time.Now()
	r.callers = make(map[broker.ID]*callerConn)
	r.callees = make(map[*calleeConn]struct{})
	r.queues = make(map[string]*queue)
	r.sweepAt = minSweepQueues
	r.records.init(r)
}

// now returns the time on the broker's clock, which is monotonic.
func (r *rpc) now() time.Duration { return time.Since(r.start) }

// submit queues k, or hands it to a callee that waits, unless that borrows from
// l (which may be nil). The caller holds mu. After an error k is the caller's
// again.
func (r *rpc) submit(k *call, uri string, now time.Duration, l *loanConn) error {
	if r.closed || k.caller.closed {
		return broker.ErrClosed
	}
	if r.calls.find(&k.to) != nil {
		return errAddressInUse
	}
	q := r.queues[uri]
	switch {
	case r.discovery && (q == nil || q.abandoned(now)):
		return broker.ErrNoCallee
	case q == nil:
		q = r.addQueue(uri, now)
	}
	k.queue = q
	kept := l.keeps(k)
	var waiting *calleeConn
	if !kept {
		waiting = q.waiting()
	}
	switch {
	case waiting != nil && q.calls.len == 0:
		waiting.hand(k)
	case r.hasRoom(q, k.size(), now):
		r.enqueue(k, (*callList).pushBack)
		if waiting != nil {
			waiting.rouse() // behind what waits for a loanConn's Work
		}
	default:
		return q.full(now)
	}
	r.calls.add(k)
	return nil
}

// addQueue makes the queue of uri. Now and then it first removes unused queues. The
// caller holds mu.
func (r *rpc) addQueue(uri string, now time.Duration) *queue {
	if len(r.queues) >= r.sweepAt {
		r.dropAllExpired(now)
		maps.DeleteFunc(r.queues, func(_ string, q *queue) bool { return q.calls.len == 0 && q.abandoned(now) })
		r.sweepAt = max(minSweepQueues, 2*len(r.queues))
	}
	q := newQueue(uri)
	r.queues[uri] = q
	return q
}

// hasRoom reports whether q can hold one more call, after dropping calls whose
// time is over if need be. A call that is larger than all queues may be is
// accepted when they are empty. The caller holds mu.
func (r *rpc) hasRoom(q *queue, size int64, now time.Duration) bool {
	if q.calls.len >= r.queueCapacity {
		r.dropExpired(q, now)
	}
	if r.queued+size > r.queueBytes && now >= r.nextSweep {
		r.dropAllExpired(now)
		r.nextSweep = now + minSweepInterval
	}
	return q.calls.len < r.queueCapacity && (r.queued+size <= r.queueBytes || r.queued == 0)
}

// dropAllExpired drops all queued calls whose time is over, but no queue: one
// may be about to get a call. The caller holds mu.
func (r *rpc) dropAllExpired(now time.Duration) {
	for _, q := range r.queues {
		r.dropExpired(q, now)
	}
}

// dropExpired drops the calls of q whose time is over. The caller holds mu.
func (r *rpc) dropExpired(q *queue, now time.Duration) {
	if now < q.soonest {
		return
	}
	q.soonest = never
	for k := q.calls.head; k != nil; {
		next := k.next
		if k.deadline <= now {
			r.dequeue(k)
			r.forget(k)
		} else {
			q.soonest = min(q.soonest, k.deadline)
		}
		k = next
	}
}

// enqueue puts k into its queue, at the end that push says. The caller holds mu.
func (r *rpc) enqueue(k *call, push func(*callList, *call)) {
	push(&k.queue.calls, k)
	k.queue.soonest = min(k.queue.soonest, k.deadline)
	r.queued += k.size()
}

// dequeue takes k out of its queue. The caller holds mu.
func (r *rpc) dequeue(k *call) {
	k.queue.calls.remove(k)
	r.queued -= k.size()
}

// next takes the first call that is not expired out of q, or returns nil. The
// caller holds mu.
func (r *rpc) next(q *queue, now time.Duration) *call {
	for k := q.calls.head; k != nil; k = q.calls.head {
		r.dequeue(k)
		if k.deadline > now {
			return k
		}
		r.forget(k)
	}
	return nil
}

// giveBack queues a call that was handed to a callee which has closed, before
// all others since it is the oldest. The caller holds mu.
func (r *rpc) giveBack(k *call) {
	if c := k.queue.waiting(); c != nil {
		c.hand(k)
	} else {
		r.enqueue(k, (*callList).pushFront)
	}
}

// beginGrace is called when the last callee of q has closed. The caller holds mu.
func (r *rpc) beginGrace(q *queue, now time.Duration) {
	q.until = now + r.grace
	if !r.discovery || r.grace == 0 {
		return
	}
	q.grace = time.AfterFunc(r.grace, func() {
		now := r.now()
		r.mu.Lock()
		unserved := r.withdraw(q, now, nil)
		r.mu.Unlock()
		r.refuse(unserved)
	})
}

// withdraw takes the calls out of q, if it has no callee any more, and returns them
// as a chain before those of unserved, but those with keys. The caller holds mu.
func (r *rpc) withdraw(q *queue, now time.Duration, unserved *call) *call {
	if !r.discovery || r.closed || !q.abandoned(now) {
		return unserved
	}
	var chain callList
	for k := r.next(q, now); k != nil; k = r.next(q, now) {
		r.calls.remove(k)
		if s := k.caller.keeps; s != nil {
			s.neverTaken(k, errUnserved)
			r.pool.put(k)
			continue
		}
		chain.pushBack(k)
	}
	if chain.tail == nil {
		return unserved
	}
	chain.tail.next = unserved
	return chain.head
}

// refuse answers the calls of a chain, since their URI has no callee. The caller does
// not hold mu.
func (r *rpc) refuse(unserved *call) {
	for unserved != nil {
		k := unserved
		unserved = k.next
		k.caller.answer([]broker.Result{{To: k.to, Err: broker.ErrUnserved}})
		r.pool.put(k)
	}
}

// cancel has k never taken, or tells its callee. The caller holds mu.
func (r *rpc) cancel(k *call) {
	switch {
	case k.callee == nil:
		r.dequeue(k)
		r.forget(k)
	case k.callee.handed == k:
		k.callee.handed = nil
		r.forget(k)
	case !k.cancelled:
		k.cancelled = true
		k.callee.report(k.to)
	}
}

// forget drops a call that no callee has seen. The caller holds mu.
func (r *rpc) forget(k *call) {
	if s := k.caller.keeps; s != nil {
		s.neverTaken(k, errExpired)
	}
	r.calls.remove(k)
	r.pool.put(k)
}

// close closes the connections of all callers, then of all callees.
func (r *rpc) close() {
	r.mu.Lock()
	r.closed = true
	callers := make([]*callerConn, 0, len(r.callers))
	for _, c := range r.callers {
		callers = append(callers, c)
	}
	callees := make([]*calleeConn, 0, len(r.callees))
	for c := range r.callees {
		callees = append(callees, c)
	}
	r.mu.Unlock()

	for _, c := range callers {
		c.Close()
	}
	for _, c := range callees {
		c.Close()
	}

	r.mu.Lock()
	for _, q := range r.queues {
		q.stopGrace()
	}
	clear(r.queues)
	r.calls = callTable{}
	r.queued = 0
	r.records.close()
	r.mu.Unlock()
}
