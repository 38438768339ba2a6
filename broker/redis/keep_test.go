package redis_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// roomRule keeps few events of channels whose names begin with "room.".
var roomRule = broker.HistoryRule{Channels: "room.*", Events: 4, For: time.Hour}

// publishKept publishes events on room.7 whose args are their places.
func publishKept(t *testing.T, b *redis.Broker, n int) []broker.Published {
	t.Helper()
	events, done := make([]broker.Publication, n), make([]broker.Published, n)
	for i := range events {
		events[i].Event = broker.Event{Channel: "room.7", Args: fmt.Append(nil, i)}
	}
	b.PublishKept(t.Context(), events, done)
	for _, d := range done {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	return done
}

// Events on a channel with a rule get numbers in a row and tags, and as many are kept as
// the rule says, whichever method publishes them.
func TestKeep(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, withAddr(server.Addr), redis.WithHistory(roomRule))
	done := publishKept(t, b, 3)
	if err := b.Publish(t.Context(), &broker.Event{Channel: "room.7"}); err != nil {
		t.Fatal(err)
	}
	done = append(done, publishKept(t, b, 2)...)
	if got := done[4].Pos.At - done[0].Pos.At; got != 5 {
		t.Errorf("the last event has a number %d above the first, want 5", got)
	}
	c := server.Client()
	if n := c.LLen(t.Context(), "juggler:{0.0}:log:room.7").Val(); n != 4 {
		t.Errorf("%d events are kept, want 4", n)
	}
	if left := c.PTTL(t.Context(), "juggler:{0.0}:log:room.7").Val(); left > time.Hour || left < 50*time.Minute {
		t.Errorf("the log expires in %v", left)
	}
	if left := c.PTTL(t.Context(), "juggler:{0.0}:pos:room.7").Val(); left > 25*time.Hour || left < 24*time.Hour {
		t.Errorf("the position expires in %v", left)
	}
}

func read(t *testing.T, b *redis.Broker, reads ...broker.Read) []broker.Page {
	t.Helper()
	pages := make([]broker.Page, len(reads))
	b.ReadKept(t.Context(), reads, pages)
	for _, p := range pages {
		if p.Err != nil {
			t.Fatal(p.Err)
		}
	}
	return pages
}

// wantArgs checks that a page is proven and has the events with these args.
func wantArgs(t *testing.T, what string, p broker.Page, args ...string) {
	t.Helper()
	var got []string
	for _, e := range p.Events {
		got = append(got, string(e.Event.Args))
	}
	if !p.Proven || !slices.Equal(got, args) {
		t.Errorf("%s: proven %v, %q, want %q", what, p.Proven, got, args)
	}
}

func wantUnproven(t *testing.T, what string, p broker.Page) {
	t.Helper()
	if p.Proven || len(p.Events) > 0 {
		t.Errorf("%s is proven: %v, with %d events", what, p.Proven, len(p.Events))
	}
}

// What is missing in a log, or was changed by hand, proves nothing, and the channel goes
// on with a life that can be proved.
func TestDamagedHistory(t *testing.T) {
	server := redistest.Start(t)
	c := server.Client()
	const log, pos = "juggler:{0.0}:log:room.7", "juggler:{0.0}:pos:room.7"
	for name, test := range map[string]struct {
		damage func()
		proven []int // after the events at these places, before others come
		goesOn bool  // in the same life
	}{
		"nothing":          {func() {}, []int{0, 1, 2, 3}, true},
		"no position":      {func() { c.Del(t.Context(), pos) }, nil, false},
		"no log":           {func() { c.Del(t.Context(), log) }, []int{3}, true},
		"neither":          {func() { c.Del(t.Context(), log, pos) }, nil, false},
		"the newest gone":  {func() { c.RPop(t.Context(), log) }, []int{3}, true},
		"one gone":         {func() { c.LRem(t.Context(), log, 1, c.LIndex(t.Context(), log, 1).Val()) }, []int{1, 2, 3}, true},
		"one replaced":     {func() { c.LSet(t.Context(), log, 2, "x") }, []int{2, 3}, true},
		"position is list": {func() { c.Del(t.Context(), pos); c.RPush(t.Context(), pos, "x") }, nil, false},
		"position is odd":  {func() { c.Set(t.Context(), pos, "x", 0) }, nil, false},
		"position is huge": {func() { c.Set(t.Context(), pos, strings.Repeat("\xff", 16)+c.Get(t.Context(), pos).Val()[16:], 0) }, nil, false},
		"log is string":    {func() { c.Set(t.Context(), log, "x", 0) }, []int{3}, false},
		"everything":       {func() { c.FlushAll(t.Context()) }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.FlushAll(t.Context())
			b := newBroker(t, withAddr(server.Addr), redis.WithHistory(roomRule))
			before := publishKept(t, b, 4)
			test.damage()
			for i, d := range before {
				page := read(t, b, broker.Read{Channel: "room.7", After: d.Pos})[0]
				if want := slices.Contains(test.proven, i); page.Proven != want {
					t.Errorf("after event %d: proven %v, want %v", i, page.Proven, want)
				}
			}
			publishKept(t, b, 1)
			after := publishKept(t, b, 2)
			wantArgs(t, "what came later", read(t, b, broker.Read{Channel: "room.7", After: after[0].Pos})[0], "1")
			if goesOn := read(t, b, broker.Read{Channel: "room.7", After: before[3].Pos})[0].Proven; goesOn != test.goesOn {
				t.Errorf("the last event before is still proven: %v, want %v", goesOn, test.goesOn)
			}
			if after[0].Pos.At <= before[3].Pos.At {
				t.Errorf("number %d after %d", after[0].Pos.At, before[3].Pos.At)
			}
		})
	}
}

// Out of memory events are published all the same. Of their channels nothing is kept then,
// and nothing of before is proved; others keep what they have. Afterwards they are kept
// again.
func TestKeepOutOfMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, withAddr(server.Addr), redis.WithHistory(roomRule))
	room := func(name, args, key string) broker.Publication {
		return broker.Publication{Event: broker.Event{Channel: "room." + name, Args: []byte(args)}, Key: key}
	}
	batch := []broker.Publication{room("7", "1", ""), room("8", "2", "k"), room("7", "3", ""), room("8", "2", "k")}
	done := make([]broker.Published, len(batch))
	publish := func() {
		t.Helper()
		b.PublishKept(t.Context(), batch, done)
		for _, d := range done {
			if d.Err != nil {
				t.Fatal(d.Err)
			}
		}
	}
	before := publishKept(t, b, 2)
	other := make([]broker.Published, 1)
	b.PublishKept(t.Context(), []broker.Publication{room("9", "1", "")}, other)
	heard := make(chan broker.Delivery, 10)
	s, err := b.OpenSubscriber(t.Context(), func(deliveries []broker.Delivery) {
		for _, d := range deliveries {
			if !d.Gap {
				heard <- d
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"room.7", "room.8"} {
		if err := s.Subscribe(t.Context(), broker.Topic{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	server.Do("CONFIG", "SET", "maxmemory", "1")
	publish()
	for i, d := range done {
		if !d.Pos.IsZero() || d.Repeated != (i == 3) {
			t.Errorf("publication %d has become %+v", i, d)
		}
	}
	for range 3 {
		if d := <-heard; !d.Pos.IsZero() {
			t.Errorf("an event that is not kept has the position %v", d.Pos)
		}
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	publish()
	if done[0].Pos.IsZero() || done[2].Pos.At != done[0].Pos.At+1 {
		t.Errorf("they were kept at %v and %v", done[0].Pos, done[2].Pos)
	}
	if !done[1].Repeated || !done[1].Pos.IsZero() {
		t.Errorf("a key of an event that was not kept: %+v", done[1])
	}
	pages := read(t, b, broker.Read{Channel: "room.7", After: before[1].Pos}, broker.Read{Channel: "room.7", Last: 9}, broker.Read{Channel: "room.9", After: other[0].Pos})
	wantUnproven(t, "what was before", pages[0])
	wantArgs(t, "what was kept since", pages[1], "1", "3")
	wantArgs(t, "another channel", pages[2])
}

// Where the server refuses writes, as its disk is full, nothing older can be removed either:
// then an event is refused, and certainly not published. Others go on.
func TestKeepWritesRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, withAddr(server.Addr), redis.WithHistory(roomRule))
	before := publishKept(t, b, 2)
	server.RefuseWrites(redistest.DiskFull)
	done := make([]broker.Published, 1)
	b.PublishKept(t.Context(), []broker.Publication{{Event: broker.Event{Channel: "room.7", Args: []byte("x")}}}, done)
	if !errors.Is(done[0].Err, broker.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", done[0].Err)
	}
	if err := b.Publish(t.Context(), &broker.Event{Channel: "news"}); err != nil {
		t.Errorf("an event on another channel: %v", err)
	}
	page := read(t, b, broker.Read{Channel: "room.7", After: before[1].Pos})[0]
	if !page.Proven {
		t.Error("what is kept is not proved any more")
	}
}

// However large events are and however many are asked for, a page has at least one, and a
// command no more than its share: the next read goes on behind it.
func TestReadMuch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, calm(withAddr(server.Addr), redis.WithHistory(broker.HistoryRule{Channels: "*", Events: 5000, For: time.Hour}))...)
	for _, test := range []struct {
		channel            string
		events, size, page int
	}{{"small", 1500, 1, 1000}, {"large", 3, 700_000, 1}, {"larger", 2, 2 << 20, 1}} {
		publications := make([]broker.Publication, test.events)
		for i := range publications {
			args := bytes.Repeat([]byte("1"), test.size)
			publications[i].Event = broker.Event{Channel: test.channel, Args: args}
		}
		done := make([]broker.Published, test.events)
		b.PublishKept(t.Context(), publications, done)
		for _, d := range done {
			if d.Err != nil {
				t.Fatal(d.Err)
			}
		}
		after := done[0].Pos
		for at := 1; at < test.events; {
			page := read(t, b, broker.Read{Channel: test.channel, After: after})[0]
			if want := min(test.page, test.events-at); !page.Proven || len(page.Events) != want || page.Top != done[test.events-1].Pos {
				t.Fatalf("%s: after event %d of %d came %d, proven: %v", test.channel, at-1, test.events, len(page.Events), page.Proven)
			}
			at += len(page.Events)
			after = page.Events[len(page.Events)-1].Pos
			if after != done[at-1].Pos {
				t.Fatalf("%s: event %d has %v, want %v", test.channel, at-1, after, done[at-1].Pos)
			}
		}
	}
	many := make([]broker.Read, 600)
	for i := range many {
		many[i] = broker.Read{Channel: "small", Last: 5}
	}
	for i, page := range read(t, b, broker.Read{Channel: "large", Last: 5}, broker.Read{Channel: "large", Last: 5}, broker.Read{Channel: "larger", Last: 5}) {
		if !page.Proven || len(page.Events) != 1 {
			t.Errorf("large page %d of several: proven %v, %d events", i, page.Proven, len(page.Events))
		}
	}
	before := server.Client().Info(t.Context(), "commandstats").Val()
	for i, page := range read(t, b, many...) {
		if !page.Proven || len(page.Events) == 0 {
			t.Errorf("read %d of many: proven %v, %d events", i, page.Proven, len(page.Events))
		}
	}
	after := server.Client().Info(t.Context(), "commandstats").Val()
	if got := count(after, "evalsha") - count(before, "evalsha"); got != 3 {
		t.Errorf("600 reads took %d scripts, want 3", got)
	}
}

// count returns how often a command was called.
func count(stats, command string) (calls int) {
	_, rest, _ := strings.Cut(stats, "cmdstat_"+command+":calls=")
	fmt.Sscan(strings.Split(rest, ",")[0], &calls) //nolint:errcheck // 0 then
	return calls
}

// A publication whose reply was lost is made again by its key, and not made twice.
func TestKeepReplyLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	b := newBroker(t, quick(withAddr(proxy.Addr), redis.WithHistory(roomRule))...)
	before := publishKept(t, b, 1)
	done := make([]broker.Published, 1)
	publish := func() {
		b.PublishKept(t.Context(), []broker.Publication{{Event: broker.Event{Channel: "room.7", Args: []byte("x")}, Key: "k"}}, done)
	}
	proxy.Swallow(func([]byte) bool { return true })
	publish()
	if !errors.Is(done[0].Err, broker.ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrUnknownOutcome", done[0].Err)
	}
	proxy.Restore()
	await(t, "it is published again", func() bool { publish(); return done[0].Err == nil })
	page := read(t, b, broker.Read{Channel: "room.7", After: before[0].Pos})[0]
	wantArgs(t, "what is kept", page, "x")
	if !done[0].Repeated || done[0].Pos != page.Top {
		t.Errorf("the second has become %+v, the first is at %v", done[0], page.Top)
	}
}
