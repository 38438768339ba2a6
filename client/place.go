package client

import "github.com/juggler-go/juggler/frame"

// place is where a topic stands among the events of its channel, if the server keeps them.
// With it another connection goes on where the one before was lost. All of it is guarded
// by topics.mu.
//
// A position says that the subscriptions have everything up to there. So it is taken from
// what they get, and from the answer to a SUB which says where they begin; anything else,
// such as an event of a pattern, would leave out what they have not got yet.
type place struct {
	pos   frame.Position // of what came last; zero: not known
	again bool           // on the new connection the events up to pos come again

	// How many of the newest events are wanted, and where the channel stood when the server
	// said it would send them: both until something comes.
	last int
	top  frame.Position

	// What the latest SUB asked for: the events after since or, if that is zero, the newest.
	asked bool
	since frame.Position
}

// leave forgets all but the SUB that is under way.
func (p *place) leave() { *p = place{asked: p.asked} }

// ask adds to a SUB what is wanted of the events that are kept: nothing, if the server
// delivers them already.
func (t *topic) ask(f *frame.Frame, proto frame.Protocol) {
	if t.isLive() {
		t.place.asked = false
		return
	}
	t.place.ask(f, proto)
}

func (p *place) ask(f *frame.Frame, proto frame.Protocol) {
	p.asked, p.since = proto == frame.Juggler1 && (p.last > 0 || !p.pos.IsZero()), p.pos
	switch {
	case !p.asked:
	case p.pos.IsZero():
		f.Last = p.last
	default:
		f.Since, f.HasSince = p.pos, true
	}
}

// begin takes the ACK of the SUB. It reports whether events may have been missed since the
// last one came.
func (p *place) begin(f *frame.Frame) (missed bool) {
	p.again = p.asked && p.pos != p.since && !p.pos.IsZero() // brought by the old connection since the SUB
	switch {
	case p.again && p.since.IsZero(), p.asked && f.Recovery == frame.Recovered:
		return false // or known will tell
	case p.asked && p.since.IsZero():
		missed = p.top.IsZero() || p.top != f.Pos
		p.top = f.Pos
		return missed
	}
	p.jump(f.Pos)
	return true
}

// jump says that what comes next follows pos.
func (p *place) jump(pos frame.Position) {
	p.pos, p.again, p.last, p.top = pos, false, 0, frame.Position{}
}

// known reports whether the old connection had brought f. If that cannot be told any more,
// events may have been missed before f.
func (p *place) known(f *frame.Frame) (known, missed bool) {
	switch {
	case !p.again:
		return false, false
	case f.Type == frame.Evnt && f.Pos == p.pos:
		p.again = false
		return true, false
	case f.Type == frame.Evnt && !f.Pos.IsZero() && f.Pos.At < p.pos.At:
		return true, false
	}
	p.again = false
	return false, f.Type == frame.Evnt
}

// take takes the position of f, which the subscriptions get.
func (p *place) take(f *frame.Frame) { p.jump(f.Pos) }
