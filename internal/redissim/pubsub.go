package redissim

import (
	"slices"
	"strings"
	"time"
)

// A topic is what a session subscribed to.
type topic struct {
	kind byte // 0, or P or S as in the names of the commands
	name string
}

func (s *session) subscribed() bool { return len(s.topics) > 0 }

func kindOf(name string) byte {
	if k := name[0]; (k == 'P' || k == 'S') && name[1] != 'U' {
		return k
	}
	return 0
}

// count returns how many topics the replies about one of that kind name.
func (s *session) count(kind byte) (n int) {
	for t := range s.topics {
		if (t.kind == 'S') == (kind == 'S') {
			n++
		}
	}
	return n
}

func subscribeTo(c *call) any {
	s, kind := c.session, kindOf(c.name)
	if s.topics == nil {
		s.topics = map[topic]bool{}
	}
	for _, name := range c.args {
		if t := (topic{kind, name}); !s.topics[t] {
			s.topics[t] = true
			s.order = append(s.order, t)
		}
		s.reply([]any{strings.ToLower(c.name), name, s.count(kind)})
	}
	return silence{}
}

func unsubscribe(c *call) any {
	s := c.session
	kind := byte(0)
	if c.name[0] != 'U' {
		kind = c.name[0]
	}
	names := c.args
	if len(names) == 0 {
		for _, t := range s.order {
			if t.kind == kind {
				names = append(names, t.name)
			}
		}
	}
	for _, name := range names {
		s.leave(topic{kind, name})
	}
	if len(names) == 0 {
		s.reply([]any{strings.ToLower(c.name), nil, s.count(kind)})
	}
	return silence{}
}

func (s *session) leave(t topic) {
	delete(s.topics, t)
	s.order = slices.DeleteFunc(s.order, func(o topic) bool { return o == t })
	prefix := ""
	if t.kind != 0 {
		prefix = strings.ToLower(string(t.kind))
	}
	s.reply([]any{prefix + "unsubscribe", t.name, s.count(t.kind)})
}

func publish(c *call) any {
	if c.name == "SPUBLISH" {
		return c.server.deliver('S', c.args[0], c.args[1])
	}
	for _, peer := range c.server.peers() {
		c.server.bus(peer).send(c.args[0], c.args[1])
	}
	return c.server.deliver(0, c.args[0], c.args[1])
}

// deliver hands a message to those who subscribed here. world.mu is held.
func (s *Server) deliver(kind byte, channel, payload string) (receivers int) {
	for _, session := range slices.Clone(s.sessions) {
		for _, t := range session.order {
			switch match := t.name == channel; {
			case t.kind == kind && match && kind == 'S':
				session.reply([]any{"smessage", channel, payload})
			case t.kind == kind && match:
				session.reply([]any{"message", channel, payload})
			case t.kind == 'P' && kind == 0 && glob(t.name, channel):
				session.reply([]any{"pmessage", t.name, channel, payload})
			default:
				continue
			}
			receivers++
		}
		session.flush()
	}
	return receivers
}

// glob reports whether a name matches a pattern as Redis has it. Of several stars
// only the last one has to be tried again with more.
func glob(pattern, name string) bool {
	p, n := pattern, name
	star, rest := "", "" // behind the last star; the name from where it ends so far
	for starred := false; ; {
		switch {
		case p != "" && p[0] == '*':
			p = p[1:]
			star, rest, starred = p, n, true
			continue
		case p == "" && n == "":
			return true
		case p != "" && n != "":
			if match, behind := one(p, n[0]); match {
				p, n = behind, n[1:]
				continue
			}
		}
		if !starred || rest == "" {
			return false
		}
		rest = rest[1:]
		p, n = star, rest
	}
}

// one reports whether a byte matches the first element of a pattern, and returns
// what is behind that.
func one(p string, c byte) (match bool, behind string) {
	switch {
	case p[0] == '?':
		return true, p[1:]
	case p[0] == '[':
		return class(p[1:], c)
	case p[0] == '\\' && len(p) > 1:
		p = p[1:]
	}
	return p[0] == c, p[1:]
}

// class reports whether c is in a class, whose bracket is before p, and returns
// what is behind it.
func class(p string, c byte) (in bool, rest string) {
	p, not := strings.CutPrefix(p, "^")
	for len(p) > 0 && p[0] != ']' {
		switch {
		case p[0] == '\\' && len(p) > 1:
			in = in || p[1] == c
			p = p[2:]
		case len(p) > 2 && p[1] == '-':
			in = in || min(p[0], p[2]) <= c && c <= max(p[0], p[2])
			p = p[3:]
		default:
			in = in || p[0] == c
			p = p[1:]
		}
	}
	return in != not, p[min(len(p), 1):]
}

// A bus carries what is published from one server of a cluster to another.
type bus struct {
	from, to *Server
	queue    []busMessage
}

type busMessage struct {
	due              time.Time
	channel, payload string
}

// busDelay is how long a message is on its way, busPatience how long the way may be
// broken until what is on it is lost.
const (
	busDelay    = time.Millisecond
	busPatience = 4 * time.Second
)

// cut returns for how long the server has been isolated.
func (s *Server) cut() time.Duration {
	if !s.isolated {
		return 0
	}
	return time.Since(s.since)
}

func (s *Server) bus(to *Server) *bus {
	b := s.buses[to]
	if b == nil {
		b = &bus{from: s, to: to}
		s.buses[to] = b
	}
	return b
}

func (b *bus) send(channel, payload string) {
	b.queue = append(b.queue, busMessage{time.Now().Add(busDelay), channel, payload})
	time.AfterFunc(busDelay, b.arrive)
}

// arrive delivers what is due, in order. A server that stands still gets it
// when it goes on, and so does one that was isolated for a moment.
func (b *bus) arrive() {
	defer b.to.lock()()
	if cut := max(b.from.cut(), b.to.cut()); b.to.paused || cut > 0 && cut < busPatience {
		time.AfterFunc(100*time.Millisecond, b.arrive)
		return
	}
	for len(b.queue) > 0 && !b.queue[0].due.After(time.Now()) {
		m := b.queue[0]
		b.queue = b.queue[1:]
		if b.from.reaches(b.to) {
			b.to.deliver(0, m.channel, m.payload)
		}
	}
}
