package brokertest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/juggler-go/juggler/broker"
)

// A hereNode is a PresenceConn with the changes that it was told.
type hereNode struct {
	lifeline
	conn broker.PresenceConn

	mu   sync.Mutex                     // guards the following
	told map[string][]broker.HereChange // by channel
	hook func(broker.HereChange)        // called in the callback, if not nil
}

// hereNode opens a node; the end of the case closes it.
func (x *trial) hereNode(r Roles) *hereNode {
	n := &hereNode{lifeline: lifeline{x: x, name: "PresenceConn"}, told: make(map[string][]broker.HereChange)}
	x.must("OpenPresence", x.within(func(ctx context.Context) (err error) {
		n.conn, err = r.PubSub.(broker.Presence).OpenPresence(ctx, newID(), n.changed)
		return err
	}))
	x.cleanup(n.close)
	return n
}

// hereNodes opens nodes of processes of their own.
func (x *trial) hereNodes(count int) (nodes []*hereNode) {
	for range count {
		nodes = append(nodes, x.hereNode(x.process()))
	}
	return nodes
}

func (n *hereNode) close() { n.lifeline.close(n.conn) }

func (n *hereNode) changed(changes []broker.HereChange) {
	defer n.callback()()
	n.mu.Lock()
	for _, c := range changes {
		n.told[c.Channel] = append(n.told[c.Channel], cloneChange(c))
	}
	hook := n.hook
	n.mu.Unlock()
	if hook != nil {
		for _, c := range changes {
			hook(cloneChange(c))
		}
	}
}

func (n *hereNode) setHook(hook func(broker.HereChange)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = hook
}

// changes returns what was told of a channel. Nothing in it may be changed.
func (n *hereNode) changes(channel string) []broker.HereChange {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told[channel]
}

// put puts members, and waits until they are written.
func (n *hereNode) put(channel string, members ...broker.Member) {
	n.conn.Put(channel, members)
	n.flush()
}

func (n *hereNode) flush() { n.x.must("Flush", n.x.within(n.conn.Flush)) }

func (n *hereNode) watch(channel string) {
	n.x.must("Watch", n.x.within(func(ctx context.Context) error { return n.conn.Watch(ctx, channel) }))
}

func (n *hereNode) tryRead(channel string, most int) (h broker.Here, err error) {
	err = n.x.within(func(ctx context.Context) error {
		h, err = n.conn.ReadHere(ctx, channel, most)
		return err
	})
	return h, err
}

func (n *hereNode) read(channel string, most int) broker.Here {
	h, err := n.tryRead(channel, most)
	n.x.must("ReadHere", err)
	return h
}

// allMembers is more than any case has in a channel.
const allMembers = 100_000

// wantHere checks who is in a channel.
func (n *hereNode) wantHere(channel string, want ...broker.Member) {
	h := n.read(channel, allMembers)
	if got := byUser(h.Members); h.Count != len(want) || !sameMembers(got, byUser(want)) || len(h.Members) != len(got) {
		n.x.errorf("in %q are %s, with a count of %d, want %s", channel, listMembers(h.Members), h.Count, listMembers(want))
	}
}

// A hereView is who is in a channel for one who watches it: what was read once, with the
// changes that were told after it.
type hereView struct {
	*hereNode
	channel string
	members map[string]broker.Member
	number  uint64
	seen    int // changes of the channel that are in members, or older
	lost    int // how often some were lost
}

// view watches a channel and reads it.
func (n *hereNode) view(channel string) *hereView {
	n.watch(channel)
	v := &hereView{hereNode: n, channel: channel}
	v.readAll()
	return v
}

func (v *hereView) readAll() {
	h := v.read(v.channel, allMembers)
	if v.members, v.number = byUser(h.Members), h.Number; h.Count != len(v.members) || len(h.Members) != h.Count {
		v.x.errorf("read were %d members of %d users, with a count of %d", len(h.Members), len(v.members), h.Count)
	}
}

// update takes in what was told. After what is lost it reads anew.
func (v *hereView) update() {
	changes := v.changes(v.channel)
	for _, c := range changes[v.seen:] {
		switch v.seen++; {
		case c.Lost:
			v.lost++
			v.readAll()
		case c.Number <= v.number:
		case c.Number != v.number+1:
			v.x.fatalf("change %d was told after change %d, and nothing was lost", c.Number, v.number)
		default:
			v.apply(c)
		}
	}
}

// apply makes a change, which must be one.
func (v *hereView) apply(c broker.HereChange) {
	v.number = c.Number
	for i, m := range append(slices.Clone(c.Joined), c.Changed...) {
		before, there := v.members[m.User]
		if joined := i < len(c.Joined); joined == there || !joined && sameMember(before, m) || m.Sessions < 1 || m.User == "" {
			v.x.errorf("in %s %s was there before: %v, with %s", listChange(c), listMembers([]broker.Member{m}), there, listMembers([]broker.Member{before}))
		}
		v.members[m.User] = m
	}
	for _, user := range c.Left {
		if _, there := v.members[user]; !there {
			v.x.errorf("in %s %q was not there before", listChange(c), user)
		}
		delete(v.members, user)
	}
	if c.Count != len(v.members) || len(c.Joined)+len(c.Changed)+len(c.Left) == 0 {
		v.x.errorf("%s has a count of %d, there are %d", listChange(c), c.Count, len(v.members))
	}
}

// want waits until the members are these.
func (v *hereView) want(members ...broker.Member) {
	want := byUser(members)
	if !v.x.poll(func() bool {
		v.update()
		return sameMembers(v.members, want)
	}) {
		v.x.fatalf("in %q are %s, after all changes that were told in %v, want %s", v.channel, listMembers(slices.Collect(maps.Values(v.members))), v.x.patience, listMembers(members))
	}
}

// passes waits until all is told that was written before, which takes a member who comes and goes.
func (v *hereView) passes(writer *hereNode) {
	const fence = "brokertest.fence"
	for _, sessions := range []int{1, 0} {
		writer.put(v.channel, broker.Member{User: fence, Sessions: sessions})
		v.x.await("a change that was written last was told", func() bool {
			v.update()
			return v.members[fence].Sessions == sessions
		})
	}
}

// member makes a member.
func member(user string, sessions int, info string) broker.Member {
	m := broker.Member{User: user, Sessions: sessions}
	if info != "" {
		m.Info = []byte(info)
	}
	return m
}

func byUser(members []broker.Member) map[string]broker.Member {
	all := make(map[string]broker.Member)
	for _, m := range members {
		m.Info = bytes.Clone(m.Info)
		all[m.User] = m
	}
	return all
}

func sameMembers(a, b map[string]broker.Member) bool { return maps.EqualFunc(a, b, sameMember) }

func sameMember(a, b broker.Member) bool {
	return a.User == b.User && a.Sessions == b.Sessions && bytes.Equal(a.Info, b.Info)
}

func cloneChange(c broker.HereChange) broker.HereChange {
	for _, list := range []*[]broker.Member{&c.Joined, &c.Changed} {
		*list = slices.Clone(*list)
		for i := range *list {
			(*list)[i].Info = bytes.Clone((*list)[i].Info)
		}
	}
	c.Left = slices.Clone(c.Left)
	return c
}

func listMembers(members []broker.Member) string {
	members = slices.SortedFunc(slices.Values(members), func(a, b broker.Member) int { return bytes.Compare([]byte(a.User), []byte(b.User)) })
	var b bytes.Buffer
	for i, m := range members {
		if i == 20 {
			fmt.Fprintf(&b, " and %d more", len(members)-i)
			break
		}
		fmt.Fprintf(&b, " %.40q×%d %.40q", m.User, m.Sessions, m.Info)
	}
	return fmt.Sprintf("(%s )", b.String())
}

func listChange(c broker.HereChange) string {
	return fmt.Sprintf("change %d (joined %s, changed %s, left %.40q)", c.Number, listMembers(c.Joined), listMembers(c.Changed), c.Left)
}
