// Package presence is the node's side of who is in channels ([broker.Presence]): it counts
// the node's sessions by channel and user, with a grace for those that come back, and knows
// who is there where a session asks.
//
// The engine's changes are numbered. A [Hub] reads a list once for all that ask, and again
// where a number is missing or the engine says that changes are lost. Changes become at most
// four notices a second and channel, however many there are.
package presence

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/wheel"
	"github.com/juggler-go/juggler/internal/worker"
)

// Config is what a Hub needs. All of it is set but for the functions at the end.
type Config struct {
	Grace   time.Duration // for how long a session that has left counts
	Most    int           // how many users are listed
	Bytes   int           // how long their list may be as JSON
	Timeout time.Duration // what the broker has for one request
	Running *sync.WaitGroup
	Log     *slog.Logger

	// Tell gets notices, those of a channel in order. The hub is locked meanwhile.
	Tell func(*Notice)

	// FirstIn and LastOut are told of users who came or left by a change that this node has
	// made. They must not wait. Nil: nobody wants to know.
	FirstIn func(channel string, m broker.Member)
	LastOut func(channel, user string)
}

// Counts says what there is, and what has happened.
type Counts struct {
	Members int    // users in channels by sessions of this node, now
	Watched int    // channels of which somebody here asks who is there, now
	Reads   uint64 // lists that were read from the broker
}

// A Hub has the members and the askers of one node. Its methods may be called concurrently,
// after Start.
type Hub struct {
	cfg  Config
	conn broker.PresenceConn

	life  context.Context
	end   context.CancelFunc
	slots chan struct{}

	reads atomic.Uint64

	mu       sync.Mutex // guards the following, and all that is in channels
	channels map[string]*channel
	members  int
	watched  int
	notice   uint64 // the number of the last one

	dirty   []*channel    // that have members to be put
	putting chan struct{} // not nil while somebody puts them; closed when nothing is left

	graces  wheel.Wheel[member]
	notices wheel.Wheel[channel]
	pauses  wheel.Wheel[channel]
	alarm   wheel.Alarm // calls tick
}

// A member is a user with sessions in a channel at this node. One that has left counts
// until its grace is over, or another one takes its place.
type member struct {
	c      *channel
	user   string
	info   []byte
	live   int     // sessions that are there
	graces []int64 // when the graces of those that have left are over, in order
	timer  wheel.Timer[member]

	dirty   bool // it is to be put
	put     int  // what was put last
	putInfo []byte
}

func (m *member) sessions() int { return m.live + len(m.graces) }

// New returns a Hub.
func New(cfg Config) *Hub {
	h := &Hub{cfg: cfg, channels: make(map[string]*channel), slots: make(chan struct{}, maxTending)}
	h.alarm = wheel.NewAlarm(h.tick)
	h.life, h.end = context.WithCancel(context.Background())
	return h
}

// Start gives h its connection, once. Changes may come before.
func (h *Hub) Start(conn broker.PresenceConn) { h.conn = conn }

// Close ends what h does. It does not wait. The connection is not closed.
func (h *Hub) Close() {
	h.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alarm.Stop()
}

// Counts returns what there is.
func (h *Hub) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Counts{Members: h.members, Watched: h.watched, Reads: h.reads.Load()}
}

// Enter counts one more session of a user in a channel. info is that of the user from now
// on. It does not wait.
func (h *Hub) Enter(channel, user string, info []byte) {
	h.mu.Lock()
	c := h.channel(channel)
	m := c.members[user]
	if m == nil {
		m = &member{c: c, user: user}
		m.timer.Owner = m
		if c.members == nil {
			c.members = make(map[string]*member)
		}
		c.members[user] = m
		h.members++
	}
	m.live++
	if n := len(m.graces); n > 0 { // it takes the place of the one that has left last
		m.graces = m.graces[:n-1]
		if n == 1 {
			h.graces.Remove(&m.timer)
		}
	}
	m.info = info
	h.change(m)
	h.mu.Unlock()
	h.putAll()
}

// Inform sets the info of a user who has sessions in a channel here. It does not wait.
func (h *Hub) Inform(channel, user string, info []byte) {
	h.mu.Lock()
	if c := h.channels[channel]; c != nil && c.members[user] != nil {
		m := c.members[user]
		m.info = info
		h.change(m)
	}
	h.mu.Unlock()
	h.putAll()
}

// Leave takes back one Enter. atOnce leaves out the grace. It does not wait.
func (h *Hub) Leave(channel, user string, atOnce bool) {
	h.mu.Lock()
	m := h.channels[channel].members[user]
	m.live--
	if !atOnce && h.cfg.Grace > 0 {
		m.graces = append(m.graces, h.alarm.Now()+h.cfg.Grace.Milliseconds())
		if len(m.graces) == 1 {
			h.awaitGrace(m)
		}
	}
	h.change(m)
	h.mu.Unlock()
	h.putAll()
}

// awaitGrace has the first grace of m end in time.
func (h *Hub) awaitGrace(m *member) {
	h.graces.Set(&m.timer, m.graces[0])
	h.alarm.Set(m.graces[0])
}

// graceOver is called when the first grace of m is over.
func (h *Hub) graceOver(m *member) {
	now, n := h.alarm.Now(), 0
	for n < len(m.graces) && m.graces[n] <= now {
		n++
	}
	m.graces = slices.Delete(m.graces, 0, n)
	if len(m.graces) > 0 {
		h.awaitGrace(m)
	}
	h.change(m)
}

// change has m be put, if that is to say something new.
func (h *Hub) change(m *member) {
	if m.dirty || m.sessions() == m.put && bytes.Equal(m.info, m.putInfo) && m.put > 0 {
		return
	}
	m.dirty = true
	c := m.c
	if c.dirty = append(c.dirty, m); len(c.dirty) == 1 {
		h.dirty = append(h.dirty, c)
	}
}

// maxRounds is how often one who puts goes on with what others have left meanwhile.
const maxRounds = 16

// putAll puts the members that have changed. Of many who call it one does it for all, and
// hands on what does not end: no lock is held while the engine is called.
func (h *Hub) putAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.putting != nil || len(h.dirty) == 0 || h.life.Err() != nil {
		return
	}
	h.putting = make(chan struct{})
	if h.putRounds() {
		worker.Start(h.cfg.Running, putter{h})
	}
}

// putRounds puts members, for a while. It reports whether some are left.
func (h *Hub) putRounds() (more bool) {
	for range maxRounds {
		dirty := h.dirty
		h.dirty = nil
		var puts []put
		for _, c := range dirty {
			puts = append(puts, h.takePut(c))
		}
		h.mu.Unlock()
		for _, p := range puts {
			h.conn.Put(p.channel, p.users)
		}
		h.mu.Lock()
		if len(h.dirty) == 0 || h.life.Err() != nil {
			close(h.putting)
			h.putting = nil
			return false
		}
	}
	return true
}

// Flush returns nil once the engine has all that was entered and left before.
func (h *Hub) Flush(ctx context.Context) error {
	h.mu.Lock()
	putting := h.putting
	h.mu.Unlock()
	if putting != nil {
		select {
		case <-putting:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return h.conn.Flush(ctx)
}

// put is the arguments of one Put.
type put struct {
	channel string
	users   []broker.Member
}

// takePut takes the members of c that have changed.
func (h *Hub) takePut(c *channel) put {
	p := put{c.name, make([]broker.Member, 0, len(c.dirty))}
	for _, m := range c.dirty {
		m.dirty, m.put, m.putInfo = false, m.sessions(), m.info
		p.users = append(p.users, broker.Member{User: m.user, Sessions: m.put, Info: m.info})
		if m.put == 0 {
			delete(c.members, m.user)
			h.members--
		}
	}
	c.dirty = nil
	h.forget(c)
	return p
}

// A putter is the worker that goes on with what putAll has left.
type putter struct{ h *Hub }

// Step implements [worker.Worker].
func (p putter) Step() (more bool) {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	return p.h.putRounds()
}

// tick does what is due.
func (h *Hub) tick() {
	h.mu.Lock()
	h.alarm.Rung()
	if h.life.Err() == nil {
		now := h.alarm.Now()
		h.graces.Advance(now, h.graceOver)
		h.notices.Advance(now, h.tell)
		h.pauses.Advance(now, h.tend)
		h.alarm.SetNext(h.graces.Next())
		h.alarm.SetNext(h.notices.Next())
		h.alarm.SetNext(h.pauses.Next())
	}
	h.mu.Unlock()
	h.putAll()
}
