package calleekit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

const (
	maxBatch  = 256 // calls in one Take, so that a high limit costs no memory in advance
	maxParked = 1   // goroutines kept for the next work instead of ending
)

// A pool answers the calls of the URIs that share one limit and one connection to the
// broker.
//
// Its goroutines are leader and followers
// (https://www.dre.vanderbilt.edu/~schmidt/PDF/lf.pdf). Each does one of three things,
// with mu unlocked: it calls the function of a call, it stores the results that are
// ready, or it takes calls. One goroutine at a time stores, so that the results that
// become ready meanwhile are the next batch; one at a time takes, and only as many
// calls as can start. All three may block, so a goroutine first wakes one other if
// anything else is left to do. A function that blocks thus holds up nothing. Functions
// that take no time run one after the other on one goroutine, and their results go
// into one Reply.
//
// A goroutine that finds nothing to do ends, but for one that is kept. As one
// is always in Take, an idle pool has two.
type pool struct {
	callee *Callee
	uris   []string
	routes map[string]*route
	limit  int
	conn   broker.CalleeConn       // set by open
	keeper broker.ResultKeeper     // conn, if it is one, set by open
	parts  broker.StreamCalleeConn // conn, if it is one, set by open

	base     context.Context // without an end; has the values of functions' contexts
	life     context.Context // ends when the pool stops; of Reply
	endLife  context.CancelCauseFunc
	taking   context.Context // ends when the pool drains; of Take
	stopTake context.CancelCauseFunc

	epoch time.Time    // when the pool was opened; deadlines count from it
	over  *realContext // of calls that are over

	batch   []broker.Call   // of the goroutine in Take
	results []broker.Result // of the goroutine in Reply

	workers sync.WaitGroup
	settled chan struct{} // closed when the pool drains and nothing is left, or stops

	mu            sync.Mutex // guards the following
	tasks         taskStore
	queue         taskList // taken, to be started
	active        []*task  // queued or running
	ready         []*task  // with results to be stored
	spare         []*task  // what ready was before, empty
	running       int      // functions
	storing       int      // results in Reply
	inTake        bool
	flushing      bool // a goroutine waits until the broker has stored what it took over
	parked        int
	waking        bool       // one goroutine is on its way
	wake          *sync.Cond // for parked goroutines, and for stop, on mu
	state         poolState
	failed        bool                       // the broker has failed for good, the callee is about to stop
	abandoned     int                        // calls given up: without an answer, or with one that could not be stored
	lostInKeeping int                        // of abandoned: results that the broker had taken over
	lostBy        error                      // of the broker, if results could not be stored
	streams       map[broker.Address]*stream // of active
	early         map[broker.Address]news    // of calls that Take has not returned yet; nil if none
	counts        counters
}

// news is what the broker tells of a call.
type news struct {
	cancelled bool
	window    broker.Window
}

type poolState uint8

const (
	poolOpen     poolState = iota
	poolDraining           // takes no more calls
	poolSettled            // has none left either
	poolStopped            // starts nothing more
)

type counters struct {
	calls, failed, unstarted, lost uint64
}

func newPool(c *Callee, limit int) *pool {
	p := &pool{
		callee:  c,
		limit:   limit,
		routes:  map[string]*route{},
		streams: map[broker.Address]*stream{},
		settled: make(chan struct{}),
		batch:   make([]broker.Call, min(limit, maxBatch)),
	}
	p.wake = sync.NewCond(&p.mu)
	return p
}

// add makes h the function of r's URI.
func (p *pool) add(r *route, h Handler) {
	p.uris = append(p.uris, r.uri)
	p.routes[r.uri] = &route{uri: r.uri, handler: h, strictArgs: r.strictArgs}
}

// open announces the pool's URIs, trying again while the broker is out of
// reach, until ctx ends.
func (p *pool) open(ctx context.Context) error {
	p.epoch = time.Now()
	p.base = context.WithoutCancel(ctx)
	p.over = newOver(p.base)
	p.life, p.endLife = context.WithCancelCause(p.base)
	p.taking, p.stopTake = context.WithCancelCause(p.life)
	out := outage{log: p.callee.log, operation: "announce"}
	for {
		err := p.connect(ctx)
		if err == nil {
			out.over()
			p.keeper, _ = p.conn.(broker.ResultKeeper)
			p.borrow()
			return nil
		}
		if err := out.failed(ctx, err); err != nil {
			p.endLife(err)
			return fmt.Errorf("calleekit: announce %s: %w", strings.Join(p.uris, ", "), err)
		}
	}
}

// connect opens a connection that carries parts, if there are such.
func (p *pool) connect(ctx context.Context) (err error) {
	b, ok := p.callee.broker.(broker.StreamCallee)
	if !ok {
		p.conn, err = p.callee.broker.OpenCallee(ctx, p.uris, p.cancelled)
		return err
	}
	if p.parts, err = b.OpenStreamCallee(ctx, p.uris, p.cancelled, p.granted); err == nil {
		p.conn = p.parts
	}
	return err
}

// start begins to take calls.
func (p *pool) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wakeOne()
}

// work is the life of a goroutine of the pool. It ends when there is nothing
// to do, or with a function that ends its goroutine.
func (p *pool) work() {
	p.mu.Lock()
	p.waking = false
	ended := true
	defer func() {
		if ended { // by runtime.Goexit in a function; run has locked mu again
			p.wakeForRest()
		}
		p.mu.Unlock()
	}()
	// After a function comes the next one, as long as there is one: their
	// results then leave together. A goroutine that has run none stores results first.
	var now time.Duration // if ran, after the last function
	for ran := false; ; {
		switch {
		case p.canRun() && (ran || !p.canStore()):
			t := p.queue.pop()
			p.wakeForRest()
			if !ran {
				now = p.now()
			}
			now = p.run(t, now)
			ran = true
			continue
		case p.canStore():
			p.store()
		case p.canTake():
			p.take()
		default:
			p.checkDrained()
			if !p.park() {
				ended = false
				return
			}
		}
		ran = false
	}
}

func (p *pool) canRun() bool {
	// A borrower may have taken calls besides those that a Take has room for.
	return p.queue.len > 0 && p.running < p.limit && p.state != poolStopped
}
func (p *pool) canStore() bool { return len(p.ready) > 0 && p.storing == 0 }
func (p *pool) canTake() bool  { return p.state == poolOpen && !p.failed && !p.inTake && p.room() > 0 }

// room returns how many calls could start now. As many results as the limit
// may wait to be stored at no cost, so that a slow Reply does not leave slots
// empty; each one more takes a slot, so that they do not pile up.
func (p *pool) room() int {
	excess := max(0, p.unanswered()-p.limit)
	return p.limit - len(p.active) - excess
}

// unanswered returns how many results the broker has not stored yet.
func (p *pool) unanswered() int { return len(p.ready) + p.storing }

// wakeForRest wakes a goroutine if there is anything left to do.
func (p *pool) wakeForRest() {
	if !p.waking && (p.canRun() || p.canStore() || p.canTake()) {
		p.wakeOne()
	}
}

func (p *pool) wakeOne() {
	p.waking = true
	if p.parked > 0 {
		p.wake.Signal()
	} else {
		p.workers.Go(p.work) // ends by itself; stop waits for it
	}
}

// park waits for work, and reports whether the goroutine is to go on.
func (p *pool) park() bool {
	if p.parked == maxParked || p.state != poolOpen {
		return false
	}
	p.parked++
	p.wake.Wait()
	p.parked--
	p.waking = false
	return true
}

// run calls the function of a call, without mu, at the time start. It returns
// the time after it.
func (p *pool) run(t *task, start time.Duration) (end time.Duration) {
	p.running++
	p.mu.Unlock()

	called := true
	defer func() { // also when the function ends this goroutine
		end = p.now()
		p.mu.Lock()
		p.running--
		if called {
			if t.stream == nil {
				t.route.pace.add(end - start)
			}
			t.result.Ran = end - start
		}
		p.finished(t, called)
	}()
	called = p.callee.serve(t, start)
	return end
}

// finished notes the outcome of a call.
func (p *pool) finished(t *task, called bool) {
	last := len(p.active) - 1
	p.active[t.position] = p.active[last]
	p.active[t.position].position = t.position
	p.active[last] = nil
	p.active = p.active[:last]
	if t.stream != nil {
		delete(p.streams, t.result.To)
	}
	if called {
		p.counts.calls++
		if t.result.Err != nil {
			p.counts.failed++
		}
	} else {
		p.counts.unstarted++
	}
	if p.state == poolStopped {
		p.counts.lost++
		return
	}
	p.ready = append(p.ready, t)
}

// store hands the results that are ready to the broker.
func (p *pool) store() {
	tasks := p.ready
	p.ready, p.spare = p.spare, nil
	p.storing = len(tasks)
	p.wakeForRest()
	p.mu.Unlock()

	for _, t := range tasks {
		p.results = append(p.results, t.result)
	}
	err := p.reply(p.results)
	clear(p.results)
	p.results = p.results[:0]

	p.mu.Lock()
	p.storing = 0
	for _, t := range tasks {
		p.tasks.put(t)
	}
	clear(tasks)
	p.spare = tasks[:0]
	if p.state == poolStopped {
		p.wake.Broadcast()
	}
	if err != nil {
		p.counts.lost += uint64(len(tasks))
		p.abandoned += len(tasks)
		if p.state != poolStopped {
			p.lostBy = err
		}
		p.fail(err)
	}
}

// reply is Reply, repeated during an outage, also when the time of the calls is over:
// the broker waits for one result of each call that was taken.
func (p *pool) reply(results []broker.Result) error {
	out := outage{log: p.callee.log, operation: "reply"}
	for {
		err := p.conn.Reply(p.life, results)
		if err == nil {
			out.over()
			return nil
		}
		if err := out.failed(p.life, err); err != nil {
			return err
		}
	}
}

// take waits for calls and queues them.
func (p *pool) take() {
	p.inTake = true
	dst := p.batch[:min(p.room(), len(p.batch))]
	p.mu.Unlock() // nothing else is left to do that somebody must be woken for

	n, err := p.takeUp(dst)
	now := p.now()

	p.mu.Lock()
	p.inTake = false
	for i := range dst[:n] {
		p.admit(&dst[i], now)
	}
	p.early = nil
	if p.state == poolStopped {
		p.abandoned += n
		p.wake.Broadcast()
	}
	if err != nil {
		p.fail(err)
	}
}

// takeUp is Take, repeated during an outage.
func (p *pool) takeUp(dst []broker.Call) (int, error) {
	out := outage{log: p.callee.log, operation: "take"}
	for {
		n, err := p.conn.Take(p.taking, dst)
		if err == nil {
			out.over()
			return n, nil
		}
		if err := out.failed(p.taking, err); err != nil {
			return 0, err
		}
	}
}

// admit queues a call that was taken at the time now.
func (p *pool) admit(c *broker.Call, now time.Duration) {
	t := p.tasks.get(p, c, now)
	t.position = len(p.active)
	p.active = append(p.active, t)
	p.queue.push(t)
	early := p.early[t.result.To]
	if early.cancelled {
		t.ctx.end(ErrCancelled)
	}
	if t.stream != nil {
		p.streams[t.result.To] = t.stream
		t.stream.grant(early.window)
	}
}

// now returns the time since the pool was opened.
func (p *pool) now() time.Duration { return time.Since(p.epoch) }

// cancelled ends the contexts of calls whose results are not wanted any more. The
// broker calls it, from any goroutine.
func (p *pool) cancelled(calls []broker.Address) {
	rest := make(map[broker.Address]bool, len(calls))
	for _, to := range calls {
		rest[to] = true
	}
	var found []*callContext
	p.mu.Lock()
	for _, t := range p.active {
		if rest[t.result.To] {
			delete(rest, t.result.To)
			found = append(found, t.ctx)
		}
	}
	for to := range rest {
		p.hear(to, news{cancelled: true})
	}
	p.mu.Unlock()
	for _, ctx := range found {
		ctx.end(ErrCancelled)
	}
}

// granted makes the windows of calls greater. The broker calls it, from any goroutine.
func (p *pool) granted(grants []broker.Grant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range grants {
		g := &grants[i]
		if s := p.streams[g.To]; s != nil {
			s.grant(g.Window)
		} else {
			p.hear(g.To, news{window: g.Window})
		}
	}
}

// hear keeps news of a call that was not found: it may be what Take is about to return.
func (p *pool) hear(to broker.Address, n news) {
	if !p.inTake {
		return
	}
	if p.early == nil {
		p.early = map[broker.Address]news{}
	}
	known := p.early[to]
	p.early[to] = news{
		cancelled: known.cancelled || n.cancelled,
		window:    known.window.Union(n.window),
	}
}

// fail stops the callee, unless it stops already: the broker has failed for good. While
// the pool drains, that is if the broker is closed: the end of Take is no failure, and to
// wait for functions whose results nobody takes would be in vain.
func (p *pool) fail(err error) {
	if p.failed {
		return
	}
	if p.state == poolOpen || p.state == poolDraining && errors.Is(err, broker.ErrClosed) {
		p.failed = true
		go p.callee.fail(err) // ends once the callee has stopped
	}
}

// drain takes no more calls.
func (p *pool) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != poolOpen {
		return
	}
	p.state = poolDraining
	p.stopTake(ErrStopped) // the goroutine in Take, or about to be, goes on to checkDrained
}

// checkDrained settles the pool once it drains and nothing is left to do, nor in
// the hands of the broker.
func (p *pool) checkDrained() {
	if p.state != poolDraining || p.inTake || p.flushing || p.left() > 0 {
		return
	}
	if p.keeper != nil {
		p.flushing = true
		p.mu.Unlock()
		err := p.keeper.Flush(p.life)
		p.mu.Lock()
		p.flushing = false
		if err != nil || p.state != poolDraining {
			return // the pool stops, which counts what is left
		}
	}
	p.state = poolSettled
	close(p.settled)
}

// left returns how many calls were taken and are not answered.
func (p *pool) left() int { return len(p.active) + p.unanswered() }

// stop withdraws the URIs. What is left is given up: queued calls do not
// start, the contexts of running ones end, and the broker answers 502 for all.
// It returns how many calls that were, with those whose results the broker has
// refused for good before, and why it has; also when it has been called before.
func (p *pool) stop() (abandoned int, lostBy error) {
	p.mu.Lock()
	active := make([]*callContext, len(p.active))
	for i, t := range p.active {
		active[i] = t.ctx
	}
	if p.state < poolStopped {
		if p.state != poolSettled {
			close(p.settled)
		}
		p.state = poolStopped
		p.abandoned += len(p.active) + len(p.ready)
		p.counts.lost += uint64(len(p.ready))
		p.ready = nil
		p.wake.Broadcast()
	}
	p.mu.Unlock()
	p.endLife(ErrStopped)
	for _, ctx := range active {
		ctx.end(ErrStopped)
	}
	p.conn.Close() // ends Take and Reply

	p.mu.Lock()
	defer p.mu.Unlock()
	for p.inTake || p.storing > 0 { // what Reply still stores is not abandoned
		p.wake.Wait()
	}
	if p.keeper != nil {
		if lost := p.keeper.Unstored(); lost > p.lostInKeeping {
			p.abandoned += lost - p.lostInKeeping
			p.counts.lost += uint64(lost - p.lostInKeeping)
			p.lostInKeeping = lost
		}
	}
	return p.abandoned, p.lostBy
}

// addStats adds the pool's figures to s.
func (p *pool) addStats(s *Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Waiting += p.queue.len
	s.Running += p.running
	s.Unanswered += p.unanswered()
	if p.keeper != nil && p.state != poolStopped {
		s.Unanswered += max(0, p.keeper.Unstored()-p.storing)
	}
	s.Calls += p.counts.calls
	s.Failed += p.counts.failed
	s.Unstarted += p.counts.unstarted
	s.Lost += p.counts.lost
}
