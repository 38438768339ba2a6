package wsconn

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/juggler-go/juggler/internal/netpoll"
)

// readBuffer is the size of the one buffer that a loop reads into: room for a
// message of 64 KiB, the default limit, together with its frame header, since
// one that arrives whole is not copied.
const readBuffer = 128 << 10

// turnBytes is after how many bytes a turn stops reading, handles what it has read,
// and leaves the other sockets that are ready to the next turn. What the messages
// touch is then still in the processor's caches. A smaller value would take more
// turns for the same messages where each socket has only one.
const turnBytes = 16 << 10

// loop is the transport of plain sockets: a goroutine that waits for all of
// its connections at once. It alone reads, writes and closes their
// descriptors, so that none is ever used after its number was given away.
// What others want of it waits in mail, or with the Handler, for a wake-up.
//
// Events carry a connection's slot and generation rather than its
// descriptor: an event fetched before its connection was closed finds
// another generation in the slot, or none.
type loop struct {
	g        *Group
	poller   *netpoll.Poller
	buf      []byte
	ready    []netpoll.Event // fetched and not handled; valid until the poller waits
	received int             // bytes in this turn
	adopting int             // the descriptor of the connection being attached
	closed   bool            // this turn is the last
	done     chan struct{}   // closed when the goroutine has ended
	loan     loan

	mu      sync.Mutex // guards the following
	mail    []adoption
	closing bool // nothing is mailed any more
}

// startLoop starts a loop, which ends with close.
func startLoop(cfg *config) (*Group, error) {
	poller, err := netpoll.New()
	if err != nil {
		return nil, err
	}
	l := &loop{poller: poller, buf: make([]byte, readBuffer), done: make(chan struct{})}
	l.loan.timer = time.AfterFunc(time.Hour, l.look)
	l.loan.timer.Stop()
	l.g = newGroup(cfg, l)
	go l.run(false)
	return l.g, nil
}

// run is the loop's goroutine. With wasLent it takes the loop over in the middle of a
// turn, from a goroutine that was lent and did not come back.
func (l *loop) run(wasLent bool) {
	for timeout := -1; !l.closed; {
		if !wasLent {
			l.begin(timeout)
		}
		next, ours := l.g.finishTurn(wasLent)
		if !ours {
			return
		}
		wasLent = false
		timeout = l.timeout(next)
		if l.g.endTurn() {
			timeout = 0 // sockets first: wake-ups without end must not starve them
		}
	}
	l.g.end()
	_ = l.poller.Close()
	close(l.done)
}

// begin begins a turn with what is ready. If nothing is, it waits for it, for
// timeout ms at most.
func (l *loop) begin(timeout int) {
	if len(l.ready) == 0 {
		var err error
		if l.ready, err = l.poller.Wait(timeout); err != nil {
			panic(fmt.Sprintf("wsconn: event loop: %v", err)) // the poller is ours alone: a bug
		}
	}
	l.g.beginTurn()
	l.received = 0
	for len(l.ready) > 0 && l.received < turnBytes {
		e := &l.ready[0]
		l.ready = l.ready[1:]
		l.handle(e)
	}
}

// timeout returns how many milliseconds the loop may wait for its next turn.
func (l *loop) timeout(next int64) int {
	if next == 0 {
		return -1
	}
	l.g.tick() // the turn may have taken a while
	return int(min(max(next-l.g.now, 0), math.MaxInt32))
}

// admit opens the connections that were mailed. If they were the last it aborts
// all.
func (l *loop) admit() {
	l.mu.Lock()
	mail := l.mail
	l.mail = nil
	l.closed = l.closing
	l.mu.Unlock()
	for _, a := range mail {
		l.adopting = a.fd
		if !l.g.adopt(a.buffered, a.open) {
			_ = netpoll.Close(a.fd)
		}
	}
	if l.closed {
		l.g.abortAll()
	}
}

func (l *loop) adopt(a adoption) error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return ErrPoolClosed
	}
	l.mail = append(l.mail, a)
	l.mu.Unlock()
	l.g.Wake()
	return nil
}

func (l *loop) close() {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.g.Wake()
	<-l.done
}

func (l *loop) wake() {
	// It can only fail on a descriptor that is not open.
	if err := l.poller.Wake(); err != nil {
		panic(fmt.Sprintf("wsconn: event loop: %v", err))
	}
}

func token(c *Conn) uint64 { return uint64(c.gen)<<32 | uint64(c.slot) }

func (l *loop) attach(c *Conn) {
	c.fd = int32(l.adopting)
	c.flags |= flagWaitsIn
	if err := l.poller.Add(l.adopting, token(c), netpoll.Readable); err != nil {
		c.lost(err)
	}
}

// handle acts on what the poller says about a socket.
func (l *loop) handle(e *netpoll.Event) {
	c := l.g.conns[uint32(e.Token)]
	if c == nil || c.gen != uint32(e.Token>>32) || c.state == stateDead {
		return
	}
	if e.Writable && c.flags&flagFull != 0 {
		c.flags &^= flagFull
		c.markDirty()
	}
	switch {
	case !e.Readable:
	case c.flags&flagPaused == 0:
		l.read(c)
	case e.HangUp:
		c.lost(ErrHangUp)
	}
}

// read reads once. If there is more, the poller reports the socket again, after the
// others.
func (l *loop) read(c *Conn) {
	n, err := netpoll.Read(int(c.fd), l.buf)
	switch {
	case err == nil:
		l.received += n
		c.receive(l.buf[:n])
	case !errors.Is(err, netpoll.ErrWouldBlock):
		c.lost(err)
	}
}

func (l *loop) settle(c *Conn) {
	if c.out != nil && c.flags&flagFull == 0 {
		l.write(c)
	}
	if c.state == stateDead {
		return
	}
	var interest netpoll.Interest
	var waits flags
	if c.flags&flagPaused == 0 {
		interest |= netpoll.Readable
		waits |= flagWaitsIn
	}
	if c.flags&flagFull != 0 {
		interest |= netpoll.Writable
		waits |= flagWaitsOut
	}
	const both = flagWaitsIn | flagWaitsOut
	if c.flags&both == waits {
		return
	}
	c.flags = c.flags&^both | waits
	if err := l.poller.Modify(int(c.fd), token(c), interest); err != nil {
		c.lost(err)
	}
}

// write passes the queue to the socket, in one system call.
func (l *loop) write(c *Conn) {
	out := c.out
	n := 0
	if out.pending() > 0 {
		var err error
		n, err = netpoll.Write(int(c.fd), out.buf[out.off:])
		if err != nil && !errors.Is(err, netpoll.ErrWouldBlock) {
			c.lost(err)
			return
		}
	}
	out.off += n
	if out.pending() == 0 {
		c.flushed()
		return
	}
	// The socket is full: another write at once would not help.
	if n > 0 || c.flags&flagWaitsOut == 0 {
		c.progressed()
	}
	c.flags |= flagFull
	if c.state == stateOpen {
		c.arm(out.since + l.g.cfg.writeTimeout)
	}
}

func (l *loop) shutdownWrite(c *Conn) {
	// If the peer is gone already, the next read says so.
	_ = netpoll.ShutdownWrite(int(c.fd))
}

func (l *loop) closeConn(c *Conn) {
	if c.flags&flagReset != 0 {
		_ = netpoll.Reset(int(c.fd))
	} else {
		_ = netpoll.Close(int(c.fd))
	}
	l.g.release(c)
}
