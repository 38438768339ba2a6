package redis_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/oklog/ulid/v2"
)

// A hereNode is a node that puts members, and shows those of channels as a server does: it
// reads a channel when it watches it, when changes may be lost, and where a number is missing.
type hereNode struct {
	t    testing.TB
	conn broker.PresenceConn

	mu    sync.Mutex // guards the following
	shown map[string]*hereShown
	mine  []string // changes that the node has made: "+u" and "-u"
}

type hereShown struct {
	number  uint64
	members map[string]string // user -> sessions and info
	reads   int
	stale   bool
}

func openHere(t testing.TB, b *redis.Broker) *hereNode {
	t.Helper()
	n := &hereNode{t: t, shown: map[string]*hereShown{}}
	c, err := b.OpenPresence(t.Context(), broker.ID(ulid.Make()), n.changed)
	if err != nil {
		t.Fatal(err)
	}
	n.conn = c
	t.Cleanup(func() { c.Close() })
	return n
}

func (n *hereNode) changed(batch []broker.HereChange) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range batch {
		if c.Mine {
			for _, m := range c.Joined {
				n.mine = append(n.mine, "+"+m.User)
			}
			for _, user := range c.Left {
				n.mine = append(n.mine, "-"+user)
			}
		}
		s := n.shown[c.Channel]
		switch {
		case s == nil:
		case c.Lost:
			s.number, s.stale = 0, true
		case c.Number > s.number+1:
			s.stale = true
		case c.Number == s.number+1:
			s.number = c.Number
			for _, m := range slices.Concat(c.Joined, c.Changed) {
				s.members[m.User] = memberText(m)
			}
			for _, user := range c.Left {
				delete(s.members, user)
			}
			if len(s.members) != c.Count {
				n.t.Errorf("change %d of %s says that %d are there, and %d are", c.Number, c.Channel, c.Count, len(s.members))
			}
		}
	}
}

func memberText(m broker.Member) string { return fmt.Sprint(m.Sessions, string(m.Info)) }

func (n *hereNode) put(channel, user string, sessions int, info string) {
	m := broker.Member{User: user, Sessions: sessions}
	if info != "" {
		m.Info = []byte(info)
	}
	n.conn.Put(channel, []broker.Member{m})
}

func (n *hereNode) flush() {
	n.t.Helper()
	if err := n.conn.Flush(n.t.Context()); err != nil {
		n.t.Errorf("Flush: %v", err)
	}
}

// read returns the members of a channel, as text.
func (n *hereNode) read(channel string) string {
	n.t.Helper()
	here, err := n.conn.ReadHere(n.t.Context(), channel, 100_000)
	if err != nil {
		return err.Error()
	}
	members := map[string]string{}
	for _, m := range here.Members {
		members[m.User] = memberText(m)
	}
	if len(members) != here.Count {
		n.t.Errorf("%d are in %s, and %d are listed", here.Count, channel, len(members))
	}
	return textOf(members)
}

func textOf(members map[string]string) string {
	var all []string
	for _, user := range slices.Sorted(maps.Keys(members)) {
		all = append(all, user+":"+members[user])
	}
	return strings.Join(all, " ")
}

// watch has the members of a channel shown from now on.
func (n *hereNode) watch(channel string) {
	n.t.Helper()
	insist(n.t, func() error { return n.conn.Watch(n.t.Context(), channel) })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shown[channel] = &hereShown{stale: true}
}

// shows returns the members of a watched channel, as text: without I/O if that is not needed.
func (n *hereNode) shows(channel string) string {
	n.mu.Lock()
	s := n.shown[channel]
	stale := s.stale
	s.stale = false
	n.mu.Unlock()
	if stale {
		here, err := n.conn.ReadHere(n.t.Context(), channel, 100_000)
		n.mu.Lock()
		s.reads++
		if s.stale = s.stale || err != nil; err == nil {
			s.number, s.members = here.Number, map[string]string{}
			for _, m := range here.Members {
				s.members[m.User] = memberText(m)
			}
		}
		n.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return textOf(s.members)
}

func (n *hereNode) made() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.mine, " ")
}

// wantHere waits for what nodes read and show of a channel.
func wantHere(t testing.TB, channel, want string, nodes ...*hereNode) {
	t.Helper()
	for i, n := range nodes {
		await(t, fmt.Sprintf("node %d reads that in %s are %q", i, channel, want), func() bool { return n.read(channel) == want })
		n.mu.Lock()
		watched := n.shown[channel] != nil
		n.mu.Unlock()
		if watched {
			await(t, fmt.Sprintf("node %d shows that in %s are %q", i, channel, want), func() bool { return n.shows(channel) == want })
		}
	}
}

func TestPresence(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := openHere(t, newBroker(t, calm(withAddr(server.Addr))...)), openHere(t, newBroker(t, calm(withAddr(server.Addr))...))
	b.watch("room")
	wantHere(t, "room", "", a, b)
	a.put("room", "ann", 1, `{"a":1}`)
	a.put("room", "bob", 2, "")
	a.flush()
	wantHere(t, "room", `ann:1{"a":1} bob:2`, a, b)
	b.put("room", "ann", 2, `{"a":2}`)
	b.flush()
	wantHere(t, "room", `ann:3{"a":2} bob:2`, a, b)
	a.put("room", "ann", 0, "")
	a.put("room", "bob", 0, "")
	a.flush()
	wantHere(t, "room", `ann:2{"a":2}`, a, b)
	if got := a.made(); got != "+ann +bob -bob" && got != "+bob +ann -bob" {
		t.Errorf("node a has made %q", got)
	}
	if err := b.conn.Close(); err != nil {
		t.Fatal(err)
	}
	wantHere(t, "room", "", a)
	b.mu.Lock()
	defer b.mu.Unlock()
	if reads := b.shown["room"].reads; reads > 1 {
		t.Errorf("b has read the members %d times", reads)
	}
	for _, key := range keysOf(t, server.Client(), "juggler") {
		if strings.Contains(key, ":here-put:") || strings.Contains(key, ":here-of:") {
			n := server.Client().HLen(t.Context(), key).Val()
			if strings.Contains(key, ":here-put:") || n > 1 {
				t.Errorf("%s is left", key)
			}
		}
	}
}
