package client

import (
	"bufio"
	"io"
	"sync"
	"sync/atomic"
)

// socket is the byte stream below the WebSocket. System calls are what costs,
// so it reads ahead, and it can hold writes back to pass many on as one.
//
// One goroutine reads. Writes may come from any; those of control frames by
// the WebSocket library are held back and passed on like the others.
type socket struct {
	rwc   io.ReadWriteCloser
	ahead *bufio.Reader
	heard atomic.Bool // something was read; cleared by the watcher

	mu   sync.Mutex // guards the following, and the order of writes
	held bool
	buf  []byte
	err  error // of an earlier write
}

const (
	readAhead = 16 << 10
	maxHeld   = 64 << 10 // pass on what is held back when it is more
)

func newSocket(rwc io.ReadWriteCloser) *socket {
	s := &socket{rwc: rwc}
	s.ahead = bufio.NewReaderSize(readFunc(s.read), readAhead)
	return s
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func (s *socket) read(p []byte) (int, error) {
	n, err := s.rwc.Read(p)
	if n > 0 {
		s.heard.Store(true)
	}
	return n, err
}

// Read implements io.Reader.
func (s *socket) Read(p []byte) (int, error) { return s.ahead.Read(p) }

// Write implements io.Writer.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if !s.held {
		return s.rwc.Write(p)
	}
	s.buf = append(s.buf, p...)
	if len(s.buf) >= maxHeld {
		s.pass()
	}
	return len(p), s.err
}

// hold keeps writes back until release.
func (s *socket) hold() {
	s.mu.Lock()
	s.held = true
	s.mu.Unlock()
}

// release passes on what was held back, in one write.
func (s *socket) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
	s.pass()
	return s.err
}

func (s *socket) pass() {
	if len(s.buf) > 0 && s.err == nil {
		_, s.err = s.rwc.Write(s.buf)
	}
	s.buf = s.buf[:0]
}

// Close closes the stream at once; whoever reads or writes gets an error.
func (s *socket) Close() error { return s.rwc.Close() }
