package load

import (
	"math/rand/v2"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// A recovery is what a client knows of its channel, if the server keeps the events of that:
// where it stands, and whether it is still behind after it has come back. Events that came
// meanwhile are sent to it then, so a lost connection loses none.
type recovery struct {
	pos  frame.Position // after the last event; zero: not known
	asks bool           // the SUB on its way has a position
	sent int64          // when it was sent, in nanoseconds of the run
	top  frame.Position // where the channel stood when it was answered; zero: nothing to catch up with
}

// subscribe makes the SUB of a connection, which goes on where the last one ended.
func (r *recovery) subscribe(channel string, now int64) *frame.Frame {
	*r = recovery{pos: r.pos, asks: !r.pos.IsZero(), sent: now}
	return &frame.Frame{Type: frame.Sub, Channel: []byte(channel), HasSince: r.asks, Since: r.pos}
}

// confirmed takes note of the ACK of a SUB.
func (c *client) confirmed(f *frame.Frame) {
	r := &c.recovery
	switch {
	case f.Recovery == frame.Recovered:
		r.top = f.Pos
		c.caughtUp()
		return
	case r.asks:
		c.gapped = true
		c.run.record.notRecovered()
	}
	r.pos = f.Pos
}

// reached takes note of the position of an event.
func (c *client) reached(pos frame.Position) {
	r := &c.recovery
	if pos.IsZero() {
		return
	}
	r.pos = pos
	if !r.top.IsZero() {
		c.run.record.replay()
		c.caughtUp()
	}
}

// caughtUp takes note of a recovery that is over.
func (c *client) caughtUp() {
	r := &c.recovery
	if r.pos.At >= r.top.At {
		r.top = frame.Position{}
		c.run.record.recovered(c.index, c.run.now()-r.sent)
	}
}

// gap takes note of a GAP.
func (c *client) gap(f *frame.Frame) {
	c.gapped = true
	c.recovery.pos, c.recovery.top = f.Pos, frame.Position{}
	c.run.record.gap()
}

// dropLater ends a connection after a while, if that is wanted, until stop is called.
func (c *client) dropLater(s *socket) (stop func()) {
	every := c.run.config.DropEvery
	if every == 0 {
		return func() {}
	}
	timer := time.AfterFunc(every/2+rand.N(every), func() {
		if c.run.sending() {
			s.drop()
		}
	})
	return func() { timer.Stop() }
}
