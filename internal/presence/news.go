package presence

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/wheel"
)

// between is how much time is between two notices of a channel: there are four a second.
const between = 250 * time.Millisecond

// A Notice says what has changed in a channel since the one before.
type Notice struct {
	Channel string
	Shards  uint64 // those that ask, a bit each
	Number  uint64 // greater than that of any before it

	// JSON arrays, or nil: all members, in place of what was known; those who came or
	// changed; the users who are gone.
	Members, Joined, Left []byte

	Count int
}

// told is what those who ask about a channel know.
type told struct {
	shards uint64
	number uint64 // of the last notice, or of one before the channel was asked about
	at     int64  // when that was; 0: there was none
	timer  wheel.Timer[channel]

	list  bool // they have a list
	count int

	changed map[string]known // who has changed since then
	full    bool             // some need the whole list

	encoded []byte // the list as JSON, or nil: to be made
}

// known is what is known of a user who has changed.
type known struct {
	broker.Member      // as told in the last notice; without sessions: not at all
	shown         bool // some have learnt more since, by a snapshot
}

func (t *told) forget() {
	t.list, t.full, t.changed, t.encoded = false, false, nil, nil
}

// Changed takes changes of the engine. It does not wait.
func (h *Hub) Changed(changes []broker.HereChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var last *channel
	for i := range changes {
		ch := &changes[i]
		if ch.Mine {
			h.tellMine(ch)
		}
		c := h.channels[ch.Channel]
		if c != last && last != nil {
			h.news(last)
		}
		if last = c; c == nil || !c.watched && c.asking == 0 {
			last = nil
			continue
		}
		switch {
		case ch.Lost:
			c.early = nil
			h.reread(c)
		case c.reading || !c.ready:
			if c.early = append(c.early, keep(ch)); len(c.early) > maxEarly {
				c.early = nil
				h.reread(c)
			}
		default:
			h.apply(c, ch)
		}
	}
	if last != nil {
		h.news(last)
	}
}

// tellMine tells of users who came or left by what this node has put.
func (h *Hub) tellMine(ch *broker.HereChange) {
	if f := h.cfg.FirstIn; f != nil {
		for _, m := range ch.Joined {
			m.Info = bytes.Clone(m.Info)
			f(ch.Channel, m)
		}
	}
	if f := h.cfg.LastOut; f != nil {
		for _, user := range ch.Left {
			f(ch.Channel, user)
		}
	}
}

// keep copies what the engine may use again.
func keep(ch *broker.HereChange) broker.HereChange {
	kept := *ch
	kept.Joined, kept.Changed, kept.Left = slices.Clone(ch.Joined), slices.Clone(ch.Changed), slices.Clone(ch.Left)
	for _, list := range [][]broker.Member{kept.Joined, kept.Changed} {
		for i := range list {
			list[i].Info = bytes.Clone(list[i].Info)
		}
	}
	return kept
}

// install takes a list that was read in place of what was known.
func (h *Hub) install(c *channel, here *broker.Here) {
	t := &c.told
	old := c.list
	c.number, c.count, c.list, t.encoded = here.Number, here.Count, nil, nil
	if len(here.Members) == here.Count {
		c.list, c.bytes = make(map[string]broker.Member, len(here.Members)), 0
		for _, m := range here.Members {
			c.enlist(m)
		}
	}
	switch {
	case !c.ready:
		t.list, t.count = h.lists(c), c.count
	case !t.list || old == nil || !maps.EqualFunc(old, c.list, sameMember):
		t.full = true
	}
	c.ready = true
}

func sameMember(a, b broker.Member) bool {
	return a.Sessions == b.Sessions && bytes.Equal(a.Info, b.Info)
}

// lists reports whether who is in c is told, rather than their number.
func (h *Hub) lists(c *channel) bool {
	return c.complete() && c.count <= h.cfg.Most && c.bytes <= h.cfg.Bytes
}

// complete reports whether all are known who are in c. An engine that begins anew may tell of
// changes that fit to nothing, until the list is read again.
func (c *channel) complete() bool { return c.list != nil && len(c.list) == c.count }

// apply takes a change into the list. One that is known already is dropped; after a hole the
// list is read again.
func (h *Hub) apply(c *channel, ch *broker.HereChange) {
	switch {
	case ch.Number <= c.number:
		return
	case ch.Number != c.number+1:
		h.reread(c)
		return
	}
	c.number, c.count, c.told.encoded = ch.Number, ch.Count, nil
	if c.list != nil {
		for _, list := range [][]broker.Member{ch.Joined, ch.Changed} {
			for _, m := range list {
				m.Info = bytes.Clone(m.Info)
				h.note(c, m.User)
				c.enlist(m)
			}
		}
		for _, user := range ch.Left {
			h.note(c, user)
			c.unlist(user)
		}
		if len(c.list) > 2*h.cfg.Most {
			c.list, c.told.changed, c.told.full = nil, nil, true
		}
	}
	if !c.complete() && (c.list != nil || c.count <= h.cfg.Most) {
		h.reread(c)
	}
}

// note remembers what those who ask know of a user who is about to change.
func (h *Hub) note(c *channel, user string) {
	t := &c.told
	if _, noted := t.changed[user]; noted || !t.list || t.full {
		return
	}
	if len(t.changed) >= 4*h.cfg.Most {
		t.full, t.changed = true, nil
		return
	}
	if t.changed == nil {
		t.changed = make(map[string]known)
	}
	t.changed[user] = known{Member: c.list[user]}
}

// enlist adds a user, or what is new about one.
func (c *channel) enlist(m broker.Member) {
	if old, there := c.list[m.User]; there {
		c.bytes -= size(old)
	}
	c.bytes += size(m)
	c.list[m.User] = m
}

// unlist removes a user. Who came and went unnoticed leaves nothing behind.
func (c *channel) unlist(user string) {
	if old, there := c.list[user]; there {
		c.bytes -= size(old)
	}
	delete(c.list, user)
	if k, noted := c.told.changed[user]; noted && k.Sessions == 0 && !k.shown {
		delete(c.told.changed, user)
	}
}

// size returns how long m may be as JSON.
func size(m broker.Member) int {
	return len(`{"user":"","n":1234567890,"info":},`) + 6*len(m.User) + len(m.Info)
}

// news has those who ask be told of what has changed, as soon as that may be.
func (h *Hub) news(c *channel) {
	t := &c.told
	if !c.ready || t.timer.Active() || !t.full && len(t.changed) == 0 && t.count == c.count && t.list == h.lists(c) {
		return
	}
	now := h.alarm.Now()
	if at := t.at + between.Milliseconds(); t.at > 0 && at > now {
		h.notices.Set(&t.timer, at)
		h.alarm.Set(at)
		return
	}
	h.tell(c)
}

// tell tells those who ask about c of what has changed.
func (h *Hub) tell(c *channel) {
	t := &c.told
	n := Notice{Channel: c.name, Shards: t.shards, Count: c.count}
	lists := h.lists(c)
	switch {
	case lists && (t.full || !t.list):
		n.Members = c.encode()
	case lists:
		n.Joined, n.Left = c.difference()
		switch {
		case len(n.Joined)+len(n.Left) > h.cfg.Bytes:
			n.Joined, n.Left, n.Members = nil, nil, c.encode()
		case n.Joined == nil && n.Left == nil && t.count == c.count:
			t.changed = nil
			return
		}
	case !t.list && t.count == c.count:
		t.full = false
		return
	}
	t.list, t.count, t.full, t.changed = lists, c.count, false, nil
	h.notice++
	n.Number = h.notice
	t.number, t.at = n.Number, max(h.alarm.Now(), 1)
	h.cfg.Tell(&n)
}

// difference returns who came or changed, and who is gone, since the last notice.
func (c *channel) difference() (joined, left []byte) {
	t := &c.told
	for _, user := range slices.Sorted(maps.Keys(t.changed)) {
		was := t.changed[user]
		is, there := c.list[user]
		switch {
		case !there && (was.Sessions > 0 || was.shown):
			left = frame.AppendUser(left, user)
		case there && (was.shown || !sameMember(was.Member, is)):
			joined = frame.AppendMember(joined, is)
		}
	}
	return closed(joined), closed(left)
}

// closed puts the bracket behind an array that has elements.
func closed(array []byte) []byte {
	if array == nil {
		return nil
	}
	return append(array, ']')
}

// encode returns the list as JSON, to be read only.
func (c *channel) encode() []byte {
	t := &c.told
	if t.encoded == nil {
		for _, user := range slices.Sorted(maps.Keys(c.list)) {
			t.encoded = frame.AppendMember(t.encoded, c.list[user])
		}
		if t.encoded == nil {
			t.encoded = []byte{'['}
		}
		t.encoded = append(t.encoded, ']')
	}
	return t.encoded
}

// Snapshot returns who is in a channel that was asked about: members as JSON, to be read
// only, or nil if they are too many, and their number. Notices beyond number change it.
// It has user, who has entered here, though the engine may not say so yet; "": nobody.
func (h *Hub) Snapshot(name, user string) (members []byte, count int, number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.channels[name]
	t := &c.told
	count, number = c.count, t.number
	var missing *member
	if _, there := c.list[user]; c.complete() && !there {
		if missing = c.members[user]; missing != nil {
			count++
		}
	}
	if !h.lists(c) || count > h.cfg.Most {
		t.full = t.full || t.list // this one has no list
		return nil, count, number
	}
	members = c.encode()
	if missing != nil {
		h.note(c, user)
		if members = bytes.Clone(members[:len(members)-1]); len(members) == 1 {
			members = nil
		}
		members = append(frame.AppendMember(members, broker.Member{User: user, Sessions: missing.sessions(), Info: missing.info}), ']')
	}
	for user, k := range t.changed {
		if !k.shown {
			k.shown = true
			t.changed[user] = k
		}
	}
	return members, count, number
}
