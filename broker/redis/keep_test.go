package redis_test

import (
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
		"position is huge": {func() { c.Set(t.Context(), pos, strings.Repeat("\xff", 16)+"\x00\x00\x00\x00\x00\x00\x00\x01", 0) }, nil, false},
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
