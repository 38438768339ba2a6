package wsconn

import (
	"cmp"
	"slices"
)

// What a pool keeps for peers that read slowly is bounded as a whole (Config.MaxBacklog).
// Counted are the buffers of connections whose sockets did not take all at once. As an
// event for many is in the buffers of those who keep up, too, for a moment, a connection
// counts as slow only after some time.
const slowAfter = 100 // ms

// account notes what the buffer of an output takes now.
func (g *Group) account(out *output, bytes int) {
	n := int64(bytes - out.counted)
	if n == 0 {
		return
	}
	if out.counted == 0 {
		out.waits = g.now
	}
	out.counted = bytes
	g.backlog.Add(n)
	g.cfg.backlog.Add(n)
	g.grown = g.grown || n > 0
}

// giveBack takes the output from c.
func (g *Group) giveBack(c *Conn) {
	g.account(c.out, 0)
	g.free.putOutput(c.out)
	c.out = nil
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
	for _, c := range g.slowest() {
		if left <= most-most/8 {
			return any
		}
		left -= int64(c.out.counted)
		c.slowConsumer()
		any = true
	}
	g.relieveAt = g.now + slowAfter
	return any
}

// slowest returns the open connections that are slow, those for which most is kept first.
func (g *Group) slowest() (slow []*Conn) {
	for _, c := range g.conns {
		if c != nil && c.state == stateOpen && c.out != nil && c.out.counted > 0 && c.out.waits <= g.now-slowAfter {
			slow = append(slow, c)
		}
	}
	slices.SortFunc(slow, func(a, b *Conn) int { return cmp.Compare(b.out.counted, a.out.counted) })
	return slow
}

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
