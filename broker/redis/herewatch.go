package redis

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/juggler-go/juggler/broker"
)

// A hereWatch is a channel that a node watches: a listener. Its changes come over a feed, in
// order, but a change that the node has made itself comes with the reply of its script as
// well. It is told once, in its place, with Mine: whichever of the two is first.
type hereWatch struct {
	conn    *presenceConn
	channel string
	subject subject

	// Guarded by presenceConn.mu.
	on      bool                         // the server has confirmed it
	waiting int                          // how many wait for that
	fed     bool                         // the feed has brought a change since something may have been missed
	last    uint64                       // the number of the last change that was told since then; 0: none was
	read    uint64                       // the first number that was read since then
	heard   map[uint64]bool              // changes of our own that came over the feed, whose replies will come
	told    map[uint64]bool              // those that a reply has brought, which the feed will bring
	ahead   map[uint64]broker.HereChange // those that a reply has brought before the changes in front of them
}

// mostOwnChanges bounds what is kept of changes of our own of which the second notice does
// not come.
const mostOwnChanges = 4096

// Watch implements [broker.PresenceConn].
func (c *presenceConn) Watch(ctx context.Context, channel string) error {
	err := c.watch(ctx, channel)
	return wrap("watch who is in", strconv.Quote(channel), err)
}

func (c *presenceConn) watch(ctx context.Context, channel string) error {
	if channel == "" {
		return errors.New("the channel is empty")
	}
	if c.lane(channel) == nil { // from now on it sees to the dead there
		return broker.ErrClosed
	}
	w := c.wantWatch(channel)
	if w == nil {
		return nil
	}
	err := c.broker.hub.await(ctx, w.subject, w)
	c.mu.Lock()
	w.waiting--
	w.on = w.on || err == nil
	current := c.watched[channel] == w
	if current && !w.on && w.waiting == 0 {
		delete(c.watched, channel)
		current = false
	}
	closed := c.closed
	c.mu.Unlock()
	if !current {
		c.broker.hub.unsubscribe(w.subject, w)
	}
	if err == nil && closed {
		return broker.ErrClosed
	}
	return err
}

// wantWatch returns the watch of a channel, made if it is not there; nil: it is on.
func (c *presenceConn) wantWatch(channel string) *hereWatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watched[channel]
	if w == nil {
		keys := c.broker.keys
		w = &hereWatch{conn: c, channel: channel, subject: subject{keys.kind(), keys.hereChannel(channel)}}
		w.forget()
		c.watched[channel] = w
	}
	if w.on {
		return nil
	}
	w.waiting++
	return w
}

// Unwatch implements [broker.PresenceConn].
func (c *presenceConn) Unwatch(channel string) {
	c.mu.Lock()
	w := c.watched[channel]
	delete(c.watched, channel)
	if w != nil {
		c.tellAhead(w, math.MaxUint64)
	}
	c.mu.Unlock()
	if w != nil {
		c.broker.hub.unsubscribe(w.subject, w)
	}
}

func (c *presenceConn) watchOf(channel string) *hereWatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watched[channel]
}

// hasRead notes that the changes up to a number are known: the next one to come must follow.
func (c *presenceConn) hasRead(w *hereWatch, number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.read == 0 {
		w.read = number
	}
}

// message implements [listener].
func (w *hereWatch) message(_ subject, name, payload string) {
	c := w.conn
	change, node, err := decodeHereChange([]byte(payload))
	if err != nil {
		c.broker.corrupt(name, err)
		return
	}
	change.Channel, change.Mine = w.channel, node == c.node
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched[w.channel] == w {
		c.heard(w, change)
	}
}

// heard tells of a change that the feed has brought. mu is held.
func (c *presenceConn) heard(w *hereWatch, change broker.HereChange) {
	n := change.Number
	if w.told[n] {
		delete(w.told, n)
		w.fed = true
		if n == w.last+1 {
			w.last = n
		}
		return
	}
	switch {
	case w.last != 0 && n <= w.last && w.fed: // the server has lost data
		c.tellLost(w)
	case w.last != 0 && n != w.last+1, w.last == 0 && w.read != 0 && n > w.read+1:
		c.tell(broker.HereChange{Channel: w.channel, Lost: true})
		c.tellAhead(w, n)
	}
	if own, ok := w.ahead[n]; ok {
		delete(w.ahead, n)
		change = own
	} else if change.Mine {
		note(w.heard, n)
	}
	w.fed, w.last = true, n
	c.tell(change)
	for {
		own, ok := w.ahead[w.last+1]
		if !ok {
			return
		}
		w.last++
		delete(w.ahead, w.last)
		note(w.told, w.last)
		c.tell(own)
	}
}

// made tells of a change that this node has made, with the reply that says so.
func (c *presenceConn) made(channel string, text []byte) {
	if len(text) == 0 {
		return
	}
	change, _, err := decodeHereChange(text)
	if err != nil {
		c.broker.corrupt(channel, err)
		return
	}
	change.Channel, change.Mine = channel, true
	n := change.Number
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watched[channel]
	switch {
	case w == nil:
	case w.heard[n]:
		delete(w.heard, n)
		return
	case w.last == 0 && n <= w.read: // whoever has read knows of it
		note(w.told, n)
	case w.last == 0 || n == w.last+1:
		if w.last == 0 && n != w.read+1 { // the feed may be about to bring those before it
			c.tellLost(w)
		}
		w.last = n
		note(w.told, n)
	case n > w.last && len(w.ahead) < mostOwnChanges:
		w.ahead[n] = change
		return
	}
	c.tell(change)
}

func note(numbers map[uint64]bool, n uint64) {
	if len(numbers) >= mostOwnChanges {
		clear(numbers)
	}
	numbers[n] = true
}

// gap implements [listener].
func (w *hereWatch) gap(subject) {
	w.conn.mu.Lock()
	defer w.conn.mu.Unlock()
	if w.conn.watched[w.channel] == w {
		w.conn.tellLost(w)
	}
}

// lostLane tells of all channels of a lane that changes may be missing.
func (c *presenceConn) lostLane(index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watched {
		if c.broker.keys.laneOf(w.channel) == index {
			c.tellLost(w)
		}
	}
}

// tellLost tells that changes may be missing, or that their numbers begin anew. mu is held.
func (c *presenceConn) tellLost(w *hereWatch) {
	c.tell(broker.HereChange{Channel: w.channel, Lost: true})
	c.tellAhead(w, math.MaxUint64)
	w.forget()
}

// tellAhead tells of the changes of our own before a number, which the feed does not bring
// any more. mu is held.
func (c *presenceConn) tellAhead(w *hereWatch, before uint64) {
	for _, n := range slices.Sorted(maps.Keys(w.ahead)) {
		if n < before {
			c.tell(w.ahead[n])
			delete(w.ahead, n)
		}
	}
}

// forget has the next change be in order whatever its number is.
func (w *hereWatch) forget() {
	w.fed, w.last, w.read = false, 0, 0
	w.heard, w.told, w.ahead = map[uint64]bool{}, map[uint64]bool{}, map[uint64]broker.HereChange{}
}

// tell hands a change to the callback. mu is held, so it does not wait: if the callback has
// too much, it gets Lost later.
func (c *presenceConn) tell(change broker.HereChange) {
	if c.missed[change.Channel] {
		return
	}
	size := 64 + len(change.Channel)
	for _, some := range [...][]broker.Member{change.Joined, change.Changed} {
		for i := range some {
			size += 48 + len(some[i].User) + len(some[i].Info)
		}
	}
	for _, user := range change.Left {
		size += 16 + len(user)
	}
	if !c.box.offer(change, size) {
		c.missed[change.Channel] = true
	}
}

// takeMissed returns that changes were dropped, once the callback has had those before.
func (c *presenceConn) takeMissed() (lost []broker.HereChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for channel := range c.missed {
		lost = append(lost, broker.HereChange{Channel: channel, Lost: true})
		if w := c.watched[channel]; w != nil {
			w.forget()
		}
	}
	clear(c.missed)
	return lost
}
