package redis

import (
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
)

// confirmed remembers where channels of a lane stood when the server had confirmed events
// that this process published there, of the newest channels. Another server that answers
// for the lane may lack these events, and then nobody else may know that they were there.
type confirmed struct {
	most int // channels in newer

	mu           sync.Mutex // guards the following
	newer, older map[string]broker.Position
	began        time.Time  // newer
	used         time.Time  // when something was confirmed last
	place        conn.Place // where they were confirmed
	moved        bool       // the writer has led elsewhere since tookMove
	suspects     []suspect  // to be asked for
	searching    bool
}

// A suspect is a position that the log of its channel may lack.
type suspect struct {
	channel string
	pos     broker.Position
	moved   bool // another server holds the log than that which knew the position
	known   bool // the log knows it
}

const (
	// mostConfirmed is of how many channels a process remembers where they stood, at least,
	// if they are spread over all lanes; twice as many at most.
	mostConfirmed = 1 << 14

	// confirmedFor is for how long that is remembered, at most twice as long: where a log has
	// gone on beyond what it keeps nobody can tell whether it knew a position, so it should
	// be a recent one. No replica that is so far behind is promoted, unless by hand.
	confirmedFor = time.Minute
)

// begin is called before what a batch has confirmed is noted. mu is held.
func (c *confirmed) begin() {
	now := time.Now()
	if c.newer == nil || len(c.newer) >= c.most || now.Sub(c.began) > confirmedFor {
		c.newer, c.older, c.began = c.older, c.newer, now
		clear(c.newer)
	}
	if c.newer == nil {
		c.newer = map[string]broker.Position{}
	}
	c.used = now
}

// note remembers what was confirmed on a channel. mu is held, and begin was called.
func (c *confirmed) note(channel string, done *broker.Published) {
	if !done.Repeated || done.Pos.At > c.newer[channel].At {
		c.newer[channel] = done.Pos // zero: nothing of before is proved any more
	}
}

// unlinked notes that the lane's writer has lost its link: the next server is to be asked
// for what was confirmed lately.
func (c *confirmed) unlinked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.used) > 2*confirmedFor {
		c.newer, c.older = nil, nil
	}
	c.suspectAll()
}

// linked notes where the lane's writer leads from now on.
func (c *confirmed) linked(place conn.Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suspectAll()
	if place != c.place {
		for i := range c.suspects {
			c.suspects[i].moved = true
		}
		c.moved = c.place != (conn.Place{})
	}
	c.place = place
}

// tookMove reports whether another server has taken the place of the lane's since it was
// called last.
func (c *confirmed) tookMove() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	moved := c.moved
	c.moved = false
	return moved
}

// suspectAll has all that is remembered asked for. mu is held.
func (c *confirmed) suspectAll() {
	for channel, pos := range c.older {
		if _, newer := c.newer[channel]; !newer {
			c.suspect(channel, pos)
		}
	}
	for channel, pos := range c.newer {
		c.suspect(channel, pos)
	}
	c.newer, c.older = nil, nil
}

// suspect has a position asked for. mu is held.
func (c *confirmed) suspect(channel string, pos broker.Position) {
	if !pos.IsZero() && len(c.suspects) < 4*c.most {
		c.suspects = append(c.suspects, suspect{channel: channel, pos: pos})
	}
}

// next returns suspects to be asked for at the server of the moment; none: the search is
// over.
func (c *confirmed) next() ([]suspect, conn.Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.searching = len(c.suspects) > 0; !c.searching {
		c.suspects = nil
	}
	return slices.Clone(c.suspects[:min(len(c.suspects), quietBatch)]), c.place
}

// searched takes off what next returned, unless another server is to be asked by now. What
// the log knows may be lost by the next one: it is remembered, if there is nothing newer.
func (c *confirmed) searched(some []suspect, place conn.Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if place != c.place {
		return
	}
	c.suspects = c.suspects[len(some):]
	for _, s := range some {
		if _, newer := c.newer[s.channel]; !newer && s.known && len(c.older) < c.most {
			if c.older == nil {
				c.older = map[string]broker.Position{}
			}
			c.older[s.channel] = s.pos
		}
	}
}
