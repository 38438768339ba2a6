package memory

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/juggler-go/juggler/broker"
)

var _ broker.Presence = (*Broker)(nil)

// What may wait for a callback that is told of changes. What is beyond becomes Lost.
const (
	maxChanges        = 4096
	maxChangedMembers = 16384 // of all these changes together
)

// maxLeavings is how many channels a node leaves that closes before others have their turn.
const maxLeavings = 64

// presence is who is in the channels of a Broker. Nothing is called while mu is held.
type presence struct {
	mu       sync.Mutex // guards the following, and what is in it
	closed   bool
	conns    []*presenceConn // in the order of their opening
	channels map[string]*attendance
	users    int    // in all channels
	floor    uint64 // no number of a channel that nobody is in any more is above it
}

// An attendance is who is in one channel.
type attendance struct {
	number   uint64
	users    map[string]*attendee
	watchers []*presenceConn
}

// An attendee is a user in a channel, with the sessions of all nodes.
type attendee struct {
	broker.Member
	before  broker.Member // a change that goes on
	changed bool          // by one that goes on
}

// A presenceConn is one node.
type presenceConn struct {
	presence *presence
	changed  func([]broker.HereChange)
	running  sync.WaitGroup // the goroutine that calls changed, while there is something to tell

	// The following is guarded by presence.mu.

	closed   bool
	put      map[string]map[string]int // sessions by channel and user, 1 or more
	watching map[string]struct{}

	pending []broker.HereChange
	members int                 // in pending
	lost    map[string]struct{} // channels to tell that of before pending
	telling bool                // there is the goroutine
}

// OpenPresence implements [broker.Presence].
func (b *Broker) OpenPresence(_ context.Context, _ broker.ID, changed func([]broker.HereChange)) (broker.PresenceConn, error) {
	if changed == nil {
		return nil, errors.New("memory: open presence: changed is nil")
	}
	p := &b.presence
	c := &presenceConn{
		presence: p,
		changed:  changed,
		put:      make(map[string]map[string]int),
		watching: make(map[string]struct{}),
		lost:     make(map[string]struct{}),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, broker.ErrClosed
	}
	p.conns = append(p.conns, c)
	return c, nil
}

// Put implements [broker.PresenceConn].
func (c *presenceConn) Put(channel string, users []broker.Member) {
	c.presence.mu.Lock()
	defer c.presence.mu.Unlock()
	if c.closed || channel == "" {
		return
	}
	var changed []*attendee
	a := c.presence.attendance(channel)
	for i := range users {
		if u := c.count(channel, a, &users[i]); u != nil {
			changed = append(changed, u)
		}
	}
	c.presence.tell(channel, a, changed, c)
}

// count counts the sessions that a user has at this node. It returns the user if it is the
// first time in this Put. The caller holds mu.
func (c *presenceConn) count(channel string, a *attendance, m *broker.Member) (first *attendee) {
	had, has := c.put[channel][m.User], max(m.Sessions, 0)
	if m.User == "" || had == 0 && has == 0 {
		return nil
	}
	u := a.users[m.User]
	if u == nil {
		u = &attendee{Member: broker.Member{User: m.User}}
		a.users[m.User] = u
		c.presence.users++
	}
	if !u.changed {
		first, u.before, u.changed = u, u.Member, true
	}
	u.Sessions += has - had
	if has == 0 {
		if delete(c.put[channel], m.User); len(c.put[channel]) == 0 {
			delete(c.put, channel)
		}
		return first
	}
	if len(m.Info) > broker.MaxMemberInfo {
		u.Info = nil
	} else if !bytes.Equal(u.Info, m.Info) {
		u.Info = append([]byte(nil), m.Info...) // nil if there is nothing
	}
	if c.put[channel] == nil {
		c.put[channel] = make(map[string]int)
	}
	c.put[channel][m.User] = has
	return first
}

// attendance returns that of a channel, made if it is not there. The caller holds mu.
func (p *presence) attendance(channel string) *attendance {
	a := p.channels[channel]
	if a == nil {
		a = &attendance{number: p.floor, users: make(map[string]*attendee)}
		p.channels[channel] = a
	}
	return a
}

// tell tells of users that have changed, if there is something to tell, and forgets those who
// are not there any more. It is the change of one connection; nil: of none that there is. The
// caller holds mu.
func (p *presence) tell(channel string, a *attendance, changed []*attendee, mine *presenceConn) {
	defer p.release(channel, a)
	var change broker.HereChange
	for _, u := range changed {
		u.changed = false
		switch was := &u.before; {
		case u.Sessions == 0:
			delete(a.users, u.User)
			p.users--
			if was.Sessions > 0 {
				change.Left = append(change.Left, u.User)
			}
		case was.Sessions == 0:
			change.Joined = append(change.Joined, u.Member)
		case was.Sessions != u.Sessions || !bytes.Equal(was.Info, u.Info):
			change.Changed = append(change.Changed, u.Member)
		}
	}
	if len(change.Joined)+len(change.Changed)+len(change.Left) == 0 {
		return
	}
	a.number++
	change.Channel, change.Number, change.Count = channel, a.number, len(a.users)
	for _, w := range a.watchers {
		if w != mine {
			w.add(change)
		}
	}
	if mine != nil {
		change.Mine = true
		mine.add(change)
	}
}

// release forgets a channel that nobody is in or watches. The caller holds mu.
func (p *presence) release(channel string, a *attendance) {
	if len(a.users) == 0 && len(a.watchers) == 0 {
		p.floor = max(p.floor, a.number)
		delete(p.channels, channel)
	}
}

// add leaves a change to be told. The caller holds mu.
func (c *presenceConn) add(change broker.HereChange) {
	members := len(change.Joined) + len(change.Changed) + len(change.Left)
	if n := len(c.pending); n >= maxChanges || n > 0 && c.members+members > maxChangedMembers {
		for i := range c.pending {
			c.lose(c.pending[i].Channel)
		}
		clear(c.pending)
		c.pending, c.members = c.pending[:0], 0
		c.lose(change.Channel)
	}
	if _, lost := c.lost[change.Channel]; !lost {
		c.pending = append(c.pending, change)
		c.members += members
	}
	if !c.telling {
		c.telling = true
		c.running.Go(c.tell)
	}
}

// lose notes that changes of a channel are lost, which concerns only those that are watched.
// The caller holds mu.
func (c *presenceConn) lose(channel string) {
	if _, watched := c.watching[channel]; watched {
		c.lost[channel] = struct{}{}
	}
}

// tell tells what waits until nothing does.
func (c *presenceConn) tell() {
	for {
		changes := c.take()
		if len(changes) == 0 {
			return
		}
		c.changed(changes)
	}
}

// take takes what is to be told: what is lost first. If nothing is, the goroutine ends.
func (c *presenceConn) take() []broker.HereChange {
	c.presence.mu.Lock()
	defer c.presence.mu.Unlock()
	if c.closed || len(c.pending)+len(c.lost) == 0 {
		c.telling = false
		return nil
	}
	changes := c.pending
	if len(c.lost) > 0 {
		changes = make([]broker.HereChange, 0, len(c.lost)+len(c.pending))
		for channel := range c.lost {
			changes = append(changes, broker.HereChange{Channel: channel, Lost: true})
		}
		changes = append(changes, c.pending...)
		clear(c.lost)
	}
	c.pending, c.members = nil, 0
	return changes
}

// Flush implements [broker.PresenceConn].
func (c *presenceConn) Flush(context.Context) error {
	c.presence.mu.Lock()
	defer c.presence.mu.Unlock()
	if c.closed {
		return broker.ErrClosed
	}
	return nil
}

// Watch implements [broker.PresenceConn].
func (c *presenceConn) Watch(_ context.Context, channel string) error {
	if channel == "" {
		return errEmptyName
	}
	c.presence.mu.Lock()
	defer c.presence.mu.Unlock()
	if c.closed {
		return broker.ErrClosed
	}
	if _, watched := c.watching[channel]; !watched {
		c.watching[channel] = struct{}{}
		a := c.presence.attendance(channel)
		a.watchers = append(a.watchers, c)
	}
	return nil
}

// Unwatch implements [broker.PresenceConn].
func (c *presenceConn) Unwatch(channel string) {
	c.presence.mu.Lock()
	defer c.presence.mu.Unlock()
	c.unwatch(channel)
}

// unwatch is Unwatch. The caller holds mu.
func (c *presenceConn) unwatch(channel string) {
	if _, watched := c.watching[channel]; !watched {
		return
	}
	delete(c.watching, channel)
	delete(c.lost, channel)
	a := c.presence.channels[channel]
	i := slices.Index(a.watchers, c)
	a.watchers = slices.Delete(a.watchers, i, i+1)
	c.presence.release(channel, a)
}

// ReadHere implements [broker.PresenceConn].
func (c *presenceConn) ReadHere(_ context.Context, channel string, most int) (broker.Here, error) {
	if channel == "" {
		return broker.Here{}, errEmptyName
	}
	p := c.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.closed {
		return broker.Here{}, broker.ErrClosed
	}
	a := p.channels[channel]
	if a == nil {
		return broker.Here{Number: p.floor, Members: []broker.Member{}}, nil
	}
	here := broker.Here{Number: a.number, Count: len(a.users)}
	if here.Count <= most {
		here.Members = make([]broker.Member, 0, here.Count)
		for _, u := range a.users {
			here.Members = append(here.Members, u.Member)
		}
	}
	return here, nil
}

// Close implements [broker.PresenceConn].
func (c *presenceConn) Close() error {
	for c.leaveSome() {
	}
	c.running.Wait()
	return nil
}

// leaveSome closes c, and takes what it has put from some channels. It reports whether there
// may be more.
func (c *presenceConn) leaveSome() bool {
	p := c.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.closed {
		c.end()
		p.conns = slices.DeleteFunc(p.conns, func(other *presenceConn) bool { return other == c })
		for channel := range c.watching {
			c.unwatch(channel)
		}
	}
	if p.closed {
		return false
	}
	left := 0
	for channel, users := range c.put {
		a := p.channels[channel]
		var changed []*attendee
		for user := range users {
			if u := c.count(channel, a, &broker.Member{User: user}); u != nil {
				changed = append(changed, u)
			}
		}
		p.tell(channel, a, changed, p.heir(channel, a))
		if left++; left == maxLeavings {
			return true
		}
	}
	return false
}

// end closes c, whose changes are told no more. The caller holds mu.
func (c *presenceConn) end() { c.closed, c.pending, c.members = true, nil, 0 }

// heir returns the connection whose change it is that a node which is gone has left a
// channel, nil if there is none: one that has something to do with the channel, if one has.
// The caller holds mu.
func (p *presence) heir(channel string, a *attendance) *presenceConn {
	if len(a.watchers) > 0 {
		return a.watchers[0]
	}
	for _, c := range p.conns {
		if c.put[channel] != nil {
			return c
		}
	}
	if len(p.conns) > 0 {
		return p.conns[0]
	}
	return nil
}

// close closes all connections, which is told to nobody, and returns when nothing is told any
// more.
func (p *presence) close() {
	p.mu.Lock()
	conns := p.conns
	for _, c := range conns {
		c.end()
		c.put, c.watching, c.lost = nil, nil, nil
	}
	p.closed, p.conns, p.channels, p.users = true, nil, nil, 0
	p.mu.Unlock()
	for _, c := range conns {
		c.running.Wait()
	}
}
