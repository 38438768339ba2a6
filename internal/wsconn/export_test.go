package wsconn

import (
	"errors"

	"github.com/juggler-go/juggler/internal/netpoll"
)

// HandleHangUp has the loop of c handle an event that says that the peer hung
// up: one of c, or a stale one of the connection that had c's slot before. It
// must be called on a turn.
func HandleHangUp(c *Conn, stale bool) {
	e := netpoll.Event{Token: token(c), Readable: true, HangUp: true}
	if stale {
		e.Token -= 1 << 32
	}
	c.g.transport.(*loop).handle(&e)
}

// ErrAborted is why a connection ends that a test aborts.
var ErrAborted = errors.New("wsconn: aborted")

// Abort ends c as Pool.Close does all connections.
func (c *Conn) Abort() { c.abort(ErrAborted) }

// Kept returns how many bytes c keeps in its buffers.
func (c *Conn) Kept() (n int) {
	if c.in != nil {
		n += c.in.size()
	}
	if c.out != nil {
		n += c.out.size()
	}
	return n
}

// Ending reports whether c is open no more.
func (c *Conn) Ending() bool { return c.state != stateOpen }

const TurnBytes = turnBytes

// Looks reports whether the loop of g looks after what it lends.
func Looks(g *Group) bool { return g.transport.(*loop).loan.looking.Load() }

// Recorder is one connection without a socket: tests feed it what a peer
// sends, in pieces of their choosing, and read what it answers.
type Recorder struct {
	Out  []byte // everything written
	Dead bool   // Closed was called

	g    *Group
	conn Conn
}

// NewRecorder returns an open connection with the Handler that cfg makes.
func NewRecorder(cfg Config) *Recorder {
	r := new(Recorder)
	r.g = newGroup(&NewPool(cfg).cfg, r)
	r.turn(func() { r.g.adopt(nil, func(g *Group) { g.Attach(&r.conn, nil) }) })
	return r
}

// Feed is a turn in which b was read. b may be modified.
func (r *Recorder) Feed(b []byte) {
	if r.Dead {
		return
	}
	r.g.beginTurn()
	r.conn.receive(b)
	r.g.finishTurn(false)
	r.g.endTurn()
}

func (r *Recorder) turn(f func()) {
	r.g.beginTurn()
	f()
	r.g.finishTurn(false)
	r.g.endTurn()
}

// Deflate has the connection agree on compression.
func (r *Recorder) Deflate(window uint8) { r.conn.Deflate(window) }

// DeflaterSize returns how many bytes the buffers of the group's compression have.
func (r *Recorder) DeflaterSize() int { return r.g.deflater.Size() }

// Idle reports whether the connection owns no buffer.
func (r *Recorder) Idle() bool { return r.conn.in == nil && r.conn.out == nil }

func (r *Recorder) settle(c *Conn) {
	if c.out != nil {
		r.Out = append(r.Out, c.out.buf[c.out.off:]...)
		c.out.off = len(c.out.buf)
		c.flushed()
	}
}

func (r *Recorder) closeConn(c *Conn) {
	r.g.release(c)
	r.Dead = true
}

func (r *Recorder) adopt(adoption) error { return nil }
func (r *Recorder) close()               {}
func (r *Recorder) wake()                {}
func (r *Recorder) admit()               {}
func (r *Recorder) attach(*Conn)         {}
func (r *Recorder) shutdownWrite(*Conn)  {}
