package redis

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"
)

// A prober proves that events reach a feed. That the feed's server answers says
// nothing about it: it may have been taken out of the cluster, or the way between
// two nodes may be broken. So the prober publishes probes on a channel of the feed's
// own, through the writers of the masters in turn, on the same ways as events take.
//
// A probe that was confirmed and does not come is proved to be lost by a ping: what
// the server had for us before the ping comes before its answer, however slow the
// connection and whoever reads it.
type prober struct {
	feed *feed
	name string // of the channel

	turn int // the master that was probed last; owned by the monitor

	// Guarded by hub.mu.
	on   bool // the server has confirmed the subscription
	last uint64
	next time.Time // when the next probe is due; zero: at once, and of all masters
	out  []*probe  // published and not arrived
}

// A probe is one message on its way.
type probe struct {
	number    uint64
	lane      *lane
	op        *op
	sent      time.Time
	confirmed time.Time // zero: not known yet
	judged    bool      // a ping is on its way that must not overtake it
}

// errDeaf: the server answers, but events that others have published do not come.
var errEventsMissing = errors.New("published events do not arrive")

func newProber(f *feed) *prober {
	p := &prober{feed: f}
	p.name = f.hub.broker.keys.probeChannel(f.lane, ulid.Make().String())
	return p
}

// begin asks for the subscription on a new connection. hub.mu is held; flush must
// follow.
func (p *prober) begin() {
	p.on, p.next, p.out = false, time.Time{}, nil
	s := subject{p.feed.hub.broker.keys.kind(), p.name}
	p.feed.pings = append(p.feed.pings, pendingCommand{kind: sentSubscribe, subjects: []subject{s}, left: 1})
}

// confirmed says that probes will arrive. All masters are probed at once: a
// subscription that has just been confirmed must not rely on a node whose ways to
// others are broken.
func (p *prober) confirmed() {
	p.feed.hub.mu.Lock()
	p.on = true
	p.feed.hub.mu.Unlock()
	p.feed.wakeMonitor()
}

// pause is the time between two probes: each of a few masters is probed once in two
// reply timeouts.
func (p *prober) pause() time.Duration {
	timeout := p.feed.hub.broker.config.replyTimeout
	return min(max(2*timeout/time.Duration(max(len(p.feed.hub.broker.view.Masters()), 1)), timeout/4), timeout)
}

// tick sees what became of probes, and sends some when it is time.
func (p *prober) tick() {
	f := p.feed
	f.hub.mu.Lock()
	overdue := p.overdueProbes()
	ping := len(overdue) > 0 || f.pinged.IsZero() && p.waiting()
	if ping {
		f.ping(overdue)
	}
	due := p.on && !time.Now().Before(p.next)
	first := p.next.IsZero()
	f.hub.mu.Unlock()
	if ping {
		f.flush()
	}
	if due {
		p.send(first)
	}
}

// settle looks at the probes that are out, and returns those that should have come
// by now, once each. hub.mu is held.
func (p *prober) overdueProbes() (overdue []uint64) {
	patience := p.feed.hub.broker.config.replyTimeout / 2
	p.out = slices.DeleteFunc(p.out, func(pr *probe) bool {
		if pr.confirmed.IsZero() {
			select {
			case <-pr.op.waiter.done:
				pr.confirmed = time.Now()
			default:
				return false
			}
		}
		return pr.op.err != nil // it was not published, which is another matter
	})
	for _, pr := range p.out {
		if !pr.confirmed.IsZero() && !pr.judged && time.Since(pr.confirmed) > patience {
			pr.judged = true
			overdue = append(overdue, pr.number)
		}
	}
	return overdue
}

// waiting reports whether a probe is not even confirmed after a moment: the server
// may hang. hub.mu is held.
func (p *prober) waiting() bool {
	moment := p.feed.hub.broker.config.replyTimeout / 4
	return slices.ContainsFunc(p.out, func(pr *probe) bool { return pr.confirmed.IsZero() && time.Since(pr.sent) > moment })
}

// send publishes a probe through the next master that can be reached, or through
// all.
func (p *prober) send(all bool) {
	lanes := p.lanes()
	pause := p.pause()
	for range lanes {
		p.turn++
		if l := lanes[p.turn%len(lanes)]; !l.writer.Unreachable() {
			l.writer.Submit(p.make(l).op)
			if !all {
				break
			}
		}
	}
	p.feed.hub.mu.Lock()
	defer p.feed.hub.mu.Unlock()
	p.next = time.Now().Add(pause)
}

// make notes a probe through a lane.
func (p *prober) make(l *lane) *probe {
	p.feed.hub.mu.Lock()
	defer p.feed.hub.mu.Unlock()
	p.last++
	pr := &probe{number: p.last, lane: l, sent: time.Now()}
	pr.op = &op{kind: opEvent, uri: p.name, value: strconv.AppendUint(nil, p.last, 10), waiter: newWaiter(1)}
	p.out = append(p.out, pr)
	return pr
}

// lanes returns a lane of each master through which events come, one that is used
// already if possible.
func (p *prober) lanes() []*lane {
	b := p.feed.hub.broker
	if p.feed.lane != classicFeed {
		return []*lane{b.lane(p.feed.lane)}
	}
	var lanes []*lane
	for _, master := range b.view.Masters() {
		if l := b.laneOn(master); l != nil {
			lanes = append(lanes, l)
		}
	}
	return lanes
}

// arrived handles a probe. Those that went the same way before must have come before.
func (p *prober) arrived(payload string) {
	number, err := strconv.ParseUint(payload, 10, 64)
	if err != nil {
		return
	}
	p.feed.hub.mu.Lock()
	defer p.feed.hub.mu.Unlock()
	p.out = slices.DeleteFunc(p.out, func(pr *probe) bool { return pr.number == number })
}

// overdue returns an error if one of these probes has not come.
func (p *prober) overdue(numbers []uint64) error {
	p.feed.hub.mu.Lock()
	defer p.feed.hub.mu.Unlock()
	for _, pr := range p.out {
		if slices.Contains(numbers, pr.number) {
			p.feed.avoid = p.feed.link.To
			return fmt.Errorf("%w: those of lane %d, at %s", errEventsMissing, pr.lane.index, p.feed.avoid.Addr)
		}
	}
	return nil
}
