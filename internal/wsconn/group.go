package wsconn

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/internal/deflate"
	"github.com/juggler-go/juggler/internal/wheel"
)

// Group executes everything of its connections serially: see the package
// comment.
type Group struct {
	cfg       *config
	handler   Handler
	transport transport
	borrower  Borrower // handler, if it is one
	drainer   Drainer  // handler, if it is one
	lending   lending  // transport, if it is one

	// The rest is touched on the group's turn only.
	now    int64
	wheel  wheel.Wheel[Conn]
	expire func(*Conn)
	free   freelists

	deflater *deflate.Deflater // nil until it is first needed

	conns  []*Conn  // by slot; nil: vacant
	vacant []uint32 // slots
	gen    uint32

	dirty   []*Conn // to settle at the end of the turn
	resumed []*Conn // to feed
	drained []*Conn // to tell the drainer of
	dead    []*Conn // to close
	delayed delayedWrites

	grown     bool  // backlog has, since relieve
	relieveAt int64 // when to look again at the latest; 0: no need

	opening  bool  // Adopt's open is running
	attached *Conn // what it attached

	load    atomic.Int64 // connections, those on their way included
	backlog atomic.Int64 // bytes kept for connections; changed on the group's turn

	inflatedFrom, inflatedTo atomic.Uint64 // bytes of compressed messages, and what they held

	wakeUp atomic.Uint32
	wakeMu sync.Mutex // guards ended, and transport.wake against the end
	ended  bool       // nothing is left to wake
}

// transport is what differs between the two kinds of group.
type transport interface {
	// adopt takes a into the group; it fails only when the pool is closed.
	adopt(a adoption) error
	// close resets all connections and returns when nothing is left.
	close()
	// wake starts a turn soon. It is called with wakeMu held.
	wake()

	// The others are called on the group's turn.

	// admit opens the connections that others left to be adopted. What they
	// leave after it they announce with Wake.
	admit()
	// attach connects c to the socket being adopted.
	attach(c *Conn)
	// settle writes what is queued for c, as far as that is possible without
	// blocking, and starts or stops reading as c wishes.
	settle(c *Conn)
	// shutdownWrite tells the peer that nothing more will be written.
	shutdownWrite(c *Conn)
	// closeConn closes the socket of c, which is dead, and has the group release
	// it when nothing of it is left.
	closeConn(c *Conn)
}

// What Group.wakeUp may be. Wake moves wakeIdle to wakePending and wakeInTurn to
// wakeAgain; everything else is done by the group itself.
const (
	wakeIdle    uint32 = iota // no turn is in progress or to come
	wakePending               // transport.wake was called for a turn to come
	wakeInTurn                // a turn is in progress
	wakeAgain                 // and another is wanted after it
)

func newGroup(cfg *config, t transport) *Group {
	g := &Group{cfg: cfg, transport: t, expire: (*Conn).expire}
	g.lending, _ = t.(lending)
	g.tick()
	g.handler = cfg.NewHandler(g)
	g.borrower, _ = g.handler.(Borrower)
	g.drainer, _ = g.handler.(Drainer)
	return g
}

// Handler returns what [Config.NewHandler] made for the group.
func (g *Group) Handler() Handler { return g.handler }

// CanLend reports whether the group lends its goroutine to a [Borrower].
func (g *Group) CanLend() bool { return g.lending != nil }

// tick sets the group's time, which starts at 1 so that 0 means no time.
func (g *Group) tick() { g.now = int64(time.Since(g.cfg.start)/time.Millisecond) + 1 }

// Now returns the milliseconds since the pool was made, plus one, as of the
// beginning of the turn. It may be called on the group's turn only.
func (g *Group) Now() int64 { return g.now }

// After returns what Now will be d later: never too early.
func (g *Group) After(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 { // to add to d would overflow in the longest there is
		ms++
	}
	return g.now + ms
}

// StoodStill reports, of a deadline that is handled now, whether it was missed because
// the process did not run, as when its container was paused. What peers have sent in
// time may wait in their sockets then.
func (g *Group) StoodStill(deadline int64) bool { return deadline <= g.now-muchTooLate }

// muchTooLate is how many ms late a busy process handles no deadline.
const muchTooLate = 1000

// Wake has the group take a turn soon, in which Handler.Turn is called. It
// may be called from any goroutine, holding any locks: it neither blocks nor
// calls back. Calls are coalesced: one costs a system call or a goroutine
// only if the group is idle, and during a turn it has the group take another
// one right after. After the pool was closed it does nothing.
func (g *Group) Wake() {
	for {
		switch g.wakeUp.Load() {
		case wakePending, wakeAgain:
			// The turn that this announces has not begun, so it will see
			// what the caller queued before.
			return
		case wakeInTurn:
			if g.wakeUp.CompareAndSwap(wakeInTurn, wakeAgain) {
				return
			}
		case wakeIdle:
			if g.wakeFromIdle() {
				return
			}
		}
	}
}

func (g *Group) wakeFromIdle() bool {
	g.wakeMu.Lock()
	defer g.wakeMu.Unlock()
	if g.ended {
		return true
	}
	if !g.wakeUp.CompareAndSwap(wakeIdle, wakePending) {
		return false
	}
	g.transport.wake()
	return true
}

// end makes Wake do nothing from now on.
func (g *Group) end() {
	g.wakeMu.Lock()
	defer g.wakeMu.Unlock()
	g.ended = true
}

// beginTurn is followed by what brought the turn about: bytes that were read
// and the like.
func (g *Group) beginTurn() {
	g.wakeUp.Store(wakeInTurn)
	g.tick()
}

// finishTurn does what the turn has to do after reading, and writes. It returns when
// the next turn is due at the latest (0: no need); endTurn must follow. If ours is
// false, another goroutine goes on with the turn, by finishTurn with wasLent.
func (g *Group) finishTurn(wasLent bool) (next int64, ours bool) {
	for ; ; wasLent = false {
		if wasLent {
			g.tick()
		} else {
			g.feed()
			if !g.endReading() {
				return 0, false
			}
		}
		g.wheel.Advance(g.now, g.expire)
		g.wakeUp.Store(wakeInTurn) // what was announced until now is taken here
		g.transport.admit()
		g.tellDrained()
		next = g.handler.Turn(g.now)
		if len(g.resumed) > 0 {
			continue
		}
		g.delayed.expire(g.now)
		g.settle()
		if relieved := g.relieve(); !g.closeDead() && !relieved {
			break // no callback since Turn
		}
	}
	if at, ok := g.wheel.Next(); ok && (next == 0 || at < next) {
		next = at
	}
	if at := g.delayed.next(); at != 0 && (next == 0 || at < next) {
		next = at
	}
	if at := g.relieveAt; at != 0 && (next == 0 || at < next) {
		next = at
	}
	return next, true
}

// endReading has the handler pass on what it has gathered, and lets others do it at
// once, on this goroutine or on theirs. It returns false if the turn has gone on on
// another goroutine.
func (g *Group) endReading() (ours bool) {
	yield, lent := g.handler.EndReading(), false
	for more := g.lending != nil && g.borrower != nil && g.borrower.HasWork(); more; lent = true {
		var left, ours bool
		if more, left, ours = g.lending.lend(g.borrower); !ours {
			return false
		}
		yield = yield || left
	}
	if yield {
		runtime.Gosched()
	}
	if lent || yield {
		g.tick()
	}
	return true
}

// endTurn reports whether Wake was called since the turn took what others had left.
// Then another turn must follow, and the group counts as in its turn until then.
func (g *Group) endTurn() (again bool) {
	return !g.wakeUp.CompareAndSwap(wakeInTurn, wakeIdle)
}

func (g *Group) feed() {
	for i := 0; i < len(g.resumed); i++ {
		c := g.resumed[i]
		c.flags &^= flagResumed
		c.feed()
	}
	clear(g.resumed)
	g.resumed = g.resumed[:0]
}

func (g *Group) settle() {
	for i := 0; i < len(g.dirty); i++ {
		c := g.dirty[i]
		c.flags &^= flagDirty
		if c.state != stateDead {
			g.transport.settle(c)
		}
		if c.out != nil {
			g.account(&c.out.kept, cap(c.out.buf))
		}
	}
	clear(g.dirty)
	g.dirty = g.dirty[:0]
}

// tellDrained tells of connections that have asked for it by [Conn.TellDrained].
func (g *Group) tellDrained() {
	for i := 0; i < len(g.drained); i++ {
		if c := g.drained[i]; c.state == stateOpen {
			g.drainer.Drained(c)
		}
	}
	clear(g.drained)
	g.drained = g.drained[:0]
}

// closeDead closes the connections that are dead, and reports whether any was.
func (g *Group) closeDead() (any bool) {
	any = len(g.dead) > 0
	for i := 0; i < len(g.dead); i++ {
		g.transport.closeConn(g.dead[i])
	}
	clear(g.dead)
	g.dead = g.dead[:0]
	return any
}

// adopt runs open and then has what was read with the handshake parsed, as if
// the connection had been paused: what it brings about has to come before the
// group lends its goroutine and yields. It reports whether a connection was
// attached.
func (g *Group) adopt(buffered []byte, open func(*Group)) bool {
	g.opening = true
	open(g)
	g.opening = false
	c := g.attached
	g.attached = nil
	if c == nil {
		g.load.Add(-1)
		return false
	}
	if len(buffered) > 0 {
		c.hold(buffered)
		c.feedLater()
	}
	return true
}

// Attach makes c the connection being adopted. It may be called once, from
// the function that was passed to [Pool.Adopt]. response is the HTTP response
// that ends the handshake; it is copied, and leaves in one write with
// whatever is queued for c in this turn. Of c only Tag is kept.
func (g *Group) Attach(c *Conn, response []byte) {
	if !g.opening {
		panic("wsconn: Attach called other than once from Adopt's open")
	}
	g.opening = false
	g.attached = c
	*c = Conn{g: g, Tag: c.Tag, lastWrite: uint32(g.now), lastRead: uint32(g.now)}
	c.timer.Owner = c
	g.gen++
	c.gen = g.gen
	if n := len(g.vacant); n > 0 {
		c.slot = g.vacant[n-1]
		g.vacant = g.vacant[:n-1]
		g.conns[c.slot] = c
	} else {
		c.slot = uint32(len(g.conns))
		g.conns = append(g.conns, c)
	}
	if len(response) > 0 {
		out := c.output()
		out.buf = append(out.buf, response...)
		out.mark = len(out.buf)
		c.markDirty()
	}
	c.arm(c.deadlines().ping)
	g.transport.attach(c)
}

// release takes c, of which the transport has nothing left, out of the group.
func (g *Group) release(c *Conn) {
	g.wheel.Remove(&c.timer)
	g.conns[c.slot] = nil
	g.vacant = append(g.vacant, c.slot)
	if c.in != nil {
		g.giveBackInput(c)
	}
	e := c.out.end
	g.giveBack(c)
	g.load.Add(-1)
	g.handler.Closed(c, e)
}

// abortAll ends every connection, because the pool is closed.
func (g *Group) abortAll() {
	for _, c := range g.conns {
		if c != nil {
			c.abort(ErrPoolClosed)
		}
	}
}
