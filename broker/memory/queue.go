package memory

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A queue holds the calls to one URI that wait for a callee, the oldest first.
// While one of its callees waits in Take, it is empty but for what waits for a
// loanConn's Work.
type queue struct {
	uri     string
	calls   callList
	callees []*calleeConn // in the order in which they were opened
	turn    int           // which of callees is asked first for the next call
	until   time.Duration // without callees: when the grace is over
	grace   *time.Timer   // runs until then; nil: it never began

	soonest time.Duration // no deadline of calls is before it
	taken   meter
}

// never is a time on the broker's clock that does not come.
const never time.Duration = math.MaxInt64

func newQueue(uri string) *queue { return &queue{uri: uri, soonest: never} }

// waiting returns a callee that waits for a call, each in its turn, or nil.
func (q *queue) waiting() *calleeConn {
	for range q.callees {
		if q.turn >= len(q.callees) {
			q.turn = 0
		}
		c := q.callees[q.turn]
		q.turn++
		if c.waiting {
			return c
		}
	}
	return nil
}

// join adds a callee.
func (q *queue) join(c *calleeConn) {
	q.callees = append(q.callees, c)
	q.stopGrace()
}

// leave removes a callee, and reports whether it was the last one.
func (q *queue) leave(c *calleeConn) (last bool) {
	i := slices.Index(q.callees, c)
	q.callees = slices.Delete(q.callees, i, i+1)
	if i < q.turn {
		q.turn--
	}
	return len(q.callees) == 0
}

func (q *queue) stopGrace() {
	if q.grace != nil {
		q.grace.Stop()
	}
}

// abandoned reports whether the URI has no callee any more.
func (q *queue) abandoned(now time.Duration) bool {
	return len(q.callees) == 0 && now >= q.until
}

// full returns the error for a call that finds no room in the queue.
func (q *queue) full(now time.Duration) error {
	return broker.WithRetryAfter(broker.ErrQueueFull, retryAfter(q.calls.len, q.taken.perSecond(now)))
}

// retryAfter estimates when a queue that is served at rate calls a second will
// have been worked off, from 50 ms to 10 s. A quarter of it is random, so that
// those who were refused together do not come back together.
func retryAfter(queued int, rate float64) time.Duration {
	const low, high = 50 * time.Millisecond, 8 * time.Second
	after := high
	if rate > 0 {
		after = time.Duration(min(float64(high), float64(queued)/rate*float64(time.Second)))
	}
	after = max(after, low)
	return after + rand.N(after/4)
}

// A meter counts what happens in a second and remembers the second before.
type meter struct {
	second            time.Duration // in which current counts
	current, previous int
}

func (m *meter) add(now time.Duration, n int) {
	m.roll(now)
	m.current += n
}

// perSecond returns the rate over about the last second.
func (m *meter) perSecond(now time.Duration) float64 {
	m.roll(now)
	gone := float64(now-m.second) / float64(time.Second)
	return float64(m.current) + float64(m.previous)*(1-gone)
}

func (m *meter) roll(now time.Duration) {
	switch gone := now - m.second; {
	case gone < time.Second:
		return
	case gone < 2*time.Second:
		m.previous = m.current
	default:
		m.previous = 0
	}
	m.second, m.current = now.Truncate(time.Second), 0
}
