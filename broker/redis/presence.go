package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/oklog/ulid/v2"
)

// A presenceConn is who is in channels at one node. It keeps all that was put and has Redis
// agree with it, lane by lane: see hereLane. What it watches it hears as subscribers hear
// events: see hereWatch.
type presenceConn struct {
	broker *Broker
	node   broker.ID
	box    *mailbox[broker.HereChange]

	quit   context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex // guards the following
	closed  bool
	lanes   map[int]*hereLane
	watched map[string]*hereWatch // by channel
	missed  map[string]bool       // channels of which changes were dropped, as the callback is slow

	work      sync.WaitGroup // what lanes do
	closeOnce sync.Once
}

// OpenPresence implements [broker.Presence].
func (b *Broker) OpenPresence(_ context.Context, node broker.ID, changed func([]broker.HereChange)) (broker.PresenceConn, error) {
	c := &presenceConn{
		broker:  b,
		node:    node,
		lanes:   map[int]*hereLane{},
		watched: map[string]*hereWatch{},
		missed:  map[string]bool{},
	}
	c.quit, c.cancel = context.WithCancel(background)
	c.box = newMailbox(deliveryBytes, func(batch []broker.HereChange) {
		changed(batch)
		if lost := c.takeMissed(); len(lost) > 0 {
			changed(lost)
		}
	})
	if err := b.register(c); err != nil {
		c.cancel()
		return nil, wrap("open presence of", ulid.ULID(node).String(), err)
	}
	c.box.start()
	return c, nil
}

// Put implements [broker.PresenceConn].
func (c *presenceConn) Put(channel string, users []broker.Member) {
	if channel == "" || len(users) == 0 {
		return
	}
	if l := c.lane(channel); l != nil {
		l.put(channel, users)
	}
}

// lane returns what the node has in the lane of a channel, from now on; nil: it is closed.
func (c *presenceConn) lane(channel string) *hereLane {
	index := c.broker.keys.laneOf(channel)
	c.mu.Lock()
	l, closed := c.lanes[index], c.closed
	if closed || l != nil {
		c.mu.Unlock()
		return l
	}
	of := c.broker.lane(index)
	if of == nil {
		c.mu.Unlock()
		return nil
	}
	l = newHereLane(c, of)
	c.lanes[index] = l
	of.addHeartbeat(l.heartbeat)
	c.mu.Unlock()
	l.kick()
	return l
}

// used returns the lanes in use.
func (c *presenceConn) used() []*hereLane {
	c.mu.Lock()
	defer c.mu.Unlock()
	lanes := make([]*hereLane, 0, len(c.lanes))
	for _, l := range c.lanes {
		lanes = append(lanes, l)
	}
	return lanes
}

// Flush implements [broker.PresenceConn].
func (c *presenceConn) Flush(ctx context.Context) error {
	for _, l := range c.used() {
		if err := l.flush(ctx); err != nil {
			return wrap("write", "who is here", err)
		}
	}
	if c.quit.Err() != nil {
		return wrap("write", "who is here", broker.ErrClosed)
	}
	return nil
}

// ReadHere implements [broker.PresenceConn].
func (c *presenceConn) ReadHere(ctx context.Context, channel string, most int) (broker.Here, error) {
	here, over, err := c.read(ctx, channel, most)
	if err == nil && over {
		// Members of a node that does not live: it is seen to before the answer, if we can.
		if l := c.lane(channel); l.reapNow(ctx) == nil {
			here, _, err = c.read(ctx, channel, most)
		}
	}
	return here, wrap("read who is in", strconv.Quote(channel), err)
}

// read also reports whether the members of a node are among them whose lease is over.
func (c *presenceConn) read(ctx context.Context, channel string, most int) (here broker.Here, over bool, err error) {
	if channel == "" {
		return here, false, errors.New("the channel is empty")
	}
	l := c.lane(channel)
	if l == nil || c.quit.Err() != nil {
		return here, false, broker.ErrClosed
	}
	keys, index := c.broker.keys, l.lane.index
	w := c.watchOf(channel)
	command := hereReadScript.Command([]string{keys.here(index, channel), keys.hereNodes(index), keys.hereDead(index)},
		most, digit(w != nil))
	reply, err := l.lane.writer.do(ctx, command)
	if err != nil {
		return here, false, err
	}
	if here, over, err = decodeHere(&reply, most); err == nil && w != nil {
		c.hasRead(w, here.Number)
	}
	return here, over, err
}

// Close implements [broker.PresenceConn].
func (c *presenceConn) Close() error {
	c.closeOnce.Do(func() {
		c.mu.Lock()
		c.closed = true
		watched := c.watched
		c.watched = map[string]*hereWatch{}
		c.mu.Unlock()
		for _, w := range watched {
			c.broker.hub.unsubscribe(w.subject, w)
		}
		c.box.stop()
		c.cancel()
		c.work.Wait()
		ctx, cancel := context.WithTimeout(background, c.broker.closeTimeout())
		defer cancel()
		var all sync.WaitGroup
		for _, l := range c.used() {
			all.Go(func() { l.end(ctx) }) // if the server cannot be reached others do it within the lease
		}
		all.Wait()
		c.broker.unregister(c)
	})
	return nil
}

// health: the node's members are written while one of its lanes is.
func (c *presenceConn) health() error {
	var failure error
	for _, l := range c.used() {
		err := l.heartbeat.health(l.lane.writer.refusal())
		if err == nil {
			return nil
		}
		failure = fmt.Errorf("redis: who is here, node %s, lane %d: %w", ulid.ULID(c.node), l.lane.index, err)
	}
	return failure
}

// start has the connection's work done on a goroutine, unless it is closed.
func (c *presenceConn) start(work func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(work)
	return true
}

// decodeHere reads the reply of hereread.lua.
func decodeHere(r *resp.Reply, most int) (here broker.Here, over bool, err error) {
	if len(r.List) != 4 {
		return here, false, resp.ErrProtocol
	}
	here.Number, err = strconv.ParseUint(string(r.List[0].Text), 10, 64)
	here.Count = int(r.List[1].Value)
	if err != nil || here.Count > most {
		return here, r.List[2].Value > 0, err
	}
	here.Members = make([]broker.Member, 0, here.Count)
	texts := r.List[3].List
	for i := 0; i+1 < len(texts); i += 2 {
		if len(texts[i].Text) == 0 { // the number
			continue
		}
		m, ok := decodeHereValue(string(texts[i].Text), texts[i+1].Text)
		if !ok {
			return here, false, resp.ErrProtocol
		}
		here.Members = append(here.Members, m)
	}
	return here, r.List[2].Value > 0, nil
}
