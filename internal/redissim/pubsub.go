package redissim

import (
	"slices"
	"strings"
	"time"

	"github.com/juggler-go/juggler/internal/glob"
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
			case t.kind == 'P' && kind == 0 && glob.Compile(t.name).Match(channel):
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
