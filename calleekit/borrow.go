package calleekit

import (
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/loan"
)

// borrow tells the broker that the pool borrows goroutines, if it lends any: the
// event loops of a handler in this process. On those the pool answers calls of
// functions that are done in no time (see package loan).
func (p *pool) borrow() {
	if conn, ok := p.conn.(loan.Borrower); ok {
		conn.Borrow(func() loan.Worker {
			return &worker{pool: p, conn: conn, batch: make([]broker.Call, min(len(p.batch), workerBatch))}
		})
	}
}

// workerBatch is how many calls a worker takes at once: with functions as slow as
// quick ones may be, they take as long as a loop waits before it goes on elsewhere.
const workerBatch = 64

// A worker answers calls on a goroutine that is lent, as any goroutine of the
// pool would, but for two things: it calls only functions that are known to be
// quick, and it wakes no other goroutine before it does. Should one block all
// the same, the loop calls the goroutine back, and the pool's own take over.
type worker struct {
	pool  *pool
	conn  loan.Borrower
	batch []broker.Call // of TakeNow

	current  *task // whose function is called; guarded by pool.mu
	recalled bool  // guarded by pool.mu
}

// Work implements [loan.Worker].
func (w *worker) Work() (took int, left bool) {
	p := w.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != poolOpen || p.failed || p.queue.len > 0 || p.room() <= 0 {
		return 0, false
	}
	p.workers.Add(1)
	defer func() { // also when a function ends the goroutine
		w.current = nil
		p.wakeForRest()
		p.checkDrained()
		p.workers.Done()
	}()
	took = w.take()
	w.runQuick()
	if p.canStore() && !w.recalled {
		p.store()
	}
	return took, p.queue.len > 0 || len(p.ready) > 0
}

// take takes calls that are there, and returns how many.
func (w *worker) take() int {
	p := w.pool
	dst := w.batch[:min(p.room(), len(w.batch))]
	n := w.conn.TakeNow(dst)
	now := p.now()
	for i := range dst[:n] {
		p.admit(&dst[i], now)
	}
	return n
}

// runQuick answers calls as long as their functions are quick.
func (w *worker) runQuick() {
	p := w.pool
	for now := p.now(); p.canRun() && p.queue.first.isQuick() && !w.recalled; {
		w.current = p.queue.pop()
		now = p.run(w.current, now)
	}
	w.current = nil
}

// Recall implements [loan.Worker].
func (w *worker) Recall() {
	p := w.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	w.recalled = true
	if t := w.current; t != nil && t.route != nil {
		t.route.pace.blocked()
	}
	p.wakeForRest()
}

// A pace says how long a function takes, as far as it matters where it runs.
type pace struct{ streak int } // of calls that were quick

const (
	quick       = 20 * time.Microsecond // waking a goroutine costs about as much
	quickStreak = 32                    // so many calls in a row, and a function is quick
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

// isQuick reports whether t is likely to be answered in no time.
func (t *task) isQuick() bool { return t.route == nil || t.route.pace.streak == quickStreak }
