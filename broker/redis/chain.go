package redis

import "github.com/juggler-go/juggler/broker"

// A chain is where the deliveries of a channel stand whose events are kept. Each kept event
// names its predecessor: one whose predecessor was delivered last follows; of any other the
// log has to be asked, and what comes meanwhile is held. All is guarded by hub.mu.
type chain struct {
	topic   *topic // whose it is, as long as that says so
	channel string

	start broker.Position // where it began
	last  broker.Position // of the kept event that was delivered last, or start
	open  bool            // last is zero, and whatever comes next follows
	at    place

	lively bool // something has come since the last idle check
	queued bool // to be asked for
	moved  bool // another server holds the log since it was asked last

	healing   bool // the log is being asked: what comes is held
	again     bool // something may have been missed since it was asked
	held      []keptEvent
	heldBytes int
	overflows int                 // how often held was dropped since healing began
	owesGap   bool                // something was dropped that is in no log
	paged     map[uint64]struct{} // the tags of what came from the log since healing began
}

// A place is what is known of where a chain stands.
type place uint8

const (
	unplaced place = iota // its start is not known yet: it must not be subscribed to
	proven                // nothing is missing up to last
	unproven              // something may have been missed behind last
)

// A keptEvent is an event of a channel that is kept, as it came.
type keptEvent struct {
	keptValue
	plain bool // who published it knows of no rule
}

// A delivery is an event, or a gap, for those who are subscribed.
type delivery struct {
	gap   bool
	pos   broker.Position
	event broker.Event
}

// What of a channel is held while its log is asked. What is more is read from the log.
const (
	maxHeld      = 1000
	maxHeldBytes = 1 << 20

	// maxOverflows is how often that may be, until a gap takes the place of what is
	// missing: the channel is faster than we can read.
	maxOverflows = 5
)

// begin begins the chain after a position.
func (c *chain) begin(start broker.Position) {
	c.start, c.last, c.open, c.at = start, start, start.IsZero(), proven
}

// lives reports whether the chain is that of its topic still.
func (c *chain) lives() bool { return c.topic.chain == c }

// A verdict says how an event fits to a chain.
type verdict uint8

const (
	follows verdict = iota // nothing is between it and the one before
	known                  // it was delivered
	apart                  // it was not kept, so nothing can be said of what was before it
	anew                   // a life begins
	unclear                // something is missing, or the log has lost something
)

func (c *chain) judge(e *keptEvent) verdict {
	_, paged := c.paged[e.pos.Tag]
	switch {
	case e.begins && (e.pos.IsZero() || e.pos.At > c.last.At):
		return anew
	case e.pos.IsZero():
		return apart
	case e.pos == c.last || paged:
		return known
	case c.last.IsZero() && c.at == proven && (c.open || e.before == 0):
		return follows
	case e.before != 0 && e.before == c.last.Tag && e.pos.At > c.last.At:
		return follows
	}
	return unclear
}

// arrive has an event come. It appends what is to be delivered now, and reports whether the
// log must be asked.
func (c *chain) arrive(e keptEvent, out []delivery) (_ []delivery, ask bool) {
	if c.healing {
		c.hold(e)
		return out, false
	}
	v := c.judge(&e)
	if v == unclear {
		c.heal()
		c.hold(e)
		return out, true
	}
	return c.take(&e, v, out), false
}

// doubt notes that something may have been missed.
func (c *chain) doubt() {
	if c.healing {
		c.again = true
	} else {
		c.at = unproven
	}
}

// heal begins to hold what comes.
func (c *chain) heal() {
	c.healing, c.overflows, c.paged = true, 0, make(map[uint64]struct{})
}

// take appends the deliveries of an event that is not unclear.
func (c *chain) take(e *keptEvent, v verdict, out []delivery) []delivery {
	switch v {
	case follows:
		c.last, c.open, c.at = e.pos, false, proven
		return append(out, delivery{pos: e.pos, event: e.event})
	case apart:
		if !e.plain { // a new life begins with what is kept next
			c.last, c.open, c.at = broker.Position{}, false, proven
		}
		return append(out, delivery{gap: true}, delivery{event: e.event})
	case anew:
		c.last, c.open, c.at = e.pos, false, proven
		return append(out, delivery{gap: true, pos: e.pos})
	}
	return out
}

// hold keeps an event until the log has answered.
func (c *chain) hold(e keptEvent) {
	if n := len(c.held); n >= maxHeld || n > 0 && c.heldBytes+e.size() > maxHeldBytes {
		c.dropTo(broker.Position{})
		c.overflows++
	}
	c.held = append(c.held, e)
	c.heldBytes += e.size()
}

func (e *keptEvent) size() int { return len(e.event.Headers) + len(e.event.Args) }

// unhold takes off what is held first.
func (c *chain) unhold() {
	c.heldBytes -= c.held[0].size()
	if c.held = c.held[1:]; len(c.held) == 0 {
		c.held = nil
	}
}

// drain takes what is held until something is unclear. It appends what is to be delivered,
// and returns the position of what is unclear; zero: nothing is held any more.
func (c *chain) drain(out []delivery) (_ []delivery, stuck broker.Position) {
	if c.owesGap {
		c.owesGap = false
		out = append(out, delivery{gap: true, pos: c.last})
	}
	for len(c.held) > 0 {
		e := &c.held[0]
		switch v := c.judge(e); {
		case v != unclear:
			out = c.take(e, v, out)
			c.unhold()
		case c.last.IsZero() || c.overflows > maxOverflows: // no log can help
			out = c.accept(out)
		default:
			return out, e.pos
		}
	}
	if c.again {
		c.again, c.at = false, unproven
	}
	return out, broker.Position{}
}

// learn goes on with a page of the log that was read after last, when stuck was what drain
// returned; known says that the log knows that one. It appends what is to be delivered. If
// the log has more the chain is unproven still.
func (c *chain) learn(p *broker.Page, stuck broker.Position, known bool, out []delivery) []delivery {
	if !p.Proven {
		return c.lose(p.Top, known, out)
	}
	c.at = proven
	for i := range p.Events {
		e := &p.Events[i]
		c.last = e.Pos
		c.paged[e.Pos.Tag] = struct{}{}
		out = append(out, delivery{pos: e.Pos, event: e.Event})
	}
	if c.last != p.Top && len(p.Events) > 0 {
		c.at = unproven
		return out
	}
	if len(c.held) == 0 || c.held[0].pos != stuck || c.judge(&c.held[0]) != unclear {
		return out
	}
	if stuck.At > c.last.At {
		return c.accept(out)
	}
	if !known { // it is of a past that the log has lost, or too old to tell: perhaps it was delivered
		out = append(out, delivery{gap: true, pos: c.last})
	} // else it was delivered, or is what a gap stands for
	c.unhold()
	return out
}

// lose goes on where the log does not know last any more: with what came meanwhile, or
// where the channel stands.
func (c *chain) lose(top broker.Position, known bool, out []delivery) []delivery {
	if len(c.held) > 0 {
		e := &c.held[0]
		switch {
		case c.judge(e) != unclear:
			return out // it follows after all, which drain sees
		case e.pos.At > c.last.At || known:
			return c.accept(out)
		}
		// It is too old to tell whether it was delivered.
	}
	c.last, c.open, c.at = top, top.IsZero(), proven
	c.dropTo(top)
	return append(out, delivery{gap: true, pos: top})
}

// dropTo drops what is held up to a position that the chain has gone on to. If that is not
// among it, the log has what is dropped in vain.
func (c *chain) dropTo(top broker.Position) {
	for len(c.held) > 0 {
		e := &c.held[0]
		found := e.pos == top && !top.IsZero()
		c.owesGap = c.owesGap || e.pos.IsZero()
		c.unhold()
		if found {
			return
		}
		c.at = unproven
	}
}

// accept takes what is held first, which no log can place, behind a gap.
func (c *chain) accept(out []delivery) []delivery {
	e := &c.held[0]
	if e.begins {
		out = c.take(e, anew, out)
	} else {
		c.last = e.predecessor()
		out = append(out, delivery{gap: true, pos: c.last})
		out = c.take(e, follows, out)
	}
	c.unhold()
	return out
}

// predecessor returns the position before a kept event: numbers are in a row.
func (e *keptEvent) predecessor() broker.Position {
	if e.before == 0 || e.pos.At < 2 {
		return broker.Position{}
	}
	return broker.Position{At: e.pos.At - 1, Tag: e.before}
}
