package juggler

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/intern"
	"github.com/juggler-go/juggler/internal/keyed"
	"github.com/juggler-go/juggler/internal/loan"
	"github.com/juggler-go/juggler/internal/wheel"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// shard is what one group of connections (an event loop, or one of the
// portable path's) owns: its sessions, their calls and subscriptions. All of
// it belongs to the group's turn and needs no lock; other goroutines put what they
// have into the inbox. It implements wsconn.Handler.
type shard struct {
	h      *Handler
	group  *wsconn.Group
	number uint8
	inline bool // requests are handled on the turn: neither user code nor the broker may hold it up

	// Sessions are found by Conn.Tag on the turn, which alone changes slots
	// and so reads them without slotsMu; others look them up under it.
	slotsMu sync.RWMutex
	slots   []*session
	free    []uint32   // slots that are nil
	ip6     [][16]byte // of clients, by slot; as long as IPv6 needs it
	kept    map[*session]*kept

	subsMu sync.Mutex // held on the turn to change the subs of a session, and by others to read them

	calls   callTable
	streams *streams                       // nil until there was one
	waiters map[*pendingCall]*keyed.Waiter // of the calls with keys that are acknowledged
	topics  map[broker.Topic]*localTopic

	here    shardHere
	chains  map[string]*chain // of the channels on which sessions lag, or SUBs are in flight
	replays replays

	inFlightMu   sync.Mutex         // guards inFlightSubs
	inFlightSubs map[*nodeTopic]int // SUBs that were sent to the broker off the turn and are not settled

	deadlines wheel.Wheel[session]
	paces     wheel.Wheel[session] // of sessions that have one

	inbox inbox
	names intern.Table
	top   *shardTop // nil: nothing is counted

	userCode  atomic.Uint64 // of the watchdog: the function of the user that runs, 0: none
	userCalls uint32        // which tells one call of a function from the next

	batches []*turnBatch // calls of this turn

	// Scratch of the turn, kept between uses.
	request  Request
	frame    frame.Frame
	out      []byte
	framed   [2][]byte        // an event, framed for each protocol
	deflated [2]deflatedFrame // and compressed

	sentCalls bool // calls went to the broker in this turn

	// With a loan, callees in this process are woken for calls at the end of reading
	// only, and may answer on the loop's goroutine. Nil: the broker has no loans.
	loan     loan.Loan
	loanWork bool // at the end of reading calls were pending that Work is to answer

	// What takes calls on the turn: the loan, or the broker.
	caller interface {
		Call(ctx context.Context, c *broker.Call) error
	}
}

// newShard makes the shard of g. It is called once for each group.
func (h *Handler) newShard(g *wsconn.Group) wsconn.Handler {
	sh := &shard{h: h, group: g, topics: make(map[broker.Topic]*localTopic), inFlightSubs: make(map[*nodeTopic]int), caller: h.broker.caller}
	sh.inline = h.broker.neverWaits() && !h.cfg.mayBlock()
	sh.inbox.taken.L = &sh.inbox.mu
	sh.calls.init(sh)
	sh.top = newShardTop(h.cfg.top)
	if conn, ok := h.broker.caller.(loan.CallerConn); ok && sh.inline {
		sh.loan = conn.NewLoan()
		sh.caller = sh.loan
	}
	sh.number = uint8(h.numShards.Add(1) - 1)
	h.shards[sh.number].Store(sh)
	return sh
}

// place finds a slot for s, and so its id, and keeps the address of its client.
func (sh *shard) place(s *session, addr netip.Addr) {
	sh.slotsMu.Lock()
	defer sh.slotsMu.Unlock()
	if n := len(sh.free); n > 0 {
		s.Tag = sh.free[n-1]
		sh.free = sh.free[:n-1]
	} else {
		s.Tag = uint32(len(sh.slots))
		sh.slots = append(sh.slots, nil)
	}
	s.id = newSessionID(sh.number, s.Tag)
	sh.keepAddr(s, addr)
	sh.slots[s.Tag] = s
}

// vacate frees the slot of s.
func (sh *shard) vacate(s *session) {
	sh.slotsMu.Lock()
	defer sh.slotsMu.Unlock()
	sh.slots[s.Tag] = nil
	if int(s.Tag) < len(sh.ip6) {
		sh.ip6[s.Tag] = [16]byte{}
	}
	sh.free = append(sh.free, s.Tag)
}

// lookUp returns the session in a slot if it has this id, or nil. Any
// goroutine may call it.
func (sh *shard) lookUp(slot uint32, id broker.ID) *session {
	sh.slotsMu.RLock()
	defer sh.slotsMu.RUnlock()
	if int64(slot) >= int64(len(sh.slots)) || sh.slots[slot] == nil || sh.slots[slot].id != id {
		return nil
	}
	return sh.slots[slot]
}

// session returns the session of c.
func (sh *shard) session(c *wsconn.Conn) *session { return sh.slots[c.Tag] }

// Message takes one message of a client, and decides which road it goes: on the turn,
// in a batch, or in the session's queue. docs/design.md has the picture.
func (sh *shard) Message(c *wsconn.Conn, _ ws.OpCode, payload []byte) {
	s := sh.session(c)
	if s.state >= closing {
		return
	}
	if sh.inline && !s.queue.busy() {
		s.onTurn(payload)
		return
	}
	j := newJob(s, payload)
	switch {
	case !s.read(&j.Request, &j.frame, j.message):
		j.recycle()
	case j.typ == frame.Cancel && s.queue.onlyParts():
		s.settle(&j.Request)
		j.recycle()
	case !sh.joinBatch(j):
		s.enqueue(j)
	}
}

// Frame counts a frame that is no message, as it costs what one does.
func (sh *shard) Frame(c *wsconn.Conn) {
	if s := sh.session(c); s.state < closing {
		_ = s.countMessage(0) // there is no answer that could refuse it
	}
}

// Quiet asks a client for a sign of life, and shows it the server's.
func (sh *shard) Quiet(c *wsconn.Conn) {
	s := sh.session(c)
	switch {
	case s.state >= closing:
	case s.protocol == frame.Juggler0:
		s.Ping()
	default:
		s.send(&frame.Frame{Type: frame.Ping})
	}
}

// Unheard closes a session whose client has not answered.
func (sh *shard) Unheard(c *wsconn.Conn) { sh.session(c).end(CloseIdle, "no answer to ping") }

// Kept returns the bytes of requests that wait for user code or the broker, and of pages
// and parts of answers that are to be sent.
func (sh *shard) Kept(c *wsconn.Conn) (bytes int) {
	s := sh.session(c)
	if s.queue != nil {
		bytes = s.queue.bytes
	}
	for _, r := range sh.replays.of[s] {
		if r.page != nil {
			bytes += r.page.size()
		}
	}
	return bytes + s.keptParts()
}

// Drained has the replays and streams of a session go on that waited for its client to
// read.
func (sh *shard) Drained(c *wsconn.Conn) {
	s := sh.session(c)
	sh.replays.resume(s)
	sh.streams.resume(s)
}

// Closing is called when wsconn ends a connection, for a reason of its own. The
// session's protocol decides which close code is sent.
func (sh *shard) Closing(c *wsconn.Conn, e *wsconn.CloseError) {
	s := sh.session(c)
	if e.Err == wsconn.ErrSlowConsumer {
		sh.h.stats.slowConsumers.Add(1)
	}
	e.Code = s.protocol.CloseCode(e.Code)
	if s.state < closing {
		s.state = closing
		s.queue.stop()
	}
}

// Closed is called when a connection is gone.
func (sh *shard) Closed(c *wsconn.Conn, e *wsconn.CloseError) { sh.session(c).closed(e) }

// EndReading sends the batches of the turn and has callees woken for its calls. It
// reports whether other goroutines answer any of them: their results may come soon.
func (sh *shard) EndReading() (yield bool) {
	sh.sendBatches()
	yield = sh.sentCalls
	sh.sentCalls = false
	if sh.loan == nil {
		return yield
	}
	sh.loanWork = sh.loan.EndCalls()
	if sh.loanWork && !sh.group.CanLend() {
		sh.loanWork = false
		sh.loan.Wake()
	}
	return yield && !sh.loanWork // else Work reports it
}

// HasWork implements [wsconn.Borrower]: callees in this process may answer calls of
// this turn on its goroutine.
func (sh *shard) HasWork() bool { return sh.loanWork }

// Work has a callee answer calls.
func (sh *shard) Work(n uint64) (more, yield bool) { return sh.loan.Work(n) }

// Recall has callees answer calls on goroutines of their own, since Work is held up.
func (sh *shard) Recall(n uint64) {
	sh.h.stats.heldUp.Add(1)
	sh.loan.Recall(n)
}
