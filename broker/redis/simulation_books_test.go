package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

const (
	// simRecovery is how long after a fault the system may still suffer from it.
	simRecovery = 12 * time.Second

	// simSlack is how long what is not disturbed may take beside its work.
	simSlack = time.Second

	// simProof is how long a feed may take to notice that nothing arrives.
	simProof = 6 * time.Second

	// simWindow is how many parts a node takes at once.
	simWindow = 8

	// simLongest is how long a call may wait until it is accepted or refused.
	simLongest = 4 * time.Second
)

// simBooks are what a simulation knows of calls, events and faults.
type simBooks struct {
	sim *simulation

	mu         sync.Mutex // guards the following
	calls      map[int]*simCall
	kept       []simRecord
	used       map[simUse]time.Time // since when
	serials    [simChannels][]simPublication
	troubles   []*simTrouble
	allWell    time.Time
	violations []string
}

// A simUse is a lane that a node has called.
type simUse struct {
	node *simNode
	lane int
}

// simAcquainted is after how long a node notices that a lane has forgotten. Before
// it cannot know that there were callees.
const simAcquainted = 3 * time.Second

// A simTrouble is what a fault may disturb.
type simTrouble struct {
	kind      string
	from, to  time.Time // zero: it lasts
	lanes     []int
	processes []string  // nil: all
	loses     bool      // calls, or results
	doubles   bool      // calls may run a second time, at another callee
	held      time.Time // when what comes back was held; zero: from
	bus       bool      // events may get lost between the nodes of a cluster
	evicts    bool      // keys one by one, against all advice: it cannot be told whose callees are gone
	kills     string    // a callee, or cuts it off for longer than its lease
}

func (b *simBooks) violated(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.sim.tell("VIOLATION %s", text)
	b.violations = append(b.violations, text)
}

// A simCall is a call and all that happened to it.
type simCall struct {
	number        int
	node          *simNode
	uri           string
	timeout, work time.Duration
	newcomer      bool // its node has begun to call the lane just before
	began         time.Time
	returned      time.Time // from Call
	err           error
	runs          []string // callees that ran it
	finished      []string // those that came to its end
	outcome       *broker.Result
	parts         int       // that it may have
	got           uint32    // the last one of those that came in a row
	hole          uint32    // one that came before the one that was due
	from          broker.ID // who sent the last one
	ended         time.Time // with an outcome, or its time was over
	done          chan struct{}
	attempt       int      // of a call with a key that may run again: how often it was made before
	next          *simCall // the attempt after this one
}

func (c *simCall) String() string {
	outcome := "no outcome"
	switch {
	case c.err != nil:
		outcome = c.err.Error()
	case c.outcome != nil && c.outcome.Err != nil:
		outcome = c.outcome.Err.Error()
	case c.outcome != nil:
		outcome = "ok"
	}
	keys := c.node.sim.keys
	return fmt.Sprintf("call %d (attempt %d) of %s (lane %d) to %s (lane %d) at %.3f, timeout %v, work %v, accepted after %v, ran at %v, finished at %v, ended after %v: %s",
		c.number, c.attempt+1, c.node.name, keys.laneOfNode(c.node.id), c.uri, keys.laneOf(c.uri), c.began.Sub(c.node.sim.began).Seconds(),
		c.timeout, c.work, c.returned.Sub(c.began), c.runs, c.finished, c.ended.Sub(c.began), outcome)
}

func (b *simBooks) call(n *simNode, uri string, timeout, work time.Duration, parts int) *simCall {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &simCall{number: len(b.calls), node: n, uri: uri, timeout: timeout, work: work, parts: parts, began: time.Now(), done: make(chan struct{})}
	b.calls[c.number] = c
	use := simUse{n, n.sim.keys.laneOf(uri)}
	if _, known := b.used[use]; !known {
		b.used[use] = c.began
	}
	c.newcomer = c.began.Sub(b.used[use]) < simAcquainted
	return c
}

func (b *simBooks) called(c *simCall, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.returned, c.err = time.Now(), err
	if err != nil {
		c.ended = c.returned
	}
}

func (b *simBooks) expired(c *simCall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.ended.IsZero() {
		c.ended = time.Now()
	}
}

func (b *simBooks) ran(number int, callee string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[number].runs = append(b.calls[number].runs, callee)
}

func (b *simBooks) answered(number int, callee string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[number].finished = append(b.calls[number].finished, callee)
}

// outcome notes the first one, which counts.
func (b *simBooks) outcome(number int, r broker.Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.calls[number]; c.outcome == nil && c.ended.IsZero() {
		c.outcome = &r
		c.end()
	}
}

// end notes that a call has ended if its outcome is there, and all parts that came before.
func (c *simCall) end() {
	if c.ended.IsZero() && c.outcome != nil && c.got >= c.outcome.Parts {
		c.ended = time.Now()
		close(c.done)
	}
}

// part notes a part.
func (b *simBooks) part(number int, p broker.Part) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.calls[number]
	c.from = p.From
	switch {
	case p.N == c.got+1 && string(p.Args) == strconv.Itoa(int(p.N)):
		c.got++
		c.end()
	case p.N > c.got:
		c.hole = p.N
	}
}

// came returns how many parts of an answer came, in a row.
func (b *simBooks) came(c *simCall) uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return c.got
}

// sender returns who sends the parts of an answer.
func (b *simBooks) sender(c *simCall) broker.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return c.from
}

// trouble notes that a fault begins.
func (b *simBooks) trouble(t *simTrouble) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.from = time.Now()
	b.troubles = append(b.troubles, t)
}

func (b *simBooks) over(t *simTrouble) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.to = time.Now()
}

// touches reports whether a fault may be felt by a call, with the time to recover.
func (t *simTrouble) touches(c *simCall) bool { return t.touchesSince(t.from, c) }

// brings reports whether a fault may bring a call back.
func (t *simTrouble) brings(c *simCall) bool {
	since := t.from
	if !t.held.IsZero() {
		since = t.held
	}
	return t.doubles && t.touchesSince(since, c)
}

func (t *simTrouble) touchesSince(since time.Time, c *simCall) bool {
	keys := c.node.sim.keys
	if c.ended.Before(since) || !t.to.IsZero() && c.began.After(t.to.Add(simRecovery)) {
		return false
	}
	lanes := slices.Contains(t.lanes, keys.laneOf(c.uri)) || slices.Contains(t.lanes, keys.laneOfNode(c.node.id))
	// Grants on classic channels come through whichever master the callee hears.
	lanes = lanes || c.parts > simWindow && !keys.sharded
	process := t.processes == nil || slices.Contains(t.processes, c.node.name) ||
		slices.ContainsFunc(t.processes, func(p string) bool { return strings.HasPrefix(p, "callee") })
	return lanes && process
}

// check looks at all calls.
func (b *simBooks) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n := range len(b.calls) {
		if what := b.calls[n].wrong(b.troubles); what != "" {
			b.violated("%s: %v", what, b.calls[n])
		}
	}
}

// wrong says which promise was broken, if one was.
func (c *simCall) wrong(troubles []*simTrouble) string {
	var felt simTrouble // all together
	touched := false
	for _, t := range troubles {
		felt.doubles = felt.doubles || t.brings(c)
		if !t.touches(c) {
			continue
		}
		touched = true
		felt.loses = felt.loses || t.loses && (t.to.IsZero() || c.began.Before(t.to.Add(simSlack)))
		felt.kills += t.kills
		felt.evicts = felt.evicts || t.evicts
		if t.to.IsZero() || t.to.After(felt.to) {
			felt.to = t.to
		}
	}
	lost, unserved := c.endedIn(broker.CodeCalleeLost), c.endedIn(broker.CodeNoCallee)
	switch {
	case c.returned.Sub(c.began) > simLongest:
		return "neither accepted nor refused for long"
	case (errors.Is(c.err, broker.ErrNoCallee) || unserved) && felt.kills == "" && !felt.evicts && !c.newcomer:
		return "404 although callees live"
	case c.err != nil && !errors.Is(c.err, broker.ErrUnknownOutcome) && !errors.Is(c.err, context.DeadlineExceeded) && len(c.runs) > 0:
		return "refused, and ran"
	case unserved && len(c.runs) > 0 && !felt.doubles:
		return "404, and ran"
	case len(slices.Compact(slices.Sorted(slices.Values(c.runs)))) < len(c.runs):
		return "ran twice at one callee"
	case len(c.runs) > 1 && !felt.doubles:
		return "ran twice"
	case !touched && c.err != nil:
		return "refused, and nothing is wrong where it goes"
	case !touched && c.outcome == nil:
		return "no outcome, and nothing is wrong where it goes"
	case c.hole > 0 && !felt.loses && !felt.doubles:
		return fmt.Sprintf("part %d came behind part %d", c.hole, c.got)
	case !touched && c.short():
		return "parts are missing, and nothing is wrong where it goes"
	case c.short() && !felt.loses && !felt.doubles && !felt.to.IsZero() && c.began.Add(c.timeout).After(felt.to.Add(simRecovery)):
		return "parts are missing although nothing was lost and all was well again in time"
	case !touched && lost:
		return "502, and nothing is wrong where it goes"
	case !touched && c.ended.Sub(c.began) > c.work+simSlack:
		return "slow, and nothing is wrong where it goes"
	case lost && len(c.finished) > 0 && !strings.Contains(felt.kills, c.finished[0]):
		return "502 although its callee lived"
	case c.err == nil && c.outcome == nil && !felt.loses && !felt.to.IsZero() && c.began.Add(c.timeout).After(felt.to.Add(simRecovery)):
		return "no outcome although nothing was lost and all was well again in time"
	}
	return ""
}

// short reports whether the answer lacks parts.
func (c *simCall) short() bool {
	return c.outcome != nil && (c.got < c.outcome.Parts || c.outcome.Err == nil && int(c.got) < c.parts)
}

// endedIn reports whether the outcome is an error of this code.
func (c *simCall) endedIn(code frame.Code) bool {
	return c.outcome != nil && c.outcome.Err != nil && c.outcome.Err.Code == code
}

func (b *simBooks) summary() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for n := range len(b.calls) {
		lines = append(lines, b.calls[n].String())
	}
	return strings.Join(lines, "\n")
}

// A simOwed is an event that did not come with those after it. It may come late, or
// a gap may be told, unless it may be lost in silence.
type simOwed struct {
	channel, serial, before int
	lost                    bool
	until                   time.Time
}

// A simPublication is when it was made, and what became of it.
type simPublication struct {
	at  time.Time
	err error
}

// publish enters a publication and returns its number.
func (b *simBooks) publish(channel int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serials[channel] = append(b.serials[channel], simPublication{time.Now(), errSimPending})
	return len(b.serials[channel]) - 1
}

var errSimPending = errors.New("not answered")

func (b *simBooks) published(channel, serial int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serials[channel][serial].err = err
	if err != nil {
		b.sim.tell("    publication %d of channel %d: %v", serial, channel, err)
	}
}

// uncertain reports whether the publisher was told that an event may have been
// published: what was on its way when its connection broke may come late.
func (b *simBooks) uncertain(channel, serial int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Is(b.serials[channel][serial].err, broker.ErrUnknownOutcome)
}

// unseen reports whether an event may have been lost in silence: between the nodes of
// a cluster, within the time that a proof of the way takes. mu is held.
func (b *simBooks) unseen(at time.Time) bool {
	return slices.ContainsFunc(b.troubles, func(t *simTrouble) bool {
		return t.bus && at.After(t.from) && !t.to.IsZero() && at.Before(t.to) && t.to.Sub(at) < simProof
	})
}

// broken reports whether the way between the nodes of a cluster was broken: then a gap
// may come late, after events that went another way. mu is held.
func (b *simBooks) broken(at time.Time) bool {
	return slices.ContainsFunc(b.troubles, func(t *simTrouble) bool {
		return t.bus && at.After(t.from.Add(-simProof)) && (t.to.IsZero() || at.Before(t.to))
	})
}

// A simSubscriber checks what its subscriptions get.
type simSubscriber struct {
	sim  *simulation
	name string
	conn broker.SubscriberConn

	mu     sync.Mutex // guards the following
	topics map[broker.Topic]*simSubscription
}

type simSubscription struct {
	since  [simChannels]int // publications before it was confirmed
	last   [simChannels]int // number of the last event, or since - 1
	gapped [simChannels]bool
	told   [simChannels]int // publications before the last gap
	owed   []simOwed
	live   bool
}

func (s *simulation) openSubscriber(name string, b *Broker) *simSubscriber {
	sub := &simSubscriber{sim: s, name: name, topics: map[broker.Topic]*simSubscription{}}
	var err error
	if sub.conn, err = b.OpenSubscriber(s.over, sub.deliver); err != nil {
		panic(err)
	}
	return sub
}

func (sub *simSubscriber) subscribe(ctx context.Context, topic broker.Topic) {
	sub.mu.Lock()
	sub.topics[topic] = &simSubscription{last: [simChannels]int{-1, -1, -1, -1}}
	sub.mu.Unlock()
	err := sub.conn.Subscribe(ctx, topic)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if err != nil {
		delete(sub.topics, topic)
		sub.sim.tell("    %s did not subscribe to %s: %v", sub.name, topic.Name, err)
		return
	}
	s := sub.topics[topic]
	sub.sim.books.mu.Lock()
	defer sub.sim.books.mu.Unlock()
	for i := range simChannels {
		// Publications that began before may have come already, or not.
		s.since[i] = len(sub.sim.books.serials[i])
		s.last[i] = max(s.last[i], s.since[i]-1)
	}
	s.live = true
	sub.sim.tell("    %s subscribed to %s", sub.name, topic.Name)
}

func (sub *simSubscriber) unsubscribe(topic broker.Topic) {
	sub.mu.Lock()
	s := sub.topics[topic]
	if s != nil {
		s.live = false
	}
	sub.mu.Unlock()
	if s != nil {
		sub.conn.Unsubscribe(context.Background(), topic) //nolint:errcheck // never fails
		sub.mu.Lock()
		delete(sub.topics, topic)
		sub.mu.Unlock()
	}
}

func (sub *simSubscriber) deliver(batch []broker.Delivery) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	for _, d := range batch {
		s := sub.topics[d.Topic]
		if s == nil || !s.live {
			continue
		}
		if d.Gap {
			sub.sim.tell("    %s got a gap of %s", sub.name, d.Topic.Name)
			s.gap(sub.sim.books)
			continue
		}
		var channel int
		if _, err := fmt.Sscanf(d.Event.Channel, "channel.%d", &channel); err != nil {
			sub.sim.books.violated("an event on %s", d.Event.Channel)
			continue
		}
		serial, _ := strconv.Atoi(string(d.Event.Args))
		sub.arrived(d.Topic, s, channel, serial)
	}
}

// gap notes that events may have been missed. What was published before may still
// be on its way, and come late.
func (s *simSubscription) gap(b *simBooks) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range simChannels {
		s.gapped[i], s.told[i] = true, len(b.serials[i])
	}
	s.owed = slices.DeleteFunc(s.owed, func(o simOwed) bool { return !time.Now().After(o.until) })
}

// arrived checks that none is missing between an event and the last one. mu is held.
func (sub *simSubscriber) arrived(topic broker.Topic, s *simSubscription, channel, serial int) {
	switch {
	case serial < s.since[channel]:
		return // it was on its way when the subscription was confirmed
	case slices.ContainsFunc(s.owed, func(o simOwed) bool { return o.channel == channel && o.serial == serial }):
		s.owed = slices.DeleteFunc(s.owed, func(o simOwed) bool { return o.channel == channel && o.serial == serial })
		return // another one came another way, and overtook it
	case serial < s.told[channel] && sub.sim.books.uncertain(channel, serial):
		return // it tells nothing of those after it
	case serial <= s.last[channel] && (serial < s.told[channel] || sub.sim.books.uncertain(channel, serial)):
		return
	case serial <= s.last[channel]:
		sub.violated("event %d of channel %d came after %d, to %s of %s", serial, channel, s.last[channel], topic.Name, sub.name)
		return
	case !s.gapped[channel]:
		sub.missing(topic, s, channel, serial)
	}
	s.last[channel], s.gapped[channel] = serial, false
}

// missing notes which publications before an event were confirmed and did not come.
func (sub *simSubscriber) missing(topic broker.Topic, s *simSubscription, channel, before int) {
	sub.sim.books.mu.Lock()
	defer sub.sim.books.mu.Unlock()
	for n := s.last[channel] + 1; n < before; n++ {
		switch p := sub.sim.books.serials[channel][n]; {
		case p.err != nil:
		case sub.sim.books.unseen(p.at):
			s.owed = append(s.owed, simOwed{channel: channel, serial: n, before: before, lost: true})
		case sub.sim.books.broken(p.at):
			s.owed = append(s.owed, simOwed{channel: channel, serial: n, before: before, until: time.Now().Add(simProof)})
		default:
			sub.sim.books.violated("event %d of channel %d was confirmed, and missed without a gap, before %d, by %s of %s", n, channel, before, topic.Name, sub.name)
		}
	}
}

func (sub *simSubscriber) violated(format string, args ...any) {
	sub.sim.books.mu.Lock()
	defer sub.sim.books.mu.Unlock()
	sub.sim.books.violated(format, args...)
}

// finish checks that the last events have come, or a gap.
func (sub *simSubscriber) finish() {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	for topic, s := range sub.topics {
		for channel := range simChannels {
			if s.live && !s.gapped[channel] && (topic.Pattern || topic.Name == simChannel(channel)) {
				sub.sim.books.mu.Lock()
				end := len(sub.sim.books.serials[channel])
				sub.sim.books.mu.Unlock()
				sub.missing(topic, s, channel, end)
			}
		}
		for _, o := range s.owed {
			if o.lost {
				continue
			}
			sub.violated("event %d of channel %d was confirmed, and missed without a gap soon, before %d, by %s of %s", o.serial, o.channel, o.before, topic.Name, sub.name)
		}
	}
}
