package jugglertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

var _ broker.Presence = (*Broker)(nil)

// AwaitPresent waits until these users, and no others, are in a channel that has a rule of
// juggler.WithPresence. Who leaves is there until the grace is over: 10 s, which take no time
// in a testing/synctest bubble; elsewhere give New a shorter juggler.WithPresenceGrace.
func (s *Server) AwaitPresent(channel string, users ...string) {
	s.t.Helper()
	want := slices.Sorted(slices.Values(users))
	ctx, cancel := context.WithTimeout(s.t.Context(), waitTime)
	defer cancel()
	for {
		here, err := s.Handler.Here(ctx, channel)
		if err != nil {
			s.t.Fatalf("jugglertest: %v", err)
		}
		var got []string
		for _, m := range here.Members {
			got = append(got, m.User)
		}
		slices.Sort(got)
		if here.Count == len(want) && slices.Equal(got, want) {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			s.t.Fatalf("jugglertest: %d users are in %s, %q, want %q", here.Count, channel, got, want)
		}
	}
}

// OpenPresence implements broker.Presence. It fails if the broker behind b is none.
func (b *Broker) OpenPresence(ctx context.Context, node broker.ID, changed func([]broker.HereChange)) (broker.PresenceConn, error) {
	p, ok := b.roles.(broker.Presence)
	if !ok {
		return nil, fmt.Errorf("jugglertest: the broker %T is no broker.Presence", b.roles)
	}
	if err := b.err("open presence"); err != nil {
		return nil, err
	}
	c := &presenceConn{b: b, changed: changed, watched: make(map[string]struct{}), held: make(map[string]map[string]broker.Member)}
	conn, err := p.OpenPresence(ctx, node, c.receive)
	if err != nil {
		return nil, err
	}
	c.PresenceConn = conn
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.presences == nil {
		b.presences = make(map[*presenceConn]struct{})
	}
	b.presences[c] = struct{}{}
	return c, nil
}

// A presenceConn hears nothing while the broker is down; what it puts then is written when
// the broker is up again.
type presenceConn struct {
	broker.PresenceConn
	b       *Broker
	changed func([]broker.HereChange)

	telling sync.Mutex // held while changes are told; guards closed
	closed  bool

	mu      sync.Mutex // guards the following
	watched map[string]struct{}
	held    map[string]map[string]broker.Member // by channel and user
}

// receive passes changes on.
func (c *presenceConn) receive(changes []broker.HereChange) {
	c.telling.Lock()
	defer c.telling.Unlock()
	if !c.b.down.Load() {
		c.changed(changes)
	}
}

// up writes what was held, and tells that changes are lost.
func (c *presenceConn) up() {
	c.mu.Lock()
	held := c.held
	c.held = make(map[string]map[string]broker.Member)
	var lost []broker.HereChange
	for channel := range c.watched {
		lost = append(lost, broker.HereChange{Channel: channel, Lost: true})
	}
	for channel, users := range held {
		var list []broker.Member
		for _, m := range users {
			list = append(list, m)
		}
		c.PresenceConn.Put(channel, list)
	}
	c.mu.Unlock()
	c.telling.Lock()
	defer c.telling.Unlock()
	if len(lost) > 0 && !c.closed {
		c.changed(lost)
	}
}

// Put implements broker.PresenceConn.
func (c *presenceConn) Put(channel string, users []broker.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.b.down.Load() && len(c.held) == 0 { // else up is about to write what was held
		c.PresenceConn.Put(channel, users)
		return
	}
	if c.held[channel] == nil {
		c.held[channel] = make(map[string]broker.Member)
	}
	for _, m := range users {
		c.held[channel][m.User] = m
	}
}

// Flush implements broker.PresenceConn.
func (c *presenceConn) Flush(ctx context.Context) error {
	if err := c.b.err("write who is there"); err != nil {
		return err
	}
	return c.PresenceConn.Flush(ctx)
}

// Watch implements broker.PresenceConn.
func (c *presenceConn) Watch(ctx context.Context, channel string) error {
	if err := c.b.err("watch " + channel); err != nil {
		return err
	}
	c.mu.Lock()
	c.watched[channel] = struct{}{}
	c.mu.Unlock()
	return c.PresenceConn.Watch(ctx, channel)
}

// Unwatch implements broker.PresenceConn.
func (c *presenceConn) Unwatch(channel string) {
	c.mu.Lock()
	delete(c.watched, channel)
	c.mu.Unlock()
	c.PresenceConn.Unwatch(channel)
}

// ReadHere implements broker.PresenceConn.
func (c *presenceConn) ReadHere(ctx context.Context, channel string, most int) (broker.Here, error) {
	if err := c.b.err("read who is in " + channel); err != nil {
		return broker.Here{}, err
	}
	return c.PresenceConn.ReadHere(ctx, channel, most)
}

// Close implements broker.PresenceConn.
func (c *presenceConn) Close() error {
	c.b.mu.Lock()
	delete(c.b.presences, c)
	c.b.mu.Unlock()
	c.telling.Lock()
	c.closed = true
	c.telling.Unlock()
	return c.PresenceConn.Close()
}
