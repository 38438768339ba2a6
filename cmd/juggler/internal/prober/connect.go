package prober

import (
	"fmt"
	"time"
)

// accept answers the next handshake.
func (s *session) accept(a *Accept) *fault {
	c, f := s.caller()
	if f != nil {
		return f
	}
	if a.Status > 0 {
		s.log.add("handshake: refused with %d", a.Status)
		c.refuse(a.Status)
		return nil
	}
	protocol := s.protocol
	if a.NoProtocol {
		protocol = ""
	}
	p := s.upgrade(c, protocol)
	p.mute = a.Mute
	if !a.NoProtocol {
		p.send(hello(p.number, a.Hello), 1)
	}
	return nil
}

// caller waits for the next handshake.
func (s *session) caller() (*caller, *fault) {
	if f := s.until("the client connects", func() bool { return len(s.callers) > 0 }); f != nil {
		return nil, f
	}
	c := s.callers[0]
	s.callers = s.callers[1:]
	if what := c.check(); what != "" {
		return c, &fault{what: what, rule: "The subprotocol is negotiated in the WebSocket handshake"}
	}
	return c, nil
}

func (s *session) upgrade(c *caller, protocol string) *peer {
	p := &peer{number: len(s.peers) + 1, conn: c.conn, referee: newReferee(), log: s.log}
	s.peers = append(s.peers, p)
	s.log.add("%d handshake: accepted with %q", p.number, protocol)
	c.accept(protocol) //nolint:errcheck // who reads sees that the connection has ended
	s.readers.Go(func() { s.readPeer(p, c) })
	return p
}

// storm closes each connection for a while, and counts them.
func (s *session) storm(storm *Storm) *fault {
	if f := s.until("the client connects", func() bool { return len(s.callers) > 0 }); f != nil {
		return f
	}
	d := time.Duration(storm.For) * time.Millisecond
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); {
		if f := s.wait(time.Until(end), func() bool { return len(s.callers) > 0 }); f != nil {
			return f
		}
		if len(s.callers) == 0 {
			break
		}
		c, f := s.caller()
		if f != nil {
			return f
		}
		s.upgrade(c, s.protocol).close(storm.Close)
		if n++; n > storm.Most {
			return &fault{what: fmt.Sprintf("the client connected %d times in %v, though each time it was closed with %d", n, d, storm.Close)}
		}
	}
	return nil
}

// quiet sees to it that nobody connects for a while, and nothing is asked for.
func (s *session) quiet(d time.Duration) *fault {
	if f := s.wait(d, func() bool { return len(s.callers) > 0 }); f != nil {
		return f
	}
	if len(s.callers) > 0 {
		return &fault{what: "the client connected again"}
	}
	return s.sentMore()
}
