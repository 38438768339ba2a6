package wsconn

import (
	"cmp"
	"slices"

	"github.com/juggler-go/juggler/frame"
)

// What a pool keeps for its connections is bounded as a whole (Config.MaxBacklog). Counted
// are the buffers of those whose sockets did not take all at once, the parts of messages
// that have arrived, and what the owner keeps. As an event for many is in the buffers of
// those who keep up, too, for a moment, a buffer counts as slow only after some time.
const slowAfter = 100 // ms

// kept is what a buffer of a connection takes of the backlog.
type kept struct {
	bytes int
	since int64 // in ms, when bytes is not 0
}

// account notes what a buffer takes now.
func (g *Group) account(k *kept, bytes int) {
	n := bytes - k.bytes
	if n == 0 {
		return
	}
	if k.bytes == 0 {
		k.since = g.now
	}
	k.bytes = bytes
	g.Keep(n)
}

// Keep counts n bytes more, or less, that the owner keeps for a connection of the group:
// see [Handler.Kept]. It is called on the group's turn.
func (g *Group) Keep(n int) {
	g.backlog.Add(int64(n))
	g.cfg.backlog.Add(int64(n))
	g.grown = g.grown || n > 0
}

// giveBack takes the output from c.
func (g *Group) giveBack(c *Conn) {
	g.account(&c.out.kept, 0)
	g.free.putOutput(c.out)
	c.out = nil
}

// giveBackInput takes the input from c.
func (g *Group) giveBackInput(c *Conn) {
	g.account(&c.in.kept, 0)
	g.free.putInput(c.in)
	c.in = nil
}

// relieve closes connections for which most is kept, if more is kept in the pool than may
// be and most of it here; the group with most is told otherwise. It goes an eighth below
// the bound, so that it is not called for each message. It reports whether it closed any.
func (g *Group) relieve() (any bool) {
	grown, most := g.grown, g.cfg.MaxBacklog
	g.grown, g.relieveAt = false, 0
	left := g.cfg.backlog.Load()
	if most == 0 || left <= most {
		return false
	}
	if fullest := g.cfg.fullest(); fullest != g {
		if grown {
			fullest.Wake()
		}
		return false
	}
	for _, s := range g.slowest() {
		if left <= most-most/8 {
			return any
		}
		left -= int64(s.out + s.in)
		s.conn.relieve(s.out, s.in)
		any = true
	}
	g.relieveAt = g.now + slowAfter
	return any
}

// slow is a connection with what waits for its peer to read, and what came from it and
// waits for the rest of a message or for the owner.
type slow struct {
	conn    *Conn
	out, in int
}

// slowest returns the open connections that are slow, those for which most is kept first.
func (g *Group) slowest() (all []slow) {
	for _, c := range g.conns {
		if c == nil || c.state != stateOpen {
			continue
		}
		s := slow{conn: c, in: g.handler.Kept(c)}
		if c.out != nil && c.out.kept.since <= g.now-slowAfter {
			s.out = c.out.kept.bytes
		}
		if c.in != nil && c.in.kept.since <= g.now-slowAfter {
			s.in += c.in.kept.bytes
		}
		if s.out+s.in > 0 {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b slow) int { return cmp.Compare(b.out+b.in, a.out+a.in) })
	return all
}

// relieve closes c, for which more is kept than for others.
func (c *Conn) relieve(out, in int) {
	if out >= in {
		c.slowConsumer()
	} else {
		c.fail(frame.CloseOverloaded, "too much of what this client has sent waits", ErrOverloaded)
	}
	if c.in != nil { // what has arrived of a message is passed over from now on
		c.in.msg = nil
		c.g.account(&c.in.kept, cap(c.in.held))
	}
}

// Backlog returns how many bytes are kept for connections: see Config.MaxBacklog.
func (p *Pool) Backlog() int64 { return p.cfg.backlog.Load() }

// fullest returns the group that keeps most.
func (p *Pool) fullest() (fullest *Group) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range slices.Concat(p.loops, p.portable) {
		if g != nil && (fullest == nil || g.backlog.Load() > fullest.backlog.Load()) {
			fullest = g
		}
	}
	return fullest
}
