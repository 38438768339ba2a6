package presence

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// An engine is a broker.Presence in memory that fails as a test says.
type engine struct {
	mu       sync.Mutex // guards the following
	channels map[string]*engineChannel
	conns    []*engineConn
	down     bool // Watch and ReadHere fail
	loses    func() bool
	delay    func() time.Duration // of a read, before and after it is made
	puts     int
	reads    int
	unwatch  int
	blocked  chan struct{} // reads wait for it, unless it is nil
}

type engineChannel struct {
	number  uint64
	members map[string]map[*engineConn]broker.Member
}

type engineConn struct {
	e       *engine
	changed func([]broker.HereChange)
	watched map[string]bool
	broken  map[string]bool // a change was lost: it is told so later
	queue   []broker.HereChange
	busy    bool
	closed  bool
}

func newEngine() *engine {
	return &engine{channels: make(map[string]*engineChannel), loses: func() bool { return false }, delay: func() time.Duration { return 0 }}
}

func (e *engine) open(changed func([]broker.HereChange)) *engineConn {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := &engineConn{e: e, changed: changed, watched: make(map[string]bool), broken: make(map[string]bool)}
	e.conns = append(e.conns, c)
	return c
}

func (e *engine) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *engine) channel(name string) *engineChannel {
	ch := e.channels[name]
	if ch == nil {
		ch = &engineChannel{members: make(map[string]map[*engineConn]broker.Member)}
		e.channels[name] = ch
	}
	return ch
}

// sum is what a user comes to over all nodes.
func sum(user string, at map[*engineConn]broker.Member) (m broker.Member) {
	m.User = user
	for _, one := range at {
		m.Sessions += one.Sessions
		if one.Info != nil {
			m.Info = one.Info
		}
	}
	return m
}

func (c *engineConn) Put(channel string, users []broker.Member) {
	e := c.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.puts++
	if c.closed {
		return
	}
	e.put(c, channel, users)
}

func (e *engine) put(c *engineConn, channel string, users []broker.Member) {
	ch := e.channel(channel)
	change := broker.HereChange{Channel: channel}
	for _, m := range users {
		at := ch.members[m.User]
		was := sum(m.User, at)
		if at == nil {
			at = make(map[*engineConn]broker.Member)
			ch.members[m.User] = at
		}
		if m.Sessions > 0 {
			at[c] = m
		} else {
			delete(at, c)
		}
		switch is := sum(m.User, at); {
		case is.Sessions == 0:
			delete(ch.members, m.User)
			if was.Sessions > 0 {
				change.Left = append(change.Left, m.User)
			}
		case was.Sessions == 0:
			change.Joined = append(change.Joined, is)
		default:
			change.Changed = append(change.Changed, is)
		}
	}
	ch.number++
	change.Number, change.Count = ch.number, len(ch.members)
	for _, other := range e.conns {
		mine := change
		mine.Mine = other == c
		if other.closed || !other.watched[channel] && !mine.Mine {
			continue
		}
		if e.loses() {
			other.broken[channel] = true
			continue
		}
		other.tell(mine)
	}
}

// tell has a change be told soon, in order.
func (c *engineConn) tell(change broker.HereChange) {
	c.queue = append(c.queue, change)
	if c.busy {
		return
	}
	c.busy = true
	go func() {
		for {
			c.e.mu.Lock()
			some := c.queue
			c.queue = nil
			c.busy = len(some) > 0
			c.e.mu.Unlock()
			if len(some) == 0 {
				return
			}
			c.changed(some)
		}
	}()
}

// confess tells of what was lost.
func (e *engine) confess() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.conns {
		for channel := range c.broken {
			c.tell(broker.HereChange{Channel: channel, Lost: true})
		}
		clear(c.broken)
	}
}

// restart loses all, and has it anew from what the nodes put: numbers begin again.
func (e *engine) restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, ch := range e.channels {
		ch.number = 0
		for _, c := range e.conns {
			c.broken[name] = true
		}
	}
}

var errDown = errors.New("down")

func (c *engineConn) Flush(context.Context) error { return nil }

func (c *engineConn) Watch(_ context.Context, channel string) error {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	if c.e.down {
		return errDown
	}
	c.watched[channel] = true
	return nil
}

func (c *engineConn) Unwatch(channel string) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	c.e.unwatch++
	delete(c.watched, channel)
}

func (c *engineConn) ReadHere(ctx context.Context, channel string, most int) (broker.Here, error) {
	e := c.e
	e.mu.Lock()
	e.reads++
	before, after, blocked := e.delay(), e.delay(), e.blocked
	e.mu.Unlock()
	time.Sleep(before)
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return broker.Here{}, ctx.Err()
		}
	}
	e.mu.Lock()
	down := e.down
	ch := e.channel(channel)
	here := broker.Here{Number: ch.number, Count: len(ch.members)}
	if here.Count <= most {
		for user, at := range ch.members {
			here.Members = append(here.Members, sum(user, at))
		}
	}
	e.mu.Unlock()
	time.Sleep(after)
	if down {
		return broker.Here{}, errDown
	}
	return here, nil
}

func (c *engineConn) Close() error {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	c.closed = true
	for name, ch := range c.e.channels {
		for user, at := range ch.members {
			if _, there := at[c]; there {
				c.e.put(c, name, []broker.Member{{User: user}})
			}
		}
	}
	return nil
}

// A node is a Hub on an engine, with askers.
type node struct {
	*Hub
	conn   *engineConn
	askers map[*asker]bool

	mu      sync.Mutex
	notices []Notice
	first   []string
	last    []string
}

// An asker is what a client knows.
type asker struct {
	channel string
	number  uint64
	list    map[string]broker.Member // nil: only the number
	count   int
}

func newNode(t *testing.T, e *engine, grace time.Duration, most int) *node {
	n := &node{askers: make(map[*asker]bool)}
	var running sync.WaitGroup
	n.Hub = New(Config{Grace: grace, Most: most, Bytes: 1 << 20, Timeout: 10 * time.Second, Running: &running, Log: slog.New(slog.DiscardHandler),
		Tell: n.tell,
		FirstIn: func(channel string, m broker.Member) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.first = append(n.first, channel+" "+m.User)
		},
		LastOut: func(channel, user string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.last = append(n.last, channel+" "+user)
		}})
	n.conn = e.open(n.Hub.Changed)
	n.Start(n.conn)
	t.Cleanup(func() {
		n.Close()
		running.Wait()
	})
	return n
}

func (n *node) tell(notice *Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notices = append(n.notices, *notice)
	for a := range n.askers {
		if a.channel == notice.Channel && notice.Number > a.number {
			a.take(notice)
		}
	}
}

// take does what clients do.
func (a *asker) take(n *Notice) {
	a.count = n.Count
	switch {
	case n.Members != nil:
		a.list = listOf(n.Members)
	case n.Joined == nil && n.Left == nil:
		if a.list != nil && n.Count != len(a.list) {
			a.list = nil
		}
	default:
		for m := range frame.MemberSeq(n.Joined) {
			a.list[m.User] = m
		}
		for user := range frame.TextSeq(n.Left) {
			delete(a.list, user)
		}
	}
}

func listOf(members []byte) map[string]broker.Member {
	if members == nil {
		return nil
	}
	list := make(map[string]broker.Member)
	for m := range frame.MemberSeq(members) {
		list[m.User] = m
	}
	return list
}

// ask adds an asker.
func (n *node) ask(ctx context.Context, channel string) (*asker, error) {
	if err := n.Ask(ctx, channel, 0); err != nil {
		return nil, err
	}
	n.mu.Lock()
	a := &asker{channel: channel, number: ^uint64(0)} // takes nothing yet
	n.askers[a] = true
	n.mu.Unlock()
	// Between the two a notice may come, as it may wait in the inbox of a shard.
	members, count, number := n.Snapshot(channel, "")
	n.mu.Lock()
	defer n.mu.Unlock()
	a.number, a.list, a.count = number, listOf(members), count
	for i := range n.notices {
		if notice := &n.notices[i]; notice.Channel == channel && notice.Number > number {
			a.take(notice)
		}
	}
	return a, nil
}

func (n *node) leave(a *asker) {
	n.mu.Lock()
	delete(n.askers, a)
	n.mu.Unlock()
	n.Release(a.channel, 0)
}

// knows returns what a knows.
func (n *node) knows(a *asker) asker {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := *a
	known.list = maps.Clone(a.list)
	return known
}

func (n *node) told() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.notices)
}

func simulate(t *testing.T, f func(t *testing.T, e *engine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newEngine()) })
}
