package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/juggler-go/juggler/broker"
)

// historyCases are about the optional interfaces that keep events.
var historyCases = []testCase{
	{"kept events", "On a channel that a rule keeps an event is kept whichever method publishes it, and has one position for all.", history, func(x *trial) {
		r, c := x.process(), x.kept("c")
		s := x.subscriber(x.process())
		start := s.subscribeKept(c)
		sent := []broker.Event{
			{ID: newID(), Channel: c, Headers: []byte(`{"tenant":"a"}`), Args: []byte(`"Publish"`)},
			{ID: newID(), Channel: c, Args: []byte(`"PublishKept"`)},
			{ID: newID(), Channel: c},
		}
		x.publishEvent(r, &sent[0])
		done := x.publishKept(r, broker.Publication{Event: sent[1]}, broker.Publication{Event: sent[2]})
		page := x.read(x.process(), broker.Read{Channel: c, After: start})
		got := s.exactly(len(sent))
		if !page.Proven || len(page.Events) != len(sent) {
			x.fatalf("%d events were read instead of %d, proven: %v", len(page.Events), len(sent), page.Proven)
		}
		for i, e := range page.Events {
			x.wantEvent(e.Event, sent[i])
			x.wantEvent(got[i].Event, sent[i])
			if got[i].Pos != e.Pos || i > 0 && done[i-1].Pos != e.Pos {
				x.errorf("event %d has the position %v, it was delivered with %v", i, e.Pos, got[i].Pos)
			}
			if e.Pos.At == 0 || e.Pos.At >= 1<<53 || i > 0 && (e.Pos.At <= page.Events[i-1].Pos.At || e.Pos.Tag == page.Events[i-1].Pos.Tag) {
				x.errorf("event %d has the position %v", i, e.Pos)
			}
		}
		if last := page.Events[len(sent)-1].Pos; page.Top != last {
			x.errorf("the channel stands at %v, its last event has %v", page.Top, last)
		}
	}},
	{"channels not kept", "On a channel that no rule keeps PublishKept is Publish, SubscribeKept is Subscribe, and nothing is read or proved.", history, func(x *trial) {
		r := x.process()
		if h := r.PubSub.(broker.History); h.Kept("c") || !h.Kept(x.kept("c")) {
			x.errorf("Kept is wrong of c or of %s", x.kept("c"))
		}
		s := x.subscriber(x.process())
		if start := s.subscribeKept("c"); !start.IsZero() {
			x.errorf("SubscribeKept returned %v", start)
		}
		done := x.publishKept(r, broker.Publication{Event: broker.Event{ID: newID(), Channel: "c", Args: []byte("1")}})
		if d := s.exactly(1)[0]; string(d.Event.Args) != "1" || !d.Pos.IsZero() || !done[0].Pos.IsZero() {
			x.errorf("%q arrived with %v; PublishKept returned %v", d.Event.Args, d.Pos, done[0].Pos)
		}
		for _, read := range []broker.Read{{Channel: "c", Last: 5}, {Channel: "c", After: broker.Position{At: 1, Tag: 1}}} {
			x.wantUnproven(x.read(r, read), "a channel that is not kept")
		}
	}},
	{"own channels not kept", "A rule that does not begin with the zero byte keeps no channel of the server's own, even one of a name that it has.", history, func(x *trial) {
		r, own := x.process(), broker.OwnChannel(x.kept("c"))
		if r.PubSub.(broker.History).Kept(own) {
			x.errorf("Kept is true of %q", own)
		}
		s := x.subscriber(x.process())
		if start := s.subscribeKept(own); !start.IsZero() {
			x.errorf("SubscribeKept returned %v", start)
		}
		done := x.publishKept(r, broker.Publication{Event: broker.Event{ID: newID(), Channel: own, Args: []byte("1")}})
		x.publish(r, x.kept("c"), "2")
		if d := s.exactly(1)[0]; string(d.Event.Args) != "1" || !d.Pos.IsZero() || !done[0].Pos.IsZero() {
			x.errorf("%q arrived with %v; PublishKept returned %v", d.Event.Args, d.Pos, done[0].Pos)
		}
		x.wantUnproven(x.read(r, broker.Read{Channel: own, Last: 5}), "a channel of the server's own")
	}},
	{"start of a subscription", "SubscribeKept returns where the channel stood before: what follows is delivered, and can be read after it.", history, func(x *trial) {
		r, c := x.process(), x.kept("c")
		for i := range 10 {
			s := x.subscriber(x.process())
			start := s.subscribeKept(c)
			x.publish(r, c, fmt.Sprint(i))
			d := s.exactly(1)[0]
			page := x.read(r, broker.Read{Channel: c, After: start})
			if !page.Proven || len(page.Events) != 1 || page.Events[0].Pos != d.Pos || string(d.Event.Args) != fmt.Sprint(i) {
				x.errorf("event %s with %v was delivered; after the start of %v were read %+v", d.Event.Args, d.Pos, start, page)
			}
		}
	}},
	{"pages", "A page that is proven begins right after its position, or with the first of the newest, lacks nothing, and keeps to Max and MaxBytes.", history, func(x *trial) {
		const many = 12
		r, c := x.process(), x.kept("c")
		pos := x.publishMany(r, c, many)
		for after := range many - 1 {
			for most := range 5 {
				x.wantPage(r, broker.Read{Channel: c, After: pos[after], Max: most}, pos, after+1, most)
			}
			x.wantPage(r, broker.Read{Channel: c, After: pos[after], MaxBytes: 1}, pos, after+1, 1)
			x.wantPage(r, broker.Read{Channel: c, After: pos[after], MaxBytes: 1 << 16}, pos, after+1, 0)
			x.wantPage(r, broker.Read{Channel: c, Last: after + 1}, pos, many-after-1, 0)
			x.wantPage(r, broker.Read{Channel: c, Last: after + 2, Max: 2}, pos, many-after-2, 2)
		}
		x.wantPage(r, broker.Read{Channel: c, After: pos[many-1]}, pos, many, 0)
		x.wantPage(r, broker.Read{Channel: c, Last: 1000}, pos, 0, 0)
	}},
	{"positions made up", "A position that the engine did not give out on the channel proves nothing, which is no error.", history, func(x *trial) {
		r, c, other := x.process(), x.kept("c"), x.kept("other")
		pos, elsewhere := x.publishMany(r, c, 8), x.publishMany(r, other, 8)
		a, last := pos[3], pos[7]
		for _, p := range []broker.Position{
			{At: a.At, Tag: a.Tag + 1}, {At: a.At, Tag: pos[4].Tag}, {At: a.At}, {Tag: a.Tag}, {At: 1, Tag: a.Tag},
			{At: last.At + 1, Tag: last.Tag}, {At: last.At + 1000, Tag: 1}, {At: 1<<53 - 1, Tag: 1}, {At: 1 << 63, Tag: 1}, {At: 1<<64 - 1, Tag: 1},
			elsewhere[0], elsewhere[7],
		} {
			x.wantUnproven(x.read(r, broker.Read{Channel: c, After: p}), fmt.Sprintf("%v, which is not of the channel,", p))
		}
	}},
	{"trimming", "The newest events are kept, as many as the rule says; a position from before them proves nothing.", history, func(x *trial) {
		r, c, most := x.process(), x.kept("c"), x.engine.History.Events
		pos := x.publishMany(r, c, 2*most+3)
		x.wantPage(r, broker.Read{Channel: c, Last: most + 3}, pos, len(pos)-most, 0)
		for i := range pos {
			read := broker.Read{Channel: c, After: pos[i]}
			if i >= len(pos)-most-1 {
				x.wantPage(r, read, pos, i+1, 0)
			} else {
				x.wantUnproven(x.read(r, read), fmt.Sprintf("event %d of %d", i, len(pos)))
			}
		}
	}},
	{"owner of a kept event", "The slices of a Publication belong to the publisher again when PublishKept returns, those of a Page to the reader.", history, func(x *trial) {
		r, c := x.process(), x.kept("c")
		var pages []broker.Page
		for i := range 10 {
			args := fmt.Append(nil, "event ", i)
			x.publishKept(r, broker.Publication{Event: broker.Event{ID: newID(), Channel: c, Args: args}})
			scribble(args)
			pages = append(pages, x.read(r, broker.Read{Channel: c, Last: i + 1}))
		}
		for n, page := range pages {
			for i, e := range page.Events {
				if want := fmt.Sprint("event ", i); string(e.Event.Args) != want {
					x.errorf("page %d has %q instead of %q", n, e.Event.Args, want)
				}
			}
		}
	}},
	{"keys", "A publication whose key the channel knows is neither kept nor delivered; its position is that of the first. With other args it is refused.", history, func(x *trial) {
		r, c, other := x.process(), x.kept("c"), x.kept("other")
		s := x.subscriber(x.process(), channel(c), channel(other))
		keyed := func(channel, key, args string) broker.Publication {
			return broker.Publication{Key: key, Event: broker.Event{ID: newID(), Channel: channel, Args: []byte(args)}}
		}
		h := r.PubSub.(broker.History)
		pubs := []broker.Publication{keyed(c, "k", "1"), keyed(c, "k", "1"), keyed(c, "k", "2"), keyed(c, "l", "1"), keyed(other, "k", "2"), keyed(c, "", "1"), keyed(c, "", "1")}
		done := make([]broker.Published, len(pubs))
		x.within(func(ctx context.Context) error { h.PublishKept(ctx, pubs, done); return nil })
		again := make([]broker.Published, 1)
		x.within(func(ctx context.Context) error {
			x.process().PubSub.(broker.History).PublishKept(ctx, []broker.Publication{keyed(c, "k", "1")}, again)
			return nil
		})
		for i, p := range append(done, again...) {
			if conflict := i == 2; errors.Is(p.Err, broker.ErrKeyConflict) != conflict || p.Err != nil && !conflict {
				x.errorf("publication %d: %v", i, p.Err)
			}
			if repeated := i == 1 || i == len(done); p.Repeated != repeated || repeated && p.Pos != done[0].Pos {
				x.errorf("publication %d: %+v, the first with its key: %+v", i, p, done[0])
			}
		}
		s.exactly(5)
		if page := x.read(r, broker.Read{Channel: c, Last: 10}); len(page.Events) != 4 {
			x.errorf("%d events are kept instead of 4", len(page.Events))
		}
	}},
	{"one order", "Deliveries of a channel are a chain, the same for all, whoever publishes at the same time: numbers grow, and no event comes twice.", history, func(x *trial) {
		const publishers, events = 4, 100
		c := x.kept("c")
		a, b := x.subscriber(x.process(), channel(c)), x.subscriber(x.process(), channel(c))
		x.concurrently(publishers, func(int) {
			r := x.process()
			for i := range events {
				x.publish(r, c, fmt.Sprint(i))
			}
		})
		all := a.exactly(publishers * events)
		x.wantChain(all)
		for i, d := range b.exactly(publishers * events) {
			if d.Pos != all[i].Pos {
				x.fatalf("delivery %d has %v for one and %v for another", i, all[i].Pos, d.Pos)
			}
		}
		page := x.read(x.process(), broker.Read{Channel: c, Last: 16})
		for i, e := range page.Events {
			if want := all[len(all)-len(page.Events)+i].Pos; e.Pos != want {
				x.fatalf("%v was read where %v was delivered", e.Pos, want)
			}
		}
	}},
	{"subscribe while others publish", "The first delivery after SubscribeKept is the event right after the position that it returned, or a Gap.", history, func(x *trial) {
		c := x.kept("c")
		all := x.subscriber(x.process(), channel(c))
		publisher, shared := x.process(), x.process()
		stop := x.repeat(func(i int) { x.publish(publisher, c, fmt.Sprint(i)) })
		all.await(1)
		type joined struct {
			start broker.Position
			got   []broker.Delivery
		}
		var mu sync.Mutex
		var joins []joined
		x.concurrently(3, func(int) {
			for range 15 {
				s := x.subscriber(shared)
				start := s.subscribeKept(c)
				s.await(3)
				s.close()
				mu.Lock()
				joins = append(joins, joined{start, s.deliveries()})
				mu.Unlock()
			}
		})
		order := all.exactly(stop())
		x.wantChain(order)
		for _, j := range joins {
			at := slices.IndexFunc(order, func(d broker.Delivery) bool { return d.Pos == j.start })
			for i, d := range j.got {
				if d.Gap {
					at = slices.IndexFunc(order, func(o broker.Delivery) bool { return o.Pos == d.Pos })
					continue
				}
				if at++; at == 0 || at >= len(order) || order[at].Pos != d.Pos {
					x.fatalf("delivery %d after the start %v is %v", i, j.start, d.Pos)
				}
			}
		}
	}},
	{"positions of patterns", "Deliveries for a pattern have no position.", history | patterns, func(x *trial) {
		c := x.kept("c")
		s := x.subscriber(x.process(), pattern(c+"*"), channel(c))
		x.publish(x.process(), c, "1")
		for _, d := range s.exactly(2) {
			if d.Pos.IsZero() != d.Topic.Pattern {
				x.errorf("an event of %+v has the position %v", d.Topic, d.Pos)
			}
		}
	}},
	{"rollback", "What the engine lost proves nothing any more, though numbers are given out again; subscriptions learn of it by a Gap, before which no number falls.", history | rollback, func(x *trial) {
		r, c := x.process(), x.kept("c")
		s := x.subscriber(x.process(), channel(c))
		before := x.publishMany(r, c, 6)
		s.await(6)
		x.engine.Rollback(c, 2)
		after := x.publishMany(r, c, 4)
		for _, lost := range before[4:] {
			x.wantUnproven(x.read(r, broker.Read{Channel: c, After: lost}), fmt.Sprintf("%v, which was lost,", lost))
		}
		x.wantPage(r, broker.Read{Channel: c, After: before[2]}, append(before[:4:4], after...), 3, 0)
		got := s.exactly(11)
		x.wantChain(got)
		if !got[6].Gap || got[6].Pos != before[3] {
			x.errorf("%+v came instead of a gap that goes on after %v", got[6], before[3])
		}
	}},
	{"events that cannot be kept", "An event that could not be kept comes after a Gap, without a position; no position from before it proves anything any more.", history | unkept, func(x *trial) {
		r, c := x.process(), x.kept("c")
		s := x.subscriber(x.process(), channel(c))
		before := x.publishMany(r, c, 3)
		x.engine.Unkept(func(args []byte) {
			e := broker.Event{ID: newID(), Channel: c, Args: args}
			if done := x.publishKept(r, broker.Publication{Event: e}); !done[0].Pos.IsZero() {
				x.errorf("what cannot be kept has the position %v", done[0].Pos)
			}
		})
		after := x.publishMany(r, c, 3)
		for _, p := range before {
			x.wantUnproven(x.read(r, broker.Read{Channel: c, After: p}), "what is before an event that is not kept")
		}
		x.wantPage(r, broker.Read{Channel: c, After: after[0]}, after, 1, 0)
		got := s.exactly(8)
		x.wantChain(got)
		if gap, e := got[3], got[4]; !gap.Gap || !gap.Pos.IsZero() || e.Gap || !e.Pos.IsZero() {
			x.errorf("gap %v of %v, then an event with %v, came for one that is not kept", gap.Gap, gap.Pos, e.Pos)
		}
	}},
}

// kept returns the name of a channel that the engine's rule keeps.
func (x *trial) kept(name string) string {
	return strings.TrimSuffix(x.engine.History.Channels, "*") + name
}

// subscribeKept subscribes to a channel.
func (s *subscriber) subscribeKept(channel string) (start broker.Position) {
	s.x.must("SubscribeKept", s.x.within(func(ctx context.Context) (err error) {
		start, err = s.conn.(broker.HistorySubscriber).SubscribeKept(ctx, channel)
		return err
	}))
	return start
}

// publishKept publishes events, which must succeed.
func (x *trial) publishKept(r Roles, events ...broker.Publication) []broker.Published {
	done := make([]broker.Published, len(events))
	x.within(func(ctx context.Context) error {
		r.PubSub.(broker.History).PublishKept(ctx, events, done)
		return nil
	})
	for _, d := range done {
		x.must("PublishKept", d.Err)
	}
	return done
}

// publishMany publishes events on a channel that is kept, whose args are their places, and
// returns their positions.
func (x *trial) publishMany(r Roles, channel string, n int) []broker.Position {
	events := make([]broker.Publication, n)
	for i := range events {
		events[i].Event = broker.Event{ID: newID(), Channel: channel, Args: fmt.Append(nil, i)}
	}
	pos := make([]broker.Position, n)
	for i, d := range x.publishKept(r, events...) {
		pos[i] = d.Pos
	}
	return pos
}

// read reads a page, which must succeed.
func (x *trial) read(r Roles, read broker.Read) broker.Page {
	var pages [1]broker.Page
	x.within(func(ctx context.Context) error {
		r.PubSub.(broker.History).ReadKept(ctx, []broker.Read{read}, pages[:])
		return nil
	})
	x.must("ReadKept", pages[0].Err)
	return pages[0]
}

// wantPage checks that a read brings the events of some positions, from one of them on, up
// to most; 0: up to the end.
func (x *trial) wantPage(r Roles, read broker.Read, all []broker.Position, from, most int) {
	want := all[from:]
	if most > 0 {
		want = want[:min(most, len(want))]
	}
	page := x.read(r, read)
	var got []broker.Position
	for _, e := range page.Events {
		got = append(got, e.Pos)
	}
	if !page.Proven || !slices.Equal(got, want) || page.Top != all[len(all)-1] {
		x.errorf("%+v brought %v up to %v, proven: %v; want %v", read, got, page.Top, page.Proven, want)
	}
}

func (x *trial) wantUnproven(page broker.Page, what string) {
	if page.Proven || len(page.Events) > 0 {
		x.errorf("%s is proven: %v, with %d events", what, page.Proven, len(page.Events))
	}
}

// wantChain checks that numbers grow, but for those after a gap, and that no tag is there
// twice.
func (x *trial) wantChain(deliveries []broker.Delivery) {
	var last broker.Position
	tags := make(map[uint64]bool)
	for i, d := range deliveries {
		if d.Gap || d.Pos.IsZero() {
			last = d.Pos
			continue
		}
		if d.Pos.At <= last.At || tags[d.Pos.Tag] {
			x.fatalf("delivery %d has %v after %v, its tag came before: %v", i, d.Pos, last, tags[d.Pos.Tag])
		}
		last, tags[d.Pos.Tag] = d.Pos, true
	}
}

func (x *trial) wantEvent(got, want broker.Event) {
	if got.ID != want.ID || got.Channel != want.Channel || !bytes.Equal(got.Headers, want.Headers) || !bytes.Equal(got.Args, want.Args) {
		x.errorf("published %+v, got %+v", want, got)
	}
}
