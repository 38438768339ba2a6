package calleekit

import (
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/loan"
)

// borrow tells the broker that the pool borrows goroutines, if there are any to
// borrow: those of the event loops of a handler in this process. On them the pool
// answers calls whose functions take no time (see package loan).
func (p *pool) borrow() {
	if conn, ok := p.conn.(loan.CalleeConn); ok {
		conn.Borrow(func() loan.Borrower {
			return &borrower{pool: p, conn: conn, batch: make([]broker.Call, min(len(p.batch), borrowerBatch))}
		})
	}
}

// borrowerBatch is how many calls a borrower takes at once. If each function is as
// slow as a quick one may be, they take as long as a loop waits before it goes on on
// another goroutine.
const borrowerBatch = 64

// A borrower answers calls on a goroutine that is lent, as any goroutine of the
// pool would, but for two things: it calls only functions that are known to be
// quick, and it wakes no other goroutine before it has. If one blocks all the
// same, the loop recalls the goroutine, and the pool's own take over.
type borrower struct {
	pool  *pool
	conn  loan.CalleeConn
	batch []broker.Call // of TakeNow

	current  *task // whose function is called; guarded by pool.mu
	recalled bool  // guarded by pool.mu
}

// Work implements [loan.Borrower].
func (b *borrower) Work() (took int, left bool) {
	p := b.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != poolOpen || p.failed || p.queue.len > 0 || p.room() <= 0 {
		return 0, false
	}
	p.workers.Add(1)
	defer func() { // also when a function ends the goroutine
		b.current = nil
		p.wakeForRest()
		p.checkDrained()
		p.workers.Done()
	}()
	took = b.take()
	b.runQuick()
	if p.canStore() && !b.recalled {
		p.store()
	}
	return took, p.queue.len > 0 || len(p.ready) > 0
}

// take takes calls that are there, and returns how many.
func (b *borrower) take() int {
	p := b.pool
	dst := b.batch[:min(p.room(), len(b.batch))]
	n := b.conn.TakeNow(dst)
	now := p.now()
	for i := range dst[:n] {
		p.admit(&dst[i], now)
	}
	return n
}

// runQuick answers calls as long as their functions are quick.
func (b *borrower) runQuick() {
	p := b.pool
	for now := p.now(); p.canRun() && p.queue.first.isQuick() && !b.recalled; {
		b.current = p.queue.pop()
		now = p.run(b.current, now)
	}
	b.current = nil
}

// Recall implements [loan.Borrower].
func (b *borrower) Recall() {
	p := b.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	b.recalled = true
	if t := b.current; t != nil && t.route != nil {
		t.route.pace.blocked()
	}
	p.wakeForRest()
}

// A pace says how long a function takes, as far as it matters where it runs.
type pace struct{ streak int } // of calls that were quick

const (
	quick       = 20 * time.Microsecond // waking a goroutine costs about as much
	quickStreak = 32                    // a function is quick after so many quick calls in a row
	afterBlock  = 1000                  // the same after it has held up a loop
)

func (p *pace) add(took time.Duration) {
	if took <= quick {
		p.streak = min(p.streak+1, quickStreak)
	} else {
		p.streak = min(p.streak, 0)
	}
}

func (p *pace) blocked() { p.streak = quickStreak - afterBlock }

// isQuick reports whether t is likely to be answered in no time. A function that answers in
// parts waits for its caller.
func (t *task) isQuick() bool {
	return t.route == nil || t.stream == nil && t.route.pace.streak == quickStreak
}
