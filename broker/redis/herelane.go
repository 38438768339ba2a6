package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/oklog/ulid/v2"
)

// A hereLane is what one node has in one lane: what was put, and how much of it Redis
// has. Members have no lease; the node's stay has. A stay is what Redis has of the node since
// it could last rely on that: each command has a number, and each renewal of the lease brings
// the number of the last one that Redis has. Where it has less than it has confirmed, or
// knows no such stay, the node begins a new one and puts all members again; those that it
// had put before and no more are removed with the stay before.
//
// Its goroutine exists while there is something to write.
type hereLane struct {
	conn      *presenceConn
	lane      *lane
	heartbeat *heartbeat

	mu       sync.Mutex // guards the following
	channels map[string]map[string]hereMember
	dirty    map[string]map[string]struct{} // users of channels that Redis may have otherwise
	running  bool
	started  int           // rounds of writing
	written  int           // the last one that wrote all there was when it started
	over     chan struct{} // closed after each round

	stay    string // "": to be begun
	before  string // the stay before, whose members move; "": there is none
	command uint64 // the number of the last command that was sent
	done    uint64 // the highest that Redis has confirmed

	dead    []string // stays to remove
	reaping bool
}

// A hereMember is what was put for a user.
type hereMember struct {
	sessions int // 0: it is to be removed
	info     string
}

// Bounds of one script, and of the scripts that are sent together.
const (
	hereUsers  = 128
	hereBytes  = 32 << 10
	hereAtOnce = 64
)

func newHereLane(c *presenceConn, l *lane) *hereLane {
	h := &hereLane{
		conn:     c,
		lane:     l,
		channels: map[string]map[string]hereMember{},
		dirty:    map[string]map[string]struct{}{},
		over:     make(chan struct{}),
	}
	h.heartbeat = newHeartbeat(func(first bool) ([]*resp.Command, func()) {
		if first { // what was read before may be of another server, with the same numbers
			c.lostLane(l.index)
		}
		return h.beat()
	})
	return h
}

func (h *hereLane) put(channel string, users []broker.Member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range users {
		u := &users[i]
		m := hereMember{sessions: max(u.Sessions, 0)}
		if len(u.Info) <= broker.MaxMemberInfo && m.sessions > 0 {
			m.info = string(u.Info)
		}
		if u.User == "" || h.channels[channel][u.User] == m {
			continue
		}
		if h.channels[channel] == nil {
			h.channels[channel] = map[string]hereMember{}
		}
		h.channels[channel][u.User] = m
		h.mark(channel, u.User)
	}
	h.kickLocked()
}

// mark notes that a user is to be written. mu is held.
func (h *hereLane) mark(channel, user string) {
	if h.dirty[channel] == nil {
		h.dirty[channel] = map[string]struct{}{}
	}
	h.dirty[channel][user] = struct{}{}
}

// kick has what is to be written be written, if nobody is at it.
func (h *hereLane) kick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kickLocked()
}

func (h *hereLane) kickLocked() {
	if !h.running && (h.stay == "" || len(h.dirty) > 0) {
		h.running = h.conn.start(h.run)
	}
}

func (h *hereLane) run() {
	c := h.conn
	for failures := 0; c.quit.Err() == nil; {
		begin, batches, more := h.next()
		switch {
		case !more:
			return
		case begin && h.begin(), !begin && h.write(batches):
			failures = 0
		default:
			conn.Sleep(c.quit, c.broker.backoff.After(failures))
			failures++
		}
	}
}

// A hereBatch is users of one channel who are written by one script: all of them leave, or
// none does.
type hereBatch struct {
	channel string
	users   []string
	members []hereMember
	size    int
}

// next returns what is to be done: a stay is begun, or batches are written. If there is
// nothing to do, the goroutine ends.
func (h *hereLane) next() (begin bool, batches []*hereBatch, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.stay == "":
		return true, nil, true
	case len(h.dirty) == 0:
		h.running = false
		return false, nil, false
	}
	for channel, users := range h.dirty {
		var joining, leaving *hereBatch
		for user := range users {
			m, known := h.channels[channel][user]
			if !known {
				continue
			}
			open := &joining
			if m.sessions == 0 {
				open = &leaving
			}
			if *open == nil || len((*open).users) == hereUsers || (*open).size > hereBytes {
				*open = &hereBatch{channel: channel}
				batches = append(batches, *open)
			}
			b := *open
			b.users, b.members = append(b.users, user), append(b.members, m)
			b.size += len(user) + len(m.info) + 24
		}
	}
	clear(h.dirty)
	h.started++
	return false, batches, true
}

// write writes batches, and reports whether the server could be asked to.
func (h *hereLane) write(batches []*hereBatch) bool {
	asked, all := true, true
	for len(batches) > 0 {
		n := min(len(batches), hereAtOnce)
		did, some := h.writeSome(batches[:n])
		asked, all = asked && did, all && did && some
		batches = batches[n:]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if all {
		h.written = h.started
	}
	close(h.over)
	h.over = make(chan struct{})
	if all && h.before != "" && len(h.dirty) == 0 {
		h.reapLocked(h.before) // what is left of it
		h.before = ""
	}
	return asked
}

// writeSome writes batches. It reports whether the server has taken all commands, and done
// what they say.
func (h *hereLane) writeSome(batches []*hereBatch) (asked, all bool) {
	w := newWaiter(len(batches))
	ops := make([]*op, len(batches))
	h.mu.Lock()
	stay, first := h.stay, h.command+1
	if stay == "" { // it is over since this round began
		h.mu.Unlock()
		h.redo(batches...)
		return true, false
	}
	for i, b := range batches {
		h.command++
		ops[i] = &op{command: h.putCommand(b), waiter: w}
	}
	h.mu.Unlock()
	h.lane.writer.Submit(ops...)
	waited := w.wait(h.conn.quit)
	asked, all = true, true
	over := false
	for i, b := range batches {
		if waited != nil || ops[i].err != nil {
			if waited == nil {
				h.lane.refused("write who is here", ops[i].command.Reply)
			}
			h.redo(b)
			asked = false
			continue
		}
		reply := &ops[i].command.Reply
		if reply.Kind == ':' {
			h.redo(b)
			over, all = over || reply.Value < 0, false
			continue
		}
		h.settle(b, stay, first+uint64(i))
		h.conn.made(b.channel, reply.Text)
	}
	if over {
		h.restart(stay)
	}
	return asked, all
}

// putCommand returns the command that writes a batch. mu is held.
func (h *hereLane) putCommand(b *hereBatch) *resp.Command {
	keys, index := h.conn.broker.keys, h.lane.index
	names := []string{
		keys.hereNodes(index), keys.hereOf(index, h.stay),
		keys.herePut(index, h.stay, b.channel), keys.here(index, b.channel),
	}
	if h.before != "" {
		names = append(names, keys.herePut(index, h.before, b.channel))
	}
	c := hereScript.On(names, b.size+256+len(b.channel))
	c.AddText(h.stay)
	c.AddNumber(int64(h.command))
	h.addTelling(c, b.channel)
	for i, user := range b.users {
		c.AddText(user)
		c.AddNumber(int64(b.members[i].sessions))
		c.AddText(b.members[i].info)
	}
	return c
}

// addTelling adds how a script tells of a channel's changes.
func (h *hereLane) addTelling(c *resp.Command, channel string) {
	keys := h.conn.broker.keys
	c.AddText(keys.publish())
	c.AddText(keys.hereChannel(channel))
	c.AddBytes(h.conn.node[:])
	c.AddText(channel)
}

// redo has batches be written again, with what was put meanwhile.
func (h *hereLane) redo(batches ...*hereBatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range batches {
		for _, user := range b.users {
			h.mark(b.channel, user)
		}
	}
}

// settle notes that a batch is written, by a command of that number.
func (h *hereLane) settle(b *hereBatch, stay string, command uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stay != stay {
		return // all is written again
	}
	h.done = max(h.done, command)
	users := h.channels[b.channel]
	for i, user := range b.users {
		if _, again := h.dirty[b.channel][user]; !again && b.members[i].sessions == 0 {
			delete(users, user)
		}
	}
	if len(users) == 0 {
		delete(h.channels, b.channel)
	}
}

// begin begins a stay, and reports whether it could. Of one that was begun without an answer
// nothing more is heard.
func (h *hereLane) begin() bool {
	var unique [4]byte
	rand.Read(unique[:]) //nolint:errcheck // never fails
	stay := ulid.ULID(h.conn.node).String() + "-" + hex.EncodeToString(unique[:])
	h.mu.Lock()
	before := h.before
	h.mu.Unlock()
	c := h.beatCommand("begin", hereDeadMost, stay, before)
	if _, err := h.lane.writer.do(h.conn.quit, c); err != nil {
		h.lane.refused("say that a node is here", c.Reply)
		return false
	}
	h.mu.Lock()
	h.stay, h.command, h.done = stay, 0, 0
	h.mu.Unlock()
	h.beaten(c, stay, 0)
	return true
}

// restart has the next stay begin, and all be written again, since one is over.
func (h *hereLane) restart(stay string) {
	h.mu.Lock()
	if h.stay != stay {
		h.mu.Unlock()
		return
	}
	h.stay, h.before = "", stay
	members := 0
	for channel, users := range h.channels {
		for user, m := range users {
			if m.sessions == 0 {
				delete(users, user) // it goes with the stay
				continue
			}
			h.mark(channel, user)
			members++
		}
		if len(users) == 0 {
			delete(h.channels, channel)
		}
	}
	h.kickLocked()
	h.mu.Unlock()
	h.conn.broker.config.logger.Warn("the server has lost who is here, or took this node for dead: all is written again",
		"lane", h.lane.index, "members", members)
	h.conn.lostLane(h.lane.index)
}

// hereDeadMost is how many dead stays one node sees to at a time.
const hereDeadMost = 8

// beatCommand returns a command that runs herebeat.lua.
func (h *hereLane) beatCommand(mode string, most int, stay, before string) *resp.Command {
	keys, index := h.conn.broker.keys, h.lane.index
	names := []string{keys.hereNodes(index), keys.hereDead(index), keys.hereWatch(index)}
	if stay != "" {
		names = append(names, keys.hereOf(index, stay))
	}
	return hereBeatScript.Command(names, h.conn.broker.config.lease.Milliseconds(), mode, most, stay, before)
}

// beat returns the heartbeat.
func (h *hereLane) beat() ([]*resp.Command, func()) {
	h.mu.Lock()
	stay, done := h.stay, h.done
	h.mu.Unlock()
	mode := "renew"
	if stay == "" {
		mode = "look"
	}
	c := h.beatCommand(mode, hereDeadMost, stay, "")
	return []*resp.Command{c}, func() { h.beaten(c, stay, done) }
}

// beaten reads the reply of herebeat.lua. done is the number that Redis had confirmed of the
// stay before.
func (h *hereLane) beaten(c *resp.Command, stay string, done uint64) {
	list := c.Reply.List
	if len(list) != 3 {
		return
	}
	last, err := strconv.ParseUint(string(list[1].Text), 10, 64)
	if stay != "" && (list[0].Value == 0 || err != nil || last < done) {
		h.restart(stay)
	}
	if dead := list[2].Texts(); len(dead) > 0 {
		h.mu.Lock()
		h.reapLocked(dead...)
		h.mu.Unlock()
	}
}

// flush returns nil when all is written that was put before.
func (h *hereLane) flush(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	target := h.started
	if len(h.dirty) > 0 {
		target++
	}
	for h.written < target {
		over := h.over
		h.mu.Unlock()
		var err error
		select {
		case <-over:
		case <-ctx.Done():
			err = ctx.Err()
		case <-h.conn.quit.Done():
			err = broker.ErrClosed
		}
		h.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// end removes what was put.
func (h *hereLane) end(ctx context.Context) {
	h.lane.removeHeartbeat(h.heartbeat)
	h.mu.Lock()
	stays := []string{h.stay, h.before}
	h.mu.Unlock()
	for _, stay := range stays {
		if stay == "" {
			continue
		}
		if _, err := h.lane.writer.do(ctx, h.beatCommand("end", 0, stay, "")); err == nil {
			h.remove(ctx, stay) //nolint:errcheck // others do it within the lease
		}
	}
}
