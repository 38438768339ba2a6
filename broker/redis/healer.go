package redis

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A healer asks the logs of one lane for what its chains miss. Its goroutine is there as
// long as something is to be asked. The lists are guarded by hub.mu.
type healer struct {
	hub  *hub
	lane int
	wake chan struct{} // has an element when a chain is broken

	waiting []*chain // that hold what comes
	quiet   []*chain // that are unproven, and nothing has come since
}

const (
	healBatch  = 32  // chains that are read for in one go
	quietBatch = 500 // chains whose positions are asked for in one command

	// restFactor is for how many times as long as a question about quiet chains took none is
	// asked, for each lane that asks: a tenth of a process's time goes into them.
	restFactor = 9
)

// healer returns the healer of a chain's lane, started if it is not at work. hub.mu is held.
func (h *hub) healer(c *chain) *healer {
	lane := h.broker.keys.laneOf(c.channel)
	l := h.healers[lane]
	if l == nil {
		l = &healer{hub: h, lane: lane, wake: make(chan struct{}, 1)}
		h.healers[lane] = l
		h.asks.Go(l.run)
	}
	return l
}

func (h *hub) healersAtWork() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.healers)
}

// broken has a chain healed that holds what comes. hub.mu is held.
func (l *healer) broken(c *chain) {
	l.waiting = append(l.waiting, c)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// doubtful has a chain asked for when there is time. hub.mu is held.
func (l *healer) doubtful(c *chain) {
	c.queued = true
	l.quiet = append(l.quiet, c)
}

func (l *healer) run() {
	for failures := 0; l.hub.quit.Err() == nil; {
		waiting, quiet := l.next()
		var err error
		var rest time.Duration
		switch {
		case len(waiting) > 0:
			err = l.heal(waiting)
		case len(quiet) > 0:
			began := time.Now()
			err = l.check(quiet)
			rest = restFactor * time.Since(began) * time.Duration(l.hub.healersAtWork())
		default:
			return
		}
		if failures++; err == nil {
			failures = 0
		} else {
			rest = l.hub.broker.backoff.After(failures - 1)
		}
		l.rest(rest, err == nil)
	}
}

// rest waits, if wakes as long as no chain is broken.
func (l *healer) rest(d time.Duration, wakes bool) {
	if d == 0 {
		return
	}
	wake := l.wake
	if !wakes {
		wake = nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-l.hub.quit.Done():
	}
}

// next takes chains to heal, or if there are none, chains to ask for. If there are none,
// too, the healer ends.
func (l *healer) next() (waiting, quiet []*chain) {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(l.waiting) > 0 && len(waiting) < healBatch {
		if c := l.waiting[0]; c.lives() {
			waiting = append(waiting, c)
		}
		l.waiting = l.waiting[1:]
	}
	for len(waiting) == 0 && len(l.quiet) > 0 && len(quiet) < quietBatch {
		c := l.quiet[0]
		l.quiet = l.quiet[1:]
		c.queued = false
		if c.lives() && c.at == unproven && !c.healing {
			quiet = append(quiet, c)
		}
	}
	if len(waiting)+len(quiet) == 0 {
		delete(h.healers, l.lane)
	}
	return waiting, quiet
}

// check asks where channels stand, and has those healed that stand elsewhere than their
// chains.
func (l *healer) check(quiet []*chain) error {
	h := l.hub
	last := make([]broker.Position, len(quiet))
	channels := make([]string, len(quiet))
	h.mu.Lock()
	for i, c := range quiet {
		last[i], channels[i] = c.last, c.channel
	}
	h.mu.Unlock()
	tops, err := h.broker.stand(h.quit, l.lane, channels)
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range quiet {
		switch {
		case !c.lives() || c.at != unproven || c.healing || c.last != last[i]: // an event has come
		case err != nil || c.topic.feed.handing == c:
			l.doubtful(c)
		case tops[i] == c.last && !c.last.IsZero():
			c.at, c.moved = proven, false
		default:
			c.heal()
			l.waiting = append(l.waiting, c)
		}
	}
	return err
}

// stand returns where channels of a lane stand, zero where that is not known.
func (b *Broker) stand(ctx context.Context, lane int, channels []string) ([]broker.Position, error) {
	c := resp.NewCommand("MGET")
	for _, channel := range channels {
		c.AddText(b.keys.pos(lane, channel))
	}
	l := b.lane(lane)
	if l == nil {
		return nil, broker.ErrClosed
	}
	reply, err := l.writer.do(ctx, c)
	if err != nil {
		return nil, err
	}
	if len(reply.List) != len(channels) {
		return nil, resp.ErrProtocol
	}
	stand := make([]broker.Position, len(channels))
	for i, r := range reply.List {
		if len(r.Text) >= 16 {
			stand[i] = decodePosition(r.Text)
		}
	}
	return stand, nil
}

// A question is what the log is asked for one chain.
type question struct {
	chain *chain
	stuck broker.Position // what it must place
	last  broker.Position // what the log is read after
	reads int             // 1, or 2 if it is asked for stuck, too
}

// heal goes on with chains that hold what comes.
func (l *healer) heal(chains []*chain) error {
	var questions []question
	var reads []broker.Read
	for _, c := range chains {
		q := question{chain: c}
		if !l.drain(&q) {
			continue
		}
		reads = append(reads, broker.Read{Channel: c.channel, After: q.last})
		q.reads = 1
		if !q.stuck.IsZero() && q.stuck.At <= q.last.At {
			reads = append(reads, broker.Read{Channel: c.channel, After: q.stuck, Max: 1})
			q.reads = 2
		}
		questions = append(questions, q)
	}
	pages := make([]broker.Page, len(reads))
	if len(reads) > 0 {
		l.hub.broker.ReadKept(l.hub.quit, reads, pages)
	}
	var err error
	for i := range questions {
		q := &questions[i]
		failed := l.answer(q, pages[:q.reads])
		if failed != nil {
			err = failed
		} else if !pages[0].Proven {
			l.suspect(q)
		}
		pages = pages[q.reads:]
	}
	return err
}

// suspect has it found out whether a log has lost what was delivered last, if another server
// holds it now. Then all have to know, also those who had not got it.
func (l *healer) suspect(q *question) {
	l.hub.mu.Lock()
	moved := q.chain.moved
	q.chain.moved = false
	l.hub.mu.Unlock()
	lane := l.hub.broker.lane(l.lane)
	if !moved || lane == nil || q.last.IsZero() {
		return
	}
	lane.confirmed.mu.Lock()
	lane.confirmed.suspect(q.chain.channel, q.last)
	lane.confirmed.mu.Unlock()
	lane.searchLost()
}

// drain delivers what a chain holds and can place. It reports whether its log has to be
// asked; else it needs no healing any more.
func (l *healer) drain(q *question) (ask bool) {
	h, c := l.hub, q.chain
	for {
		h.mu.Lock()
		if !c.lives() {
			h.mu.Unlock()
			return false
		}
		m := handful{channel: c.channel, listeners: c.topic.listeners}
		m.deliveries, q.stuck = c.drain(nil)
		q.last = c.last
		ask = !q.stuck.IsZero() || c.at == unproven
		if len(m.deliveries) == 0 && !ask {
			c.healing, c.moved, c.paged = false, false, nil
		}
		h.mu.Unlock()
		if len(m.deliveries) == 0 {
			return ask
		}
		h.hand(m)
	}
}

// answer goes on with what the log says to a question.
func (l *healer) answer(q *question, pages []broker.Page) error {
	h, c := l.hub, q.chain
	var m handful
	h.mu.Lock()
	l.waiting = append(l.waiting, c)
	for _, p := range pages {
		if p.Err != nil {
			h.mu.Unlock()
			return p.Err
		}
	}
	if c.lives() {
		m = handful{channel: c.channel, listeners: c.topic.listeners}
		m.deliveries = c.learn(&pages[0], q.stuck, len(pages) > 1 && pages[1].Proven, nil)
	}
	h.mu.Unlock()
	h.broker.stats.healed.Add(int64(len(pages[0].Events)))
	h.hand(m)
	return nil
}
