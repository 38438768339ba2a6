package juggler

import (
	"bytes"
	"context"
	"fmt"
	"math/bits"
	"sync"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// nodeChain is where the node stands in the events of a kept channel: each follows the
// one before it. Its mu is held while an event is left with the shards, so that a SUB
// has one place among the events for all of them.
type nodeChain struct {
	mu   sync.Mutex      // guards the following
	pos  broker.Position // of what was left with the shards last; zero: unknown
	gaps uint64          // how often the chain was broken
}

// reset begins a chain anew: the broker is about to be asked for the events.
func (c *nodeChain) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pos = broker.Position{}
	c.gaps++
}

// begin notes where the broker says that the subscription began. What has come already
// is behind that.
func (c *nodeChain) begin(start broker.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if start.At > c.pos.At {
		c.pos = start
	}
}

// follow notes what comes, and reports whether it is new.
func (c *nodeChain) follow(d *broker.Delivery) bool {
	switch {
	case d.Gap:
		c.gaps++
	case !d.Pos.IsZero() && d.Pos.At <= c.pos.At:
		return false // of the subscription before this one
	}
	c.pos = d.Pos
	return true
}

// state returns the fields.
func (c *nodeChain) state() (pos broker.Position, gaps uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pos, c.gaps
}

// deliverKept leaves an event of a kept channel, or a gap, with the shards that have
// subscribers. We wait for room before we lock, since the turns that make room lock, too.
func (h *Handler) deliverKept(nt *nodeTopic, d *broker.Delivery) {
	for set := nt.shards.Load(); set != 0; set &= set - 1 {
		h.shards[bits.TrailingZeros64(set)].Load().awaitRoom()
	}
	c := nt.chain
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.follow(d) {
		return
	}
	for set := nt.shards.Load(); set != 0; set &= set - 1 {
		h.shards[bits.TrailingZeros64(set)].Load().postEvent(d)
	}
}

// wanted is what the SUB of a channel asks of its kept events, and what it gets.
type wanted struct {
	since    broker.Position
	hasSince bool
	last     int

	join *join // nil: the channel is not kept, or the session speaks juggler.0
	page *page // the first
	err  error // the broker could not be asked

	// Of the ACK.
	pos      broker.Position
	recovery frame.Recovery
}

// A join is the place of a SUB among the events of a kept channel. It goes through the
// inbox of its shard, as they do. The SUB may be settled before or after.
type join struct {
	chain *nodeChain
	name  string
	pos   broker.Position // where the channel stood
	gaps  uint64

	// The following belongs to the turn.

	placed  *chain // nil: not yet
	seq     uint64 // of the first event behind it, in placed
	settled bool
	replay  *replay // of the SUB, if it succeeded
}

// join puts a SUB that holds nt in its place among the events, and reads what it asks
// for. From here on the shard keeps what comes, so what the session publishes behind its
// SUB is not missed, wherever the SUB is settled.
func (r *Request) join(ctx context.Context, nt *nodeTopic) {
	w := r.history
	if r.s.protocol == frame.Juggler0 {
		return
	}
	if w == nil && nt.chain != nil {
		w = &wanted{}
		r.history = w
	}
	if w == nil {
		return
	}
	if w.hasSince {
		w.recovery = frame.NotRecovered
	}
	if nt.chain == nil {
		return
	}
	w.join = nt.chain.join(r.s.shard, r.channel)
	h := r.s.shard.h
	switch {
	case !w.since.IsZero():
		w.page = h.pages.get(ctx, pageKey{channel: r.channel, after: w.since})
	case w.last > 0:
		w.page = h.pages.get(ctx, pageKey{channel: r.channel, last: w.last})
	default:
		return
	}
	if w.err = w.page.err; w.err != nil && !certainlyNotDone(w.err) {
		w.err = fmt.Errorf("%w: %w", broker.ErrUnavailable, w.err)
	}
	if w.hasSince && w.page.proven {
		w.recovery = frame.Recovered
	}
}

// join makes the join of a SUB, which has the events of the channel come to sh.
func (c *nodeChain) join(sh *shard, channel string) *join {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := &join{chain: c, name: channel, pos: c.pos, gaps: c.gaps}
	sh.postJoin(j)
	return j
}

// joined has a session that was just added to lt catch up with the shard from its join.
func (s *session) joined(r *Request, lt *localTopic) {
	if w := r.history; w != nil && w.join != nil {
		w.pos = w.join.pos
		s.shard.settleJoin(w.join, s.lag(lt, w))
	}
}

// joinAgain settles the join of a SUB that was refused, or whose session has the
// channel already. That one begins anew where the SUB says so; otherwise the SUB changes
// nothing, and its ACK has no position, since events that come before it are on their way.
func (s *session) joinAgain(r *Request, lt *localTopic, err error) {
	w := r.history
	switch {
	case w == nil || w.join == nil:
	case err != nil || !w.hasSince && w.last == 0:
		s.shard.settleJoin(w.join, nil)
	default:
		if lt.subs[s.subs[s.subscribedTo(lt)].index].lags {
			s.shard.replayOf(s, lt).stop()
		}
		s.joined(r, lt)
	}
}

// settleJoin is called when the SUB of j is settled, with the replay if it succeeded.
func (sh *shard) settleJoin(j *join, r *replay) {
	j.settled, j.replay = true, r
	c := j.placed
	if c == nil {
		return
	}
	c.unsettled--
	if r != nil {
		c.add(r, j)
	}
	c.release()
}

// placeJoin is called when j comes among the events of the inbox.
func (sh *shard) placeJoin(j *join) {
	if j.settled && (j.replay == nil || j.replay.over) {
		return
	}
	c := sh.chains[j.name]
	if c == nil {
		c = &chain{sh: sh, topic: broker.Topic{Name: j.name}, pos: j.pos, before: j.pos, gaps: j.gaps}
		if sh.chains == nil {
			sh.chains = make(map[string]*chain)
		}
		sh.chains[j.name] = c
	}
	j.placed, j.seq = c, c.seq
	if j.settled {
		c.add(j.replay, j)
	} else {
		c.unsettled++
	}
}

// What a shard keeps of the events that it delivers on a channel on which sessions lag.
const (
	maxTail      = 1000
	maxTailBytes = 1 << 20
)

// A chain is a kept channel in a shard while sessions lag behind it there: the newest
// events, once for all of them. It belongs to the turn.
type chain struct {
	sh    *shard
	topic broker.Topic

	pos  broker.Position // of what was delivered last; zero: unknown
	gaps uint64          // as in nodeChain
	seq  uint64          // numbers the events, and is that of the next

	before broker.Position // what the first of tail follows; zero: unknown
	tail   []tailEvent     // the newest without a gap
	bytes  int             // of tail

	unsettled int // joins whose SUBs are
	replays   []*replay
}

type tailEvent struct {
	pos    broker.Position
	framed []byte
}

// chainOf returns the chain of a topic, or nil.
func (sh *shard) chainOf(t broker.Topic) *chain {
	if len(sh.chains) == 0 || t.Pattern {
		return nil
	}
	return sh.chains[t.Name]
}

// first returns the number of the first event of the tail.
func (c *chain) first() uint64 { return c.seq - uint64(len(c.tail)) }

// at returns an event of the tail.
func (c *chain) at(seq uint64) *tailEvent { return &c.tail[seq-c.first()] }

// find returns the number of the event that follows pos.
func (c *chain) find(pos broker.Position) (seq uint64, ok bool) {
	if pos.IsZero() {
		return 0, false
	}
	for i := len(c.tail); i > 0; i-- {
		if c.tail[i-1].pos == pos {
			return c.first() + uint64(i), true
		}
	}
	return c.first(), c.before == pos
}

// event adds what the shard delivers. One that is too large to be sent is a gap in its
// place.
func (c *chain) event(e *eventItem) {
	framed := &c.sh.framed[frame.Juggler1]
	if len(*framed) == 0 {
		c.sh.frameEvent(framed, frame.Juggler1, e)
	}
	b := *framed
	if len(b) > c.sh.h.cfg.maxQueue {
		b = frameGap(e.topic, e.pos)
	}
	c.tail = append(c.tail, tailEvent{e.pos, bytes.Clone(b)})
	c.keep(len(b))
	c.seq++
	c.pos = e.pos
	for len(c.tail) > maxTail || c.bytes > maxTailBytes {
		c.dropFirst()
	}
	c.wake(func(r *replay) bool { return e.pos.IsZero() || e.pos.At >= r.cursor.At })
}

func (c *chain) dropFirst() {
	c.before = c.tail[0].pos
	c.keep(-len(c.tail[0].framed))
	c.tail[0] = tailEvent{}
	c.tail = c.tail[1:]
}

// broke is called when events may have been missed; c may be nil. Those that lag go on
// in the log, where that may be proved.
func (c *chain) broke(pos broker.Position) {
	if c == nil {
		return
	}
	c.keep(-c.bytes)
	c.tail, c.before, c.pos = nil, pos, pos
	c.seq++ // nobody is there
	c.gaps++
	c.wake(func(*replay) bool { return true })
}

// wake has the replays that wait for an event, and that f chooses, go on.
func (c *chain) wake(f func(*replay) bool) {
	for _, r := range c.replays {
		if r.waits && f(r) {
			r.waits = false
			r.activate()
		}
	}
}

// keep counts n bytes more, or less, of the tail.
func (c *chain) keep(n int) {
	c.bytes += n
	c.sh.group.Keep(n)
}

// add adds a replay that begins behind j.
func (c *chain) add(r *replay, j *join) {
	r.chain, r.index = c, len(c.replays)
	c.replays = append(c.replays, r)
	if r.fromJoin {
		r.seq, r.inTail = j.seq, true
	}
	r.activate()
}

// remove removes a replay.
func (c *chain) remove(r *replay) {
	last := len(c.replays) - 1
	c.replays[r.index] = c.replays[last]
	c.replays[r.index].index = r.index
	c.replays[last] = nil
	c.replays = c.replays[:last]
	c.release()
}

// release forgets c if nobody needs it.
func (c *chain) release() {
	if c.unsettled == 0 && len(c.replays) == 0 {
		c.keep(-c.bytes)
		delete(c.sh.chains, c.topic.Name)
	}
}
