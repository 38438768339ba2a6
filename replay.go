package juggler

import (
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/wheel"
)

// replays are the replays of a shard. They belong to the turn.
type replays struct {
	of          map[*session][]*replay
	work, spare []*replay // that may go on; emptied, to be filled next
	held        map[*page]int
	again       wheel.Wheel[replay]
}

// A replay is a subscription that lags behind its shard: it gets no live events, but
// reads the log from where it stands, page by page, as its client reads, until it meets
// what the shard keeps. It ends where its next event is the shard's next event: the
// subscription is live. UNSB, another SUB and the end of the session end it, too.
type replay struct {
	s     *session
	lt    *localTopic
	chain *chain // nil: the join is not placed yet
	index int    // in chain.replays

	cursor   broker.Position // after what was sent last; zero: unknown
	fromJoin bool            // it begins at its join, not in the log
	inTail   bool            // it stands before the event seq of the chain, unless that is gone
	seq      uint64
	page     *page // it stands before the event at
	at       int
	gaps     uint64 // of the newest page: see nodeChain

	active  bool // in replays.work
	reading bool // a page is on its way
	waits   bool // for an event
	over    bool

	tries  int  // pages in a row that brought nothing
	rested bool // the pause before the next try is over
	timer  wheel.Timer[replay]
}

// What one replay, and all of a shard, send in one turn, in bytes, before others have
// theirs.
const (
	maxReplayTurn  = 64 << 10
	maxReplaysTurn = 1 << 20
)

// How often in a row a replay tries to read the log, and the first and the longest pause
// between two of these.
const (
	maxReplayTries     = 8
	shortestReplayRest = 40 * time.Millisecond
	longestReplayRest  = 2 * time.Second
)

// lag makes a replay of a session's subscription, which begins where the SUB says.
func (s *session) lag(lt *localTopic, w *wanted) *replay {
	sh := s.shard
	r := &replay{s: s, lt: lt, cursor: w.join.pos, fromJoin: true}
	r.timer.Owner = r
	if p := w.page; p != nil && p.proven && (w.hasSince || len(p.events) > 0) {
		r.cursor, r.fromJoin = w.since, false
		r.hold(p)
	}
	lt.subs[s.subs[s.subscribedTo(lt)].index].lags = true
	if sh.replays.of == nil {
		sh.replays.of = make(map[*session][]*replay)
	}
	sh.replays.of[s] = append(sh.replays.of[s], r)
	sh.h.stats.replays.Add(1)
	return r
}

// replayOf returns the replay of a subscription that lags.
func (sh *shard) replayOf(s *session, lt *localTopic) *replay {
	all := sh.replays.of[s]
	return all[slices.IndexFunc(all, func(r *replay) bool { return r.lt == lt })]
}

// resume has the replays of s go on.
func (rs *replays) resume(s *session) {
	for _, r := range rs.of[s] {
		r.activate()
	}
}

// activate has r go on at the end of the turn.
func (r *replay) activate() {
	if !r.active && !r.over {
		r.active = true
		rs := &r.s.shard.replays
		rs.work = append(rs.work, r)
	}
}

// retry has r go on after a pause.
func (r *replay) retry() {
	r.rested = true
	r.activate()
}

// replay has the replays go on that may.
func (sh *shard) replay() {
	rs := &sh.replays
	if len(rs.work) == 0 {
		return
	}
	work, n := rs.work, 0
	rs.work = rs.spare
	for sent := 0; n < len(work) && sent < maxReplaysTurn; n++ {
		work[n].active = false
		sent += work[n].run()
	}
	if n < len(work) { // they come first in the next turn
		rs.work, rs.spare = append(work[n:], rs.work...), nil
	} else {
		rs.spare = emptied(work)
	}
	if len(rs.work) > 0 {
		sh.group.Wake()
	}
}

// run sends events until the client, the answer to a PUB, the broker or the channel has
// to be waited for. It returns their bytes.
func (r *replay) run() (sent int) {
	s := r.s
	for {
		framed, ok := r.next()
		switch {
		case !ok:
			return sent
		case s.queue != nil && s.queue.held.pubsOut > 0: // workQueue.answered goes on
			r.dropPage()
			return sent
		case s.HalfFull() || s.Queued()+len(framed) > s.shard.h.cfg.maxQueue:
			r.dropPage()
			s.TellDrained()
			return sent
		case sent >= maxReplayTurn:
			r.activate()
			return sent
		}
		s.writeFramed(framed, r.lt.node.name.Name)
		sent += len(framed)
		r.advance()
	}
}

// next returns the event that is sent next. It returns false if that has to be waited
// for, or if r is over.
func (r *replay) next() (framed []byte, ok bool) {
	for !r.over && r.s.state < closing {
		if p := r.page; p != nil {
			if r.at < len(p.events) {
				return p.frame(r.at), true
			}
			r.gaps = p.gaps
			r.forgetPage()
			continue
		}
		c := r.chain
		switch {
		case c == nil || r.reading || r.timer.Active():
			return nil, false
		case r.find():
			if r.seq < c.seq {
				return c.at(r.seq).framed, true
			}
			r.live()
		case r.cursor.IsZero():
			r.giveUp()
		case r.ahead():
			r.waits = true
			return nil, false
		default:
			r.read()
		}
	}
	return nil, false
}

// find reports whether r stands in what the shard keeps, and finds where.
func (r *replay) find() bool {
	if !r.inTail || r.seq < r.chain.first() {
		r.seq, r.inTail = r.chain.find(r.cursor)
	}
	return r.inTail
}

// ahead reports whether the shard is yet to be delivered what r has. That is so only if
// nothing was lost since the log was read: the number might belong to another event then.
func (r *replay) ahead() bool {
	c := r.chain
	return r.gaps >= c.gaps && (c.pos.IsZero() || r.cursor.At > c.pos.At)
}

// advance passes what next has returned.
func (r *replay) advance() {
	if p := r.page; p != nil {
		r.cursor = p.events[r.at].pos
		r.at++
	} else {
		r.cursor = r.chain.at(r.seq).pos
		r.seq++
	}
	stats := &r.s.shard.h.stats
	stats.events.Add(1)
	stats.replayed.Add(1)
}

// read asks for what follows the cursor. After a page that brought nothing it does so
// after a pause.
func (r *replay) read() {
	sh := r.s.shard
	if r.tries > 0 && !r.rested {
		pause := min(shortestReplayRest<<(r.tries-1), longestReplayRest)
		sh.replays.again.Set(&r.timer, sh.group.After(pause))
		return
	}
	r.rested = false
	key := pageKey{channel: r.chain.topic.Name, after: r.cursor}
	if sh.h.broker.publishesNeverWait {
		r.took(sh.h.pages.now(key))
		return
	}
	r.reading = true
	sh.h.pages.ask(key, func(p *page) {
		sh.command(func() {
			r.reading = false
			if !r.over {
				r.took(p)
				r.activate()
			}
		})
	})
}

// took takes a page. One that is not proven ends the replay, and so do many in a row
// that bring nothing: the broker is out of reach, or has lost what the shard has.
func (r *replay) took(p *page) {
	switch {
	case p.err == nil && !p.proven || r.tries == maxReplayTries:
		r.giveUp()
	case p.err != nil:
		r.tries++
	case len(p.events) == 0:
		r.tries++
		r.gaps = p.gaps
	default:
		r.tries = 0
		r.hold(p)
	}
}

// giveUp tells the client that events may be missing. It goes on with the shard.
func (r *replay) giveUp() {
	r.s.gap(frameGap(r.chain.topic, r.chain.pos))
	r.live()
}

// live has the subscription get what the shard is delivered.
func (r *replay) live() {
	r.lt.subs[r.s.subs[r.s.subscribedTo(r.lt)].index].lags = false
	r.stop()
}

// stop ends r.
func (r *replay) stop() {
	sh := r.s.shard
	r.over = true
	r.forgetPage()
	sh.replays.again.Remove(&r.timer)
	if r.chain != nil {
		r.chain.remove(r)
	}
	all := sh.replays.of[r.s]
	i := slices.Index(all, r)
	if all = slices.Delete(all, i, i+1); len(all) > 0 {
		sh.replays.of[r.s] = all
	} else {
		delete(sh.replays.of, r.s)
	}
	sh.h.stats.replays.Add(-1)
}

// hold has r send a page. A shard counts each page once, however many send it.
func (r *replay) hold(p *page) {
	rs := &r.s.shard.replays
	if rs.held == nil {
		rs.held = make(map[*page]int)
	}
	if rs.held[p]++; rs.held[p] == 1 {
		r.s.shard.group.Keep(p.size())
	}
	r.page, r.at = p, 0
}

// forgetPage gives the page back.
func (r *replay) forgetPage() {
	p := r.page
	if p == nil {
		return
	}
	r.page = nil
	rs := &r.s.shard.replays
	if rs.held[p]--; rs.held[p] == 0 {
		delete(rs.held, p)
		r.s.shard.group.Keep(-p.size())
	}
}

// dropPage gives the rest of the page back while r cannot go on, to read it again: who
// reads slowly keeps nothing. Only who does not know where it stands keeps it.
func (r *replay) dropPage() {
	if !r.cursor.IsZero() {
		r.forgetPage()
	}
}

// countRecovery counts what an ACK says of the position of its SUB.
func (h *Handler) countRecovery(r frame.Recovery) {
	switch r {
	case frame.Recovered:
		h.stats.recovered.Add(1)
	case frame.NotRecovered:
		h.stats.notRecovered.Add(1)
	}
}
