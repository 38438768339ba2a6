package prober

import (
	"errors"
	"fmt"
	"time"

	"github.com/gobwas/ws"
)

// post hands something to the session, and reports whether that goes on.
func (s *session) post(event func() *fault) bool {
	select {
	case s.inbox <- event:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// listen hands over who connects, until the listener is closed.
func (s *session) listen() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.readers.Go(func() {
			c, err := receive(conn)
			if err != nil || c == nil || !s.post(func() *fault { s.callers = append(s.callers, c); return nil }) {
				conn.Close() //nolint:errcheck // it is over
			}
		})
	}
}

// readPeer hands over what a client sends, until its connection ends.
func (s *session) readPeer(p *peer, c *caller) {
	for {
		header, payload, err := readFrame(c.buffer)
		if !s.post(func() *fault { return s.fromPeer(p, header, payload, err) }) || err != nil {
			return
		}
	}
}

func (s *session) fromPeer(p *peer, header ws.Header, payload []byte, err error) *fault {
	var f *fault
	switch {
	case errors.As(err, &f):
	case err != nil:
		p.over, p.closed = true, true
		p.conn.Close() //nolint:errcheck // it is over
		s.log.client(p.number, "(the connection has ended)")
	default:
		f = p.receive(header, payload)
	}
	return f
}

// readProgram hands over what the program tells, until it ends.
func (s *session) readProgram() {
	err := s.program.read(func(text []byte) {
		s.post(func() *fault {
			s.log.told(string(text))
			return s.program.told(text)
		})
	})
	s.post(func() *fault {
		s.program.over, s.program.result = true, err
		if s.ending {
			return nil
		}
		how := "without an error"
		if err != nil {
			how = err.Error()
		}
		return &fault{what: "the program ended before its standard input did: " + how, rule: ownRule}
	})
}

// until waits until something has happened. It is the client's fault, or the program's, if it
// does not.
func (s *session) until(what string, done func() bool) *fault {
	if f := s.wait(s.patience, done); f != nil || done() {
		return f
	}
	return &fault{what: fmt.Sprintf("waited %v in vain: %s", s.patience, what)}
}

// wait waits until something has happened or the time is over, and returns what went wrong
// meanwhile.
func (s *session) wait(d time.Duration, done func() bool) *fault {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for !done() {
		select {
		case event := <-s.inbox:
			if f := event(); f != nil {
				return f
			}
		case <-timer.C:
			return nil
		case <-s.ctx.Done():
			return &fault{what: "interrupted"}
		}
	}
	return nil
}
