package presence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/wheel"
)

const (
	// maxTending is how many channels the engine is asked about at once.
	maxTending = 32

	// A list that cannot be read is read again after pauses that grow.
	firstPause   = 250 * time.Millisecond
	longestPause = 4 * time.Second

	// maxEarly is how many changes of a channel are kept while its list is read. After more
	// it is read again.
	maxEarly = 1024
)

// A channel is one with members at this node, or about which somebody here asks.
type channel struct {
	name    string
	members map[string]*member
	dirty   []*member // to be put

	asks    map[int]int  // who asks, by shard: how many
	asking  int          // their sum
	waiters []chan error // of those, who wait for the first list

	// What a goroutine is at, see Hub.tend. A channel has one at a time, if any.
	tending bool
	watched bool // the engine tells of changes
	reading bool // the list is on its way
	stale   bool // it is to be read
	early   []broker.HereChange
	failed  int                  // how often the engine could not be asked in a row
	pause   wheel.Timer[channel] // what is to be asked waits for it
	readAt  int64                // when the list was read last

	// Who is there. It counts if ready is set: the list was read since somebody asks.
	ready  bool
	number uint64
	count  int
	list   map[string]broker.Member // nil: they are too many to be kept
	bytes  int                      // of the list as JSON, at most

	told told
}

// channel returns a channel, which is made if it is not there.
func (h *Hub) channel(name string) *channel {
	c := h.channels[name]
	if c == nil {
		c = &channel{name: name}
		c.told.number = h.notice // those of a channel of this name before are behind it
		c.pause.Owner, c.told.timer.Owner = c, c
		h.channels[name] = c
	}
	return c
}

// forget drops c if there is nothing in it any more.
func (h *Hub) forget(c *channel) {
	if len(c.members) == 0 && len(c.dirty) == 0 && c.asking == 0 && !c.tending && !c.watched {
		delete(h.channels, c.name)
	}
}

// Ask returns nil once notices of a channel come for a shard, and Snapshot tells who is
// there. Release has to follow then. Errors are [broker.ErrUnavailable] or wrap it.
func (h *Hub) Ask(ctx context.Context, name string, shard int) error {
	h.mu.Lock()
	c := h.channel(name)
	if c.asks == nil {
		c.asks = make(map[int]int)
	}
	if c.asking++; c.asking == 1 {
		h.watched++
	}
	if c.asks[shard]++; c.asks[shard] == 1 {
		c.told.shards |= 1 << shard
	}
	if c.ready {
		h.mu.Unlock()
		return nil
	}
	first := make(chan error, 1)
	c.waiters = append(c.waiters, first)
	h.pauses.Remove(&c.pause)
	h.tend(c)
	h.mu.Unlock()
	var err error
	select {
	case err = <-first:
	case <-ctx.Done():
		err = ctx.Err()
	case <-h.life.Done():
		err = broker.ErrClosed
	}
	if err == nil {
		return nil
	}
	h.Release(name, shard)
	if !errors.Is(err, broker.ErrUnavailable) {
		err = fmt.Errorf("%w: who is there cannot be read: %w", broker.ErrUnavailable, err)
	}
	return err
}

// Release takes back one Ask. It does not wait.
func (h *Hub) Release(name string, shard int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.channels[name]
	if c.asks[shard]--; c.asks[shard] == 0 {
		delete(c.asks, shard)
		c.told.shards &^= 1 << shard
	}
	if c.asking--; c.asking > 0 {
		return
	}
	h.watched--
	c.ready, c.list, c.bytes, c.failed = false, nil, 0, 0
	c.told.forget()
	h.notices.Remove(&c.told.timer)
	h.pauses.Remove(&c.pause)
	h.tend(c)
	h.forget(c)
}

// tend has the engine be asked what is to be asked about c, on a goroutine.
func (h *Hub) tend(c *channel) {
	if c.tending || c.next() == nil || h.life.Err() != nil {
		return
	}
	c.tending = true
	h.cfg.Running.Add(1)
	go func() { // ends when nothing is to be asked, or with the hub
		defer h.cfg.Running.Done()
		h.slots <- struct{}{}
		defer func() { <-h.slots }()
		h.mu.Lock()
		defer h.mu.Unlock()
		for step := c.next(); step != nil && h.life.Err() == nil; step = c.next() {
			step(h, c)
		}
		c.tending = false
		h.forget(c)
	}()
}

// next returns what the engine is to be asked next. It is called with the lock held, and so
// is what it returns, which gives it up meanwhile.
func (c *channel) next() func(*Hub, *channel) {
	switch {
	case c.asking == 0 && c.watched:
		return (*Hub).unwatch
	case c.asking == 0 || c.pause.Active():
		return nil
	case !c.watched:
		return (*Hub).watch
	case !c.ready || c.stale:
		return (*Hub).read
	}
	return nil
}

func (h *Hub) unwatch(c *channel) {
	c.watched = false
	h.mu.Unlock()
	h.conn.Unwatch(c.name)
	h.mu.Lock()
}

func (h *Hub) watch(c *channel) {
	c.early = nil
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(h.life, h.cfg.Timeout)
	err := h.conn.Watch(ctx, c.name)
	cancel()
	if err != nil {
		h.conn.Unwatch(c.name) // the engine may have begun
	}
	h.mu.Lock()
	if c.watched = err == nil; !c.watched {
		h.failed(c, err)
	}
}

func (h *Hub) read(c *channel) {
	c.reading, c.stale = true, false
	h.reads.Add(1)
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(h.life, h.cfg.Timeout)
	here, err := h.conn.ReadHere(ctx, c.name, 2*h.cfg.Most)
	cancel()
	h.mu.Lock()
	c.reading = false
	early := c.early
	c.early = nil
	c.readAt = h.alarm.Now()
	switch {
	case err != nil:
		c.stale = true
		h.failed(c, err)
	case c.asking > 0:
		c.failed = 0
		h.install(c, &here)
		for i := range early {
			h.apply(c, &early[i])
		}
		c.answer(nil)
		h.news(c)
	}
}

// failed is called when the engine could not be asked. Whoever waits for the first list is
// told so; for others it is asked again after a pause.
func (h *Hub) failed(c *channel, err error) {
	c.answer(err)
	if c.failed == 0 {
		h.cfg.Log.Warn("cannot read who is in a channel", "channel", c.name, "error", err)
	}
	h.rest(c, min(firstPause<<min(c.failed, 8), longestPause))
	c.failed++
}

// rest has what is to be asked of the engine wait.
func (h *Hub) rest(c *channel, d time.Duration) {
	at := h.alarm.Now() + d.Milliseconds()
	h.pauses.Set(&c.pause, at)
	h.alarm.Set(at)
}

// answer tells those who wait for the first list.
func (c *channel) answer(err error) {
	for _, w := range c.waiters {
		w <- err
	}
	c.waiters = nil
}

// reread has the list be read again, not more often than notices are sent.
func (h *Hub) reread(c *channel) {
	if c.stale {
		return
	}
	c.stale = true
	if left := c.readAt + between.Milliseconds() - h.alarm.Now(); left > 0 && c.ready && !c.pause.Active() {
		h.rest(c, time.Duration(left)*time.Millisecond)
	}
	h.tend(c)
}

// Read returns who is in a channel, as the engine knows it; its Members if they are not more
// than are listed.
func (h *Hub) Read(ctx context.Context, name string) (broker.Here, error) {
	h.reads.Add(1)
	return h.conn.ReadHere(ctx, name, h.cfg.Most)
}
