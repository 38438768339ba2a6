package wsconn

import (
	"errors"
	"io"
	"math"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/wheel"
)

// Conn is one connection. Embed it by value in what the owner keeps for the
// connection and pass it to [Group.Attach]; it must not be copied afterwards.
// While nothing happens it holds no buffer. All methods may be called only on
// a turn of its group. Once the connection is closing, what would be written
// is dropped; every method may be called at any time until Closed returned.
type Conn struct {
	timer wheel.Timer[Conn] // the earliest deadline, or one before it
	g     *Group
	in    *input    // nil unless part of a message has arrived
	out   *output   // nil unless something is queued or the connection is closing
	port  *portConn // on the portable path

	fd        int32  // on a loop
	slot, gen uint32 // the place in the group's table, and whose it is
	// When something was written last, and received: ms, as is the group's now, but
	// without its upper half.
	lastWrite, lastRead uint32

	// Tag is the owner's to use.
	Tag uint32

	state  state
	window uint8 // see Deflate; 0: nothing is compressed
	flags  flags
}

type state uint8

const (
	stateOpen     state = iota
	stateClosing        // we sent a close frame, or will: the peer's is awaited
	stateFailing        // the same, or that it hangs up: it did something wrong
	stateReplying       // our close frame is still to be written, and nothing else awaited
	stateDead           // over; torn down at the end of the turn
)

type flags uint16

const (
	flagPaused      flags = 1 << iota
	flagDirty             // in the group's list of connections to settle
	flagResumed           // in the group's list of connections to feed
	flagFull              // the socket is full, or a portable writer is writing
	flagSent              // the close frame is written
	flagSlow              // closing as a slow consumer: no further progress counts
	flagReset             // to be closed with a reset
	flagLostFraming       // what the peer sends cannot be parsed any more
	flagWaitsIn           // a loop waits for the socket to be readable
	flagWaitsOut          // and for it to have room
	flagAsked             // Handler.Quiet was called since something was received
	flagUnheard           // and Handler.Unheard
	flagTellDrained       // to be told to Drainer.Drained
	flagJoins             // what WriteRaw queues is joined to one message
)

// never is a deadline that does not come.
const never = math.MaxInt64

// Group returns the group that c belongs to.
func (c *Conn) Group() *Group { return c.g }

// Queued returns how many bytes have been queued and not yet written.
func (c *Conn) Queued() int {
	if c.out == nil {
		return 0
	}
	return c.out.pending()
}

// HalfFull reports whether more than half of what may wait for c is queued.
func (c *Conn) HalfFull() bool { return c.Queued() > c.g.cfg.MaxQueue/2 }

// TellDrained has [Drainer.Drained] called, once, when at most a quarter of what may wait for c is queued,
// unless it closes before. The Handler has to be a Drainer.
func (c *Conn) TellDrained() {
	if c.state == stateOpen {
		c.flags |= flagTellDrained
	}
}

// noteDrained is called when a part of the queue was written.
func (c *Conn) noteDrained() {
	if c.flags&flagTellDrained != 0 && c.Queued() <= c.g.cfg.MaxQueue/4 {
		c.flags &^= flagTellDrained
		c.g.drained = append(c.g.drained, c)
		c.g.Wake()
	}
}

// JoinRaw has messages that WriteRaw queues one after the other leave as one, from now on,
// while they wait to be written: a JSON array of them. All of them have to be JSON, and no
// arrays.
func (c *Conn) JoinRaw() { c.flags |= flagJoins }

// WriteText queues payload, which is copied, as a text message.
func (c *Conn) WriteText(payload []byte) { c.write(ws.OpText, payload) }

// WriteTextDelayed queues payload, which is copied, as a text message whose write
// may be delayed by a few milliseconds, to leave together with what is queued next
// for c: see delayedWrites.
func (c *Conn) WriteTextDelayed(payload []byte) {
	dirty := c.flags&flagDirty != 0
	if !dirty && c.g.delayed.pays() && c.reserve(headerLen(len(payload))+len(payload)) {
		c.out.add(ws.OpText, payload)
		c.delayWrite()
	} else {
		c.write(ws.OpText, payload)
	}
}

// WriteBinary queues payload, which is copied, as a binary message.
func (c *Conn) WriteBinary(payload []byte) { c.write(ws.OpBinary, payload) }

// WriteRaw queues a whole frame, which is copied: one of [AppendText], or of
// [Group.AppendDeflated], which is not joined to others.
func (c *Conn) WriteRaw(frame []byte) {
	if c.reserve(len(frame)) {
		if c.flags&flagJoins == 0 || frame[0]&rsv1 != 0 || !c.out.join(frame[payloadAt(frame):]) {
			c.out.addRaw(frame)
		}
		c.markDirty()
	}
}

// Ping queues a ping without payload.
func (c *Conn) Ping() { c.write(ws.OpPing, nil) }

func (c *Conn) write(op ws.OpCode, payload []byte) {
	if c.reserve(headerLen(len(payload)) + len(payload)) {
		c.out.add(op, payload)
		c.markDirty()
	}
}

// reserve prepares the output for n more bytes. It returns false if nothing
// may be written any more, or if that is too much for the peer.
func (c *Conn) reserve(n int) bool {
	if c.state != stateOpen {
		return false
	}
	if c.output().pending()+n > c.g.cfg.MaxQueue {
		// One turn may write more than the bound to a peer that keeps up: on a
		// loop. A portable connection writes only when the turn is over.
		c.g.transport.settle(c)
		if c.state != stateOpen {
			return false
		}
		if c.output().pending()+n > c.g.cfg.MaxQueue {
			c.slowConsumer()
			return false
		}
	}
	c.out.room(n)
	c.lastWrite = uint32(c.g.now)
	return true
}

func (c *Conn) input() *input {
	if c.in == nil {
		c.in = c.g.free.input()
	}
	return c.in
}

func (c *Conn) output() *output {
	if c.out == nil {
		c.out = c.g.free.output()
	}
	return c.out
}

// markDirty has the group settle c at the end of the turn.
func (c *Conn) markDirty() {
	if c.flags&flagDirty == 0 {
		c.flags |= flagDirty
		c.g.dirty = append(c.g.dirty, c)
	}
}

// Pause stops Message for c, until Resume. What was read already is kept, as
// are the few bytes that a portable connection still reads; then the peer is
// held up by flow control. Pings and close frames wait with the messages;
// that the peer hangs up is noticed, at once by a loop, and on the portable
// path unless more than 16 KiB wait to be read before it.
func (c *Conn) Pause() {
	if c.state == stateOpen {
		c.flags |= flagPaused
		c.markDirty()
	}
}

// Resume ends Pause. Message is not called before Resume returns, but in the
// same turn if something was kept.
func (c *Conn) Resume() {
	if c.flags&flagPaused == 0 || c.state == stateDead {
		return
	}
	c.flags &^= flagPaused
	c.heard() // what it may have sent meanwhile could not be read
	c.markDirty()
	if c.in != nil {
		if c.in.since != 0 {
			c.in.since = c.g.now // the rest could not arrive
		}
		if len(c.in.held) > 0 {
			c.feedLater()
		}
	}
	c.arm(c.deadlines().read)
}

// feedLater has the group feed c in this turn.
func (c *Conn) feedLater() {
	if c.flags&flagResumed == 0 {
		c.flags |= flagResumed
		c.g.resumed = append(c.g.resumed, c)
	}
}

// Close starts the close handshake: what is queued is written, then a close
// frame with code and reason (cut to 123 bytes; 1005: with neither), and the
// peer's close frame is awaited. Messages that arrive until then are dropped.
func (c *Conn) Close(code uint16, reason string) {
	if c.state == stateOpen {
		c.state = stateClosing
		c.sendClose(&CloseError{Code: code, Reason: reason}, code)
	}
}

// CloseNow is Close for a peer that is not worth waiting for: the socket is closed as
// soon as the close frame is written. A connection that is closing already is not
// waited for any longer.
func (c *Conn) CloseNow(code uint16, reason string) {
	switch c.state {
	case stateOpen:
		c.state = stateReplying
		c.sendClose(&CloseError{Code: code, Reason: reason}, code)
	case stateClosing, stateFailing:
		c.hangUp()
	}
}

// hangUp ends c while it is closing: nothing of the peer is awaited any more.
func (c *Conn) hangUp() {
	if c.flags&flagSent != 0 {
		c.die()
		return
	}
	c.state = stateReplying // our close frame is still to be written
}

// abort ends c at the end of the turn: what is queued is dropped and the peer sees
// the connection reset.
func (c *Conn) abort(err error) {
	c.flags |= flagReset
	c.lost(err)
}

// fail closes c because of what the peer did. What it sends after our close
// frame is passed over until it answers with its own, hangs up, CloseTimeout
// has passed, or it is too much: closing the socket at once might reset it
// before the peer has read why.
func (c *Conn) fail(code uint16, reason string, err error) {
	if c.state == stateClosing {
		c.failClosing(stateFailing, err)
		return
	}
	c.failTo(stateFailing, &CloseError{Code: code, Reason: reason, Err: err})
}

// failClosing acts on a violation while our close frame is on its way: there
// is nothing to add to it. If it still has to be written, c goes to state s for
// that; else nothing of the peer is awaited any more.
func (c *Conn) failClosing(s state, err error) {
	if c.flags&flagSent != 0 {
		c.lost(err)
		return
	}
	c.state = s
	if c.out.end.Err == nil {
		c.out.end.Err = err
	}
}

func (c *Conn) failTo(s state, e *CloseError) {
	if c.state != stateOpen {
		return
	}
	c.state = s
	c.g.handler.Closing(c, e)
	if c.state == s {
		c.sendClose(e, e.Code)
	}
}

// slowConsumer drops what the peer does not take, and closes c with that reason.
func (c *Conn) slowConsumer() {
	c.out.dropRest()
	c.flags |= flagSlow
	c.fail(CodeSlowConsumer, "slow consumer", ErrSlowConsumer)
}

// closedByPeer acts on a close frame, which is valid.
func (c *Conn) closedByPeer(code uint16, reason string) {
	switch c.state {
	case stateClosing, stateFailing:
		c.hangUp()
	case stateOpen:
		c.state = stateReplying
		c.sendClose(&CloseError{Code: code, Reason: reason, Remote: true}, code)
	}
}

// closedBadly acts on a close frame that breaks the rules: ours is the last.
func (c *Conn) closedBadly(err error) {
	if c.state == stateOpen {
		c.failTo(stateReplying, &CloseError{Code: violationCode(err), Reason: err.Error(), Err: ErrProtocol})
	} else {
		c.failClosing(stateReplying, ErrProtocol)
	}
}

// sendClose queues the close frame and sets the deadline for writing it.
func (c *Conn) sendClose(e *CloseError, code uint16) {
	reason := e.Reason
	if e.Remote {
		reason = ""
	}
	out := c.output()
	out.end = e
	out.buf = appendClose(out.buf, code, reason)
	c.markDirty()
	c.setDeadline(c.g.cfg.writeTimeout)
	c.Resume()
}

func (c *Conn) setDeadline(after int64) {
	c.out.deadline = c.g.now + after
	c.arm(c.out.deadline)
}

// progressed is called when the socket has taken part of the queue.
func (c *Conn) progressed() {
	c.out.since = c.g.now
	if c.state != stateOpen && c.flags&flagSlow == 0 {
		c.setDeadline(c.g.cfg.writeTimeout)
	}
	c.noteDrained()
}

// flushed is called when the socket has taken all of the queue.
func (c *Conn) flushed() {
	c.endDelay()
	c.out.written()
	c.flags &^= flagFull
	switch c.state {
	case stateOpen:
		c.g.giveBack(c)
		c.noteDrained()
	case stateClosing, stateFailing:
		if c.flags&flagSent == 0 {
			c.flags |= flagSent
			c.setDeadline(c.g.cfg.closeTimeout)
			// Proxies take a side that is shut for the end, and do not pass on the close
			// frame before it. We do it only where the peer's could not be read.
			if c.flags&flagLostFraming != 0 {
				c.g.transport.shutdownWrite(c)
			}
		}
	case stateReplying:
		c.die()
	}
}

// lost ends c because its socket has failed with err.
func (c *Conn) lost(err error) {
	if c.state == stateDead {
		return
	}
	out := c.output()
	switch {
	case out.end == nil:
		out.end = &CloseError{Code: uint16(ws.StatusAbnormalClosure), Err: err}
	case c.state == stateReplying && errors.Is(err, io.EOF):
		// The peer did not wait for our close frame.
	case out.end.Err == nil:
		out.end.Err = err
	}
	c.die()
}

// die has the group tear c down at the end of the turn.
func (c *Conn) die() {
	c.state = stateDead
	c.g.dead = append(c.g.dead, c)
}

// arm makes sure that the timer fires at the time at or before. It is not
// moved for deadlines that come later: when it fires too early it is set
// again, which is cheaper than moving it with each message.
func (c *Conn) arm(at int64) {
	if at != never && (!c.timer.Active() || at < c.timer.At()) {
		c.g.wheel.Set(&c.timer, at)
	}
}

// expire is what the timer fires.
func (c *Conn) expire() {
	now := c.g.now
	if c.state == stateDead {
		return
	}
	if c.state != stateOpen {
		if now < c.out.deadline {
			c.Resume() // after dropSlowly
			c.arm(c.out.deadline)
			return
		}
		if c.flags&flagSent == 0 {
			c.flags |= flagReset
		}
		c.lost(ErrCloseTimeout)
		return
	}
	d := c.deadlines()
	switch {
	case d.write <= now:
		c.slowConsumer()
	case c.g.StoodStill(min(d.read, d.dead)):
		c.readFirst()
	case d.read <= now:
		c.fail(CodeIdle, "message not completed in time", ErrReadTimeout)
	case d.dead <= now:
		c.flags |= flagUnheard
		c.g.handler.Unheard(c)
	case d.ping <= now:
		c.lastWrite = uint32(now)
		c.flags |= flagAsked
		c.g.handler.Quiet(c)
	}
	if c.state == stateOpen {
		d = c.deadlines() // they may have moved
		c.arm(min(d.write, d.read, d.dead, d.ping))
	}
}

// readFirst gives the peer the time for what it has to send once more, or for the answer
// to a ping.
func (c *Conn) readFirst() {
	c.lastRead = uint32(c.g.now - c.g.cfg.ping)
	if c.in != nil && c.in.since != 0 {
		c.in.since = c.g.now
	}
}

// deadlines are those of an open connection, in ms.
type deadlines struct{ write, read, dead, ping int64 }

func (c *Conn) deadlines() deadlines {
	cfg, now := c.g.cfg, c.g.now
	d := deadlines{never, never, never, never}
	if c.flags&flagFull != 0 {
		d.write = c.out.since + cfg.writeTimeout
	}
	if c.flags&flagPaused == 0 && c.in != nil && c.in.since != 0 {
		d.read = c.in.since + cfg.readTimeout
	}
	if cfg.ping > 0 {
		d.ping = now - age(now, c.lastWrite) + cfg.ping
		read := now - age(now, c.lastRead)
		switch {
		case c.flags&(flagPaused|flagUnheard) != 0:
		case c.flags&flagAsked != 0: // and is not asked again
			d.ping, d.dead = never, read+2*cfg.ping
		default:
			d.ping = min(d.ping, read+cfg.ping)
		}
	}
	return d
}

// heard notes that the peer has shown that it is there.
func (c *Conn) heard() {
	c.lastRead = uint32(c.g.now)
	if c.flags&(flagAsked|flagUnheard) != 0 {
		c.flags &^= flagAsked | flagUnheard
		c.arm(c.deadlines().ping) // it was not to be asked again before
	}
}

// age returns how long ago the shortened time was, up to 49 days.
func age(now int64, at uint32) int64 { return int64(uint32(now) - at) }
