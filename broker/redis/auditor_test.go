package redis_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
)

// An auditor knows all that was published on kept channels, and what subscribers got. It
// finds what they were not told.
type auditor struct {
	t *testing.T

	mu        sync.Mutex // guards the following
	published map[string]map[broker.Position]string
}

// auditRule keeps all that a test publishes.
var auditRule = broker.HistoryRule{Channels: "audited.*", Events: 100_000, For: time.Hour}

func newAuditor(t *testing.T) *auditor {
	return &auditor{t: t, published: map[string]map[broker.Position]string{}}
}

// publish publishes an event, and reports whether that is confirmed.
func (a *auditor) publish(b *redis.Broker, channel, args string) bool {
	var done [1]broker.Published
	b.PublishKept(a.t.Context(), []broker.Publication{{Event: broker.Event{Channel: channel, Args: []byte(args)}}}, done[:])
	if done[0].Err != nil || done[0].Pos.IsZero() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.published[channel] == nil {
		a.published[channel] = map[broker.Position]string{}
	}
	a.published[channel][done[0].Pos] = args
	return true
}

// end publishes events until all subscribers hear them, as the first may be what a gap
// stands for, and returns when they have the last one and nobody looks for lost events any
// more, for which a life may end.
func (a *auditor) end(b *redis.Broker, channel string, subscribers ...*audited) {
	a.t.Helper()
	n := 0
	publish := func() bool { n++; return a.publish(b, channel, fmt.Sprint("end ", n)) }
	for ended := false; !ended; {
		for _, s := range subscribers {
			heard := len(s.deliveries(channel))
			await(a.t, "all go on", func() bool {
				publish()
				return slices.ContainsFunc(s.deliveries(channel)[heard:], func(d broker.Delivery) bool {
					return strings.HasPrefix(string(d.Event.Args), "end ")
				})
			})
		}
		await(a.t, "an event is confirmed", publish)
		last := fmt.Sprint("end ", n)
		ended = true
		for _, s := range subscribers {
			await(a.t, "all have the last event", func() bool { return s.has(channel, last) })
			await(a.t, "all was asked for", func() bool { return !b.Searching() && !s.broker.Searching() })
			list := s.deliveries(channel)
			ended = ended && string(list[len(list)-1].Event.Args) == last
		}
	}
}

// An audited subscriber keeps what it gets, by channels.
type audited struct {
	broker *redis.Broker
	conn   broker.SubscriberConn
	starts map[string]broker.Position

	mu  sync.Mutex // guards the following
	got map[string][]broker.Delivery
}

func (a *auditor) subscribe(b *redis.Broker, channels ...string) *audited {
	a.t.Helper()
	s := &audited{broker: b, starts: map[string]broker.Position{}, got: map[string][]broker.Delivery{}}
	var err error
	s.conn, err = b.OpenSubscriber(a.t.Context(), func(batch []broker.Delivery) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, d := range batch {
			d.Event.Args = bytes.Clone(d.Event.Args)
			s.got[d.Topic.Name] = append(s.got[d.Topic.Name], d)
		}
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { s.conn.Close() })
	for _, c := range channels {
		if s.starts[c], err = s.conn.(broker.HistorySubscriber).SubscribeKept(a.t.Context(), c); err != nil {
			a.t.Fatal(err)
		}
	}
	return s
}

// deliveries returns what came on a channel.
func (s *audited) deliveries(channel string) []broker.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got[channel])
}

// has reports whether an event came.
func (s *audited) has(channel, args string) bool {
	return slices.ContainsFunc(s.deliveries(channel), func(d broker.Delivery) bool { return string(d.Event.Args) == args })
}

// gaps returns how many gaps were told on a channel.
func (s *audited) gaps(channel string) (n int) {
	for _, d := range s.deliveries(channel) {
		if d.Gap {
			n++
		}
	}
	return n
}

// read reads a page, once the server answers.
func (a *auditor) read(b *redis.Broker, r broker.Read) broker.Page {
	a.t.Helper()
	var pages [1]broker.Page
	await(a.t, "a page is read", func() bool {
		b.ReadKept(a.t.Context(), []broker.Read{r}, pages[:])
		return pages[0].Err == nil
	})
	return pages[0]
}

// timeline returns the events that a channel's log has in the end.
func (a *auditor) timeline(b *redis.Broker, channel string) []broker.KeptEvent {
	a.t.Helper()
	var all []broker.KeptEvent
	for {
		r := broker.Read{Channel: channel, Last: auditRule.Events}
		if len(all) > 0 {
			r = broker.Read{Channel: channel, After: all[len(all)-1].Pos}
		}
		page := a.read(b, r)
		if !page.Proven {
			a.t.Fatalf("the log of %s is not proved", channel)
		}
		if all = append(all, page.Events...); len(page.Events) == 0 || all[len(all)-1].Pos == page.Top {
			return all
		}
	}
}

// audit checks that s got each event of a channel once and in order, that of what the log
// has nothing is missing without a gap in its place, that nobody went on from what the log
// lost without a gap, that no lost position is proved, and that there is a gap if the log has
// lost a confirmed event that s did not get. It returns how many events were confirmed that
// the log has lost.
func (a *auditor) audit(b *redis.Broker, s *audited, channel string) (lost int) {
	a.t.Helper()
	timeline := a.timeline(b, channel)
	place := map[broker.Position]int{}
	for i, e := range timeline {
		place[e.Pos] = i
	}
	seen := map[uint64]bool{}
	last, gap := s.starts[channel], false
	unknown := last.IsZero() // the server did not answer who subscribed: the chain begins with what comes
	for i, d := range s.deliveries(channel) {
		at, there := place[d.Pos]
		switch {
		case d.Gap:
			last, gap, unknown = d.Pos, true, false
			continue
		case seen[d.Pos.Tag]:
			a.t.Fatalf("%s: delivery %d, %q, came before", channel, i, d.Event.Args)
		case unknown:
		case !gap && d.Pos.At != last.At+1:
			a.t.Fatalf("%s: delivery %d, %q, has %v after %v", channel, i, d.Event.Args, d.Pos, last)
		case there && at > 0 && last != timeline[at-1].Pos:
			a.t.Fatalf("%s: delivery %d, %q, with %v came after %v, in the log it is after %v", channel, i, d.Event.Args, d.Pos, last, timeline[at-1].Pos)
		case there && string(timeline[at].Event.Args) != string(d.Event.Args):
			a.t.Fatalf("%s: delivery %d is %q, in the log it is %q", channel, i, d.Event.Args, timeline[at].Event.Args)
		}
		seen[d.Pos.Tag] = true
		last, gap, unknown = d.Pos, false, false
	}
	if top := timeline[len(timeline)-1].Pos; last != top {
		a.t.Fatalf("%s: the deliveries end with %v, the log with %v", channel, last, top)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for pos, args := range a.published[channel] {
		if _, there := place[pos]; there {
			continue
		}
		lost++
		if pos.At > s.starts[channel].At && !s.has(channel, args) && s.gaps(channel) == 0 {
			a.t.Errorf("%s: the event %q at %v was confirmed, and lost in silence", channel, args, pos)
		}
		if a.read(b, broker.Read{Channel: channel, After: pos}).Proven {
			a.t.Errorf("%s: the position %v of %q, which was lost, is proved", channel, pos, args)
		}
	}
	return lost
}
