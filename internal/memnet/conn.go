// Package memnet is a network in memory: buffered connections that behave as
// TCP does, also in a bubble of testing/synctest, where a goroutine that waits
// on one counts as blocked. net.Pipe has no buffer, so that two sides that
// write first wait for each other for ever.
package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// bufferSize is how many bytes one direction holds before writes block: about
// what the kernel's socket buffers hold.
const bufferSize = 64 << 10

// Conn is one side of a connection. Its methods may be called concurrently.
type Conn struct {
	in, out *stream
	local   Addr
	remote  Addr
}

// Pipe returns the two sides of a new connection.
func Pipe() (a, b *Conn) {
	ab, ba := newStream(), newStream()
	return &Conn{in: ba, out: ab, local: "a", remote: "b"}, &Conn{in: ab, out: ba, local: "b", remote: "a"}
}

// Addr is the name of a side.
type Addr string

// Network implements net.Addr.
func (Addr) Network() string { return "memory" }

// String implements net.Addr.
func (a Addr) String() string { return string(a) }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close implements net.Conn: the other side reads what was written, then
// io.EOF, and its writes fail.
func (c *Conn) Close() error {
	c.out.finish(io.EOF)
	c.in.fail(net.ErrClosed, syscall.EPIPE)
	return nil
}

// Reset breaks the connection: what is under way is lost, and both sides see
// an error.
func (c *Conn) Reset() {
	c.out.fail(syscall.ECONNRESET, syscall.ECONNRESET)
	c.in.fail(syscall.ECONNRESET, syscall.ECONNRESET)
}

// Stall stops this side from reading, or lets it read again: what the other
// side writes fills its buffer, as with a peer that is slow.
func (c *Conn) Stall(stalled bool) { c.in.stall(stalled) }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.in.readDeadline.set(c.in, t)
	c.out.writeDeadline.set(c.out, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.readDeadline.set(c.in, t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.writeDeadline.set(c.out, t)
	return nil
}

// stream is one direction.
type stream struct {
	mu      sync.Mutex // guards the following
	changed sync.Cond
	buf     []byte
	stalled bool

	readErr, writeErr error // what comes after buf; why nothing can be written

	readDeadline, writeDeadline deadline
}

func newStream() *stream {
	s := &stream{}
	s.changed.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readDeadline.passed:
			return 0, os.ErrDeadlineExceeded
		case len(s.buf) > 0 && !s.stalled:
			n := copy(p, s.buf)
			s.buf = append(s.buf[:0], s.buf[n:]...)
			s.changed.Broadcast()
			return n, nil
		case s.readErr != nil && !s.stalled:
			return 0, s.readErr
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 {
		room := bufferSize - len(s.buf)
		switch {
		case s.writeErr != nil:
			return n, s.writeErr
		case s.writeDeadline.passed:
			return n, os.ErrDeadlineExceeded
		case room > 0:
			k := min(room, len(p))
			s.buf = append(s.buf, p[:k]...)
			n, p = n+k, p[k:]
			s.changed.Broadcast()
		default:
			s.changed.Wait()
		}
	}
	return n, nil
}

// finish ends the stream after what it holds.
func (s *stream) finish(readErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr == nil {
		s.readErr = readErr
	}
	if s.writeErr == nil {
		s.writeErr = net.ErrClosed
	}
	s.end()
}

// fail ends the stream and drops what it holds.
func (s *stream) fail(readErr, writeErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf, s.stalled = nil, false
	s.readErr = readErr
	if s.writeErr == nil {
		s.writeErr = writeErr
	}
	s.end()
}

// end wakes everybody up and stops the timers.
func (s *stream) end() {
	s.readDeadline.stop()
	s.writeDeadline.stop()
	s.changed.Broadcast()
}

func (s *stream) stall(stalled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = stalled
	s.changed.Broadcast()
}

// deadline is one of a stream's two; its stream's mu guards it.
type deadline struct {
	timer  *time.Timer
	passed bool
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) set(s *stream, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.stop()
	d.passed = !t.IsZero() && !t.After(time.Now())
	s.changed.Broadcast()
	if t.IsZero() || d.passed {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.timer == timer { // not set anew meanwhile
			d.passed = true
			s.changed.Broadcast()
		}
	})
	d.timer = timer
}
