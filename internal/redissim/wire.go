package redissim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A wire is one direction of a connection. What is written arrives in order,
// each piece after its delay; writing never waits.
type wire struct {
	mu       sync.Mutex // guards the following
	changed  sync.Cond
	pieces   []piece
	held     bool // nothing arrives until it is released
	swallows bool // what is written from now on never arrives

	readErr, writeErr error // what comes after pieces; why nothing can be written

	deadline time.Time
	timer    *time.Timer // of the deadline, or of the piece that is next
}

type piece struct {
	due   time.Time
	bytes []byte
}

func newWire() *wire {
	w := &wire{}
	w.changed.L = &w.mu
	return w
}

func (w *wire) read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		now := time.Now()
		next := w.deadline
		switch {
		case !w.deadline.IsZero() && !now.Before(w.deadline):
			return 0, os.ErrDeadlineExceeded
		case w.held:
		case len(w.pieces) > 0 && !now.Before(w.pieces[0].due):
			n := copy(p, w.pieces[0].bytes)
			if w.pieces[0].bytes = w.pieces[0].bytes[n:]; len(w.pieces[0].bytes) == 0 {
				w.pieces = w.pieces[1:]
			}
			return n, nil
		case len(w.pieces) > 0:
			if due := w.pieces[0].due; next.IsZero() || due.Before(next) {
				next = due
			}
		case w.readErr != nil:
			return 0, w.readErr
		}
		w.wait(next)
	}
}

// wait waits for a change, or the instant next unless that is zero. mu is held.
func (w *wire) wait(next time.Time) {
	if !next.IsZero() {
		if w.timer == nil {
			w.timer = time.AfterFunc(time.Until(next), w.wakeUp)
		} else {
			w.timer.Reset(time.Until(next))
		}
		defer w.timer.Stop()
	}
	w.changed.Wait()
}

// wakeUp is called by the timer: with mu, lest it come before the waiting.
func (w *wire) wakeUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed.Broadcast()
}

func (w *wire) write(p []byte, delay time.Duration) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.writeErr != nil:
		return 0, w.writeErr
	case w.swallows:
		return len(p), nil
	}
	due := time.Now().Add(delay)
	if n := len(w.pieces); n > 0 && due.Before(w.pieces[n-1].due) {
		due = w.pieces[n-1].due
	}
	w.pieces = append(w.pieces, piece{due, append([]byte(nil), p...)})
	w.changed.Broadcast()
	return len(p), nil
}

// end ends the wire. With drop, what has not arrived is lost.
func (w *wire) end(readErr, writeErr error, drop bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if drop {
		w.pieces, w.held = nil, false
		w.readErr = readErr
	} else if w.readErr == nil && !w.swallows {
		w.readErr = readErr
	}
	if w.writeErr == nil {
		w.writeErr = writeErr
	}
	w.changed.Broadcast()
}

func (w *wire) hold(held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = held
	w.changed.Broadcast()
}

func (w *wire) swallow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.swallows, w.pieces = true, nil
}

func (w *wire) setDeadline(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	w.changed.Broadcast()
}

// A conn is one side of a connection.
type conn struct {
	in, out *wire
	delay   func() time.Duration // of what this side writes
	peer    Addr
}

// Addr is the name of a server or of a process.
type Addr string

// Network implements net.Addr.
func (Addr) Network() string { return "memory" }

// String implements net.Addr.
func (a Addr) String() string { return string(a) }

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p, c.delay()) }

// Close is noticed by the other side, unless the network swallows that.
func (c *conn) Close() error {
	c.out.end(io.EOF, net.ErrClosed, false)
	c.in.end(net.ErrClosed, syscall.EPIPE, true)
	return nil
}

func (c *conn) reset() {
	c.out.end(syscall.ECONNRESET, syscall.ECONNRESET, true)
	c.in.end(syscall.ECONNRESET, syscall.ECONNRESET, true)
}

func (c *conn) LocalAddr() net.Addr  { return Addr("here") }
func (c *conn) RemoteAddr() net.Addr { return c.peer }

func (c *conn) SetDeadline(t time.Time) error     { return c.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(time.Time) error  { return nil } // writing never waits
func (c *conn) SetReadDeadline(t time.Time) error { c.in.setDeadline(t); return nil }
