package wsconn

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// chunk is how much one Write of a portable connection takes, and so the
	// unit of its progress: a TLS record, because a write to TLS cannot be
	// resumed after a timeout.
	chunk = 16 << 10
	// bigBuffer is what a portable connection reads into after its own small
	// buffer was filled.
	bigBuffer   = 16 << 10
	smallBuffer = 512
	// keepBuffers is how many big buffers a group keeps.
	keepBuffers = 64
	// mostHeld is how much a paused portable connection reads ahead in order
	// to notice that the peer hangs up.
	mostHeld = 16 << 10
)

// portable is the transport of any net.Conn. Turns are taken by the
// goroutines of the connections, by the group's timer and by those that Wake
// starts; mu makes them one after the other.
type portable struct {
	g          *Group
	takeTurn   func()         // what Wake starts, made once
	goroutines sync.WaitGroup // and the timer, while it is set

	mu       sync.Mutex // held during a turn
	closed   bool
	adopting net.Conn    // the connection being attached
	timer    *time.Timer // nil until it is first needed
	timerAt  int64       // when it will take a turn; 0: it is not set
	buffers  [][]byte    // big ones, for reuse
}

func newPortable(cfg *config) (*Group, error) {
	p := new(portable)
	p.takeTurn = func() {
		defer p.goroutines.Done()
		p.begin()
		p.end()
	}
	p.mu.Lock() // NewHandler may make the group known to others, which wake it
	defer p.mu.Unlock()
	p.g = newGroup(cfg, p)
	return p.g, nil
}

// begin starts a turn, end finishes it.
func (p *portable) begin() {
	p.mu.Lock()
	p.g.beginTurn()
}

func (p *portable) end() {
	p.finish()
	p.mu.Unlock()
}

// finish is end for a caller that goes on with mu held.
func (p *portable) finish() {
	next, _ := p.g.finishTurn(false)
	p.setTimer(next)
	if p.g.endTurn() {
		// In a goroutine of its own: connections that wait for mu come first.
		p.g.wakeUp.Store(wakePending)
		p.goroutines.Add(1)
		go p.takeTurn()
	}
}

func (p *portable) wake() {
	p.goroutines.Add(1)
	go p.takeTurn()
}

// setTimer has the timer take a turn at the time next, or before it.
func (p *portable) setTimer(next int64) {
	if next == 0 || p.closed || p.timerAt != 0 && p.timerAt <= next {
		return
	}
	wait := time.Until(p.g.cfg.start.Add(time.Duration(next-1) * time.Millisecond))
	switch {
	case p.timer == nil:
		p.goroutines.Add(1)
		p.timer = time.AfterFunc(wait, p.timerTurn)
	case p.timerAt == 0:
		p.goroutines.Add(1)
		p.timer.Reset(wait)
	case p.timer.Stop():
		p.timer.Reset(wait)
	default:
		return // it fires already, and will be set again then
	}
	p.timerAt = next
}

func (p *portable) timerTurn() {
	defer p.goroutines.Done()
	p.begin()
	p.timerAt = 0
	p.end()
}

func (p *portable) adopt(a adoption) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrPoolClosed
	}
	p.g.beginTurn()
	p.adopting = a.nc
	attached := p.g.adopt(a.buffered, a.open)
	p.adopting = nil
	p.end()
	if !attached {
		_ = a.nc.Close()
	}
	return nil
}

func (p *portable) close() {
	p.begin()
	p.closed = true
	if p.timerAt != 0 && p.timer.Stop() {
		p.timerAt = 0
		p.goroutines.Done()
	}
	p.g.abortAll()
	p.end()
	p.g.end()
	p.goroutines.Wait()
}

// admit has nothing to do: adopt takes a turn of its own.
func (p *portable) admit() {}

func (p *portable) attach(c *Conn) {
	pc := &portConn{p: p, c: c, nc: p.adopting, using: 1}
	pc.mayRead.L = &p.mu
	pc.startWrite = pc.write
	c.port = pc
	p.goroutines.Add(1)
	go pc.read()
}

func (p *portable) settle(c *Conn) {
	pc := c.port
	pc.mayRead.Signal()
	if c.out == nil || c.out.busy {
		return
	}
	if c.out.pending() == 0 {
		c.flushed()
		return
	}
	c.out.busy = true
	c.flags |= flagFull
	c.out.since = p.g.now
	if c.state == stateOpen {
		c.arm(p.g.now + p.g.cfg.writeTimeout)
	}
	pc.using++
	p.goroutines.Add(1)
	go pc.startWrite()
}

func (p *portable) shutdownWrite(c *Conn) {
	if _, ok := c.port.nc.(closeWriter); ok {
		c.port.shut = true // by the writer: TLS sends an alert for it and may block
	} else {
		c.die() // nothing that the peer can still say would be understood
	}
}

// closeWriter is what connections are that can be shut on one side.
type closeWriter interface{ CloseWrite() error }

func (p *portable) closeConn(c *Conn) {
	pc := c.port
	pc.reset = c.flags&flagReset != 0
	pc.mayRead.Signal()
	pc.using++
	pc.closing = true
	p.goroutines.Add(1)
	go pc.close()
}

// portConn is what a portable connection has beyond its Conn. mu of the group
// guards all of it but nc and the buffer, which is the reader's.
type portConn struct {
	p          *portable
	c          *Conn
	nc         net.Conn
	startWrite func()    // write, as a value made once
	mayRead    sync.Cond // signalled when the reader may go on, or should end
	using      int       // goroutines of this connection
	closing    bool      // the last of them releases c
	reset      bool      // close with a reset
	shut       bool      // shut the writing side once all is written
	ended      bool      // the peer has shut its writing side
	buf        [smallBuffer]byte
}

// read is the goroutine that reads, until the connection is dead or the peer
// has nothing more to say.
func (pc *portConn) read() {
	p, c := pc.p, pc.c
	defer p.goroutines.Done()
	buf := pc.buf[:]
	for {
		n, err := pc.nc.Read(buf)
		p.begin()
		if n > 0 {
			if c.state != stateDead {
				c.receive(buf[:n])
			}
		} else if err != nil {
			pc.inputEnded(err)
		}
		p.finish()
		buf = pc.nextBuffer(buf, n)
		for pc.stalled() {
			pc.mayRead.Wait()
		}
		if c.state == stateDead || pc.ended {
			pc.leave()
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// inputEnded acts on the end of what the peer sends. A close frame that is
// just being written is still written, as the peer may only have shut its
// side.
func (pc *portConn) inputEnded(err error) {
	c := pc.c
	pc.ended = true
	lastWords := c.state == stateReplying || c.state == stateFailing
	if lastWords && c.out.busy && errors.Is(err, io.EOF) {
		return
	}
	c.lost(err)
}

// stalled reports whether the reader has to wait for Resume.
func (pc *portConn) stalled() bool {
	c := pc.c
	return c.state == stateOpen && c.flags&flagPaused != 0 && c.in != nil && len(c.in.held) >= mostHeld
}

// nextBuffer returns what to read into after n bytes were read into buf: big
// buffers are for peers that send much, and not for waiting.
func (pc *portConn) nextBuffer(buf []byte, n int) []byte {
	p := pc.p
	big := len(buf) > smallBuffer
	switch {
	case n == len(buf) && big:
		return buf
	case big:
		if len(p.buffers) < keepBuffers {
			p.buffers = append(p.buffers, buf)
		}
	case n == len(buf):
		if last := len(p.buffers) - 1; last >= 0 {
			buf = p.buffers[last]
			p.buffers = p.buffers[:last]
			return buf
		}
		return make([]byte, bigBuffer)
	}
	return pc.buf[:]
}

// write is the goroutine that writes, while anything is queued.
func (pc *portConn) write() {
	p, c := pc.p, pc.c
	defer p.goroutines.Done()
	p.mu.Lock()
	for c.state != stateDead && c.Queued() > 0 {
		out := c.out
		from := out.off
		out.off = min(len(out.buf), from+chunk)
		b := out.buf[from:out.off]
		p.mu.Unlock()
		_, err := pc.nc.Write(b)
		p.mu.Lock()
		pc.wrote(err)
	}
	if c.out != nil {
		c.out.busy = false
	}
	if pc.shut {
		p.mu.Unlock()
		_ = pc.nc.(closeWriter).CloseWrite()
		p.mu.Lock()
	}
	pc.leave()
	p.mu.Unlock()
}

// wrote acts on the outcome of writing a chunk.
func (pc *portConn) wrote(err error) {
	p, c := pc.p, pc.c
	switch {
	case c.state == stateDead:
	case c.state == stateOpen && err == nil: // nothing of this concerns others: no turn
		p.g.tick()
		c.progressed()
		pc.flushed()
	default:
		p.g.beginTurn()
		if err != nil {
			c.lost(err)
		} else {
			c.progressed()
			pc.flushed()
		}
		p.finish()
	}
}

// flushed tells the connection if all that was queued is written.
func (pc *portConn) flushed() {
	c := pc.c
	if c.out.pending() > 0 {
		return
	}
	c.out.busy = false
	c.flushed()
	if pc.ended {
		c.lost(io.EOF)
	}
}

// close is the goroutine that closes nc, which may block where there is more
// to it than a socket.
func (pc *portConn) close() {
	p := pc.p
	defer p.goroutines.Done()
	if pc.reset {
		resetUnder(pc.nc)
	}
	_ = pc.nc.Close()
	p.mu.Lock()
	pc.leave()
	p.mu.Unlock()
}

// resetUnder resets the TCP connection that nc is or, as TLS does, says it is
// made on. Where there is none, Close has to do.
func resetUnder(nc net.Conn) {
	for {
		layer, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = layer.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
}

// leave is called, with mu held, by each goroutine of the connection as its
// last act.
func (pc *portConn) leave() {
	pc.using--
	if pc.closing && pc.using == 0 {
		pc.p.g.beginTurn()
		pc.p.g.release(pc.c)
		pc.p.finish()
	}
}
