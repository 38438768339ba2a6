package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/race"
)

// keep is an option that keeps events of the channels that begin with "room.".
func keep(events int) memory.Option {
	return memory.WithHistory(broker.HistoryRule{Channels: "room.*", Events: events, For: time.Minute})
}

// publishKept publishes an event, which must be kept, with a key or "".
func publishKept(t testing.TB, b *memory.Broker, channel, args, key string) broker.Position {
	t.Helper()
	p := tryKept(b, channel, args, key)
	if p.Err != nil || p.Pos.IsZero() {
		t.Fatalf("publishing on %s: %+v", channel, p)
	}
	return p.Pos
}

func tryKept(b *memory.Broker, channel, args, key string) broker.Published {
	var done [1]broker.Published
	e := broker.Event{ID: broker.NewID(), Channel: channel, Args: []byte(args)}
	b.PublishKept(context.Background(), []broker.Publication{{Event: e, Key: key}}, done[:])
	return done[0]
}

func read(b *memory.Broker, r broker.Read) broker.Page {
	var pages [1]broker.Page
	b.ReadKept(context.Background(), []broker.Read{r}, pages[:])
	return pages[0]
}

// argsOf returns the args of events with blanks between.
func argsOf(events []broker.KeptEvent) string {
	var all []string
	for _, e := range events {
		all = append(all, string(e.Event.Args))
	}
	return strings.Join(all, " ")
}

// wantPage checks the answer to a read; unproven stands for a page that is not proven.
func wantPage(t testing.TB, b *memory.Broker, r broker.Read, want string) {
	t.Helper()
	p := read(b, r)
	if p.Err != nil || p.Proven != (want != unproven) || argsOf(p.Events) != strings.TrimPrefix(want, unproven) {
		t.Errorf("%+v brought %q, proven %v, error %v; want %q", r, argsOf(p.Events), p.Proven, p.Err, want)
	}
}

const unproven = "unproven"

// recorder opens a subscriber that notes what it gets of one channel, gaps as "gap".
func recorder(t testing.TB, b *memory.Broker, channel string) (start broker.Position, got *[]broker.Delivery) {
	t.Helper()
	got = new([]broker.Delivery)
	s, err := b.OpenSubscriber(t.Context(), func(batch []broker.Delivery) { *got = append(*got, batch...) })
	if err != nil {
		t.Fatal(err)
	}
	start, err = s.(broker.HistorySubscriber).SubscribeKept(t.Context(), channel)
	if err != nil {
		t.Fatal(err)
	}
	return start, got
}

func listed(deliveries []broker.Delivery) string {
	var all []string
	for _, d := range deliveries {
		if d.Gap {
			all = append(all, "gap")
		} else {
			all = append(all, string(d.Event.Args))
		}
	}
	return strings.Join(all, " ")
}

// Events are gone when their time is over, and with them their memory; that nothing came
// after the last of them can be proved for a day.
func TestHistoryExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, keep(10))
		first := publishKept(t, b, "room.7", "1", "")
		time.Sleep(59 * time.Second)
		last := publishKept(t, b, "room.7", "2", "")
		time.Sleep(59 * time.Second)
		wantPage(t, b, broker.Read{Channel: "room.7", After: first}, "2")
		time.Sleep(time.Second)
		wantPage(t, b, broker.Read{Channel: "room.7", After: first}, unproven)
		wantPage(t, b, broker.Read{Channel: "room.7", Last: 10}, "")
		wantPage(t, b, broker.Read{Channel: "room.7", After: last}, "")
		third := publishKept(t, b, "room.7", "3", "")
		wantPage(t, b, broker.Read{Channel: "room.7", After: last}, "3")
		synctest.Wait()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if channels, events, _, bytes, sum := b.HeldHistory(); channels != 1 || events != 0 || bytes != sum {
			t.Errorf("%d channels and %d events are held, in %d bytes, which are %d", channels, events, bytes, sum)
		}
		time.Sleep(23 * time.Hour)
		wantPage(t, b, broker.Read{Channel: "room.7", After: third}, "")
		time.Sleep(time.Hour)
		synctest.Wait()
		if channels, _, _, bytes, _ := b.HeldHistory(); channels != 0 || bytes != 0 {
			t.Errorf("%d channels are held, in %d bytes", channels, bytes)
		}
		wantPage(t, b, broker.Read{Channel: "room.7", After: third}, unproven)
		if next := publishKept(t, b, "room.7", "4", ""); next.At <= third.At {
			t.Errorf("a new life has the number %d, the last one had %d", next.At, third.At)
		}
	})
}

// A new life is above the last one, although the clock stands still.
func TestNumbersOfNewLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, keep(10), memory.WithMaxHistoryBytes(64<<10))
		large := strings.Repeat("x", 50<<10)
		var before broker.Position
		for i := range 20 {
			pos := publishKept(t, b, "room.7", "1", "")
			if pos.At <= before.At {
				t.Errorf("number %d follows %d", pos.At, before.At)
			}
			if i == 0 {
				if now := uint64(time.Now().UnixMicro()); pos.At != now+1 {
					t.Errorf("the first number is %d at %d µs", pos.At, now)
				}
			}
			wantPage(t, b, broker.Read{Channel: "room.7", After: before}, unproven)
			before = publishKept(t, b, "room.7", "2", "")
			publishKept(t, b, fmt.Sprint("room.evicts.", i), large, "") // the events
			for i := range 40 {
				publishKept(t, b, fmt.Sprint("room.evicts.", i), "", "") // and the position
			}
			wantPage(t, b, broker.Read{Channel: "room.7", After: before}, unproven)
		}
	})
}

// A key counts for five minutes, on its channel.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, keep(1))
		_, got := recorder(t, b, "room.7")
		first := tryKept(b, "room.7", "1", "k")
		publishKept(t, b, "room.7", "2", "") // the first is not kept any more
		time.Sleep(broker.KeyLife - 1)
		if p := tryKept(b, "room.7", "1", "k"); p != (broker.Published{Pos: first.Pos, Repeated: true}) {
			t.Errorf("repeated: %+v, first %+v", p, first)
		}
		if p := tryKept(b, "room.7", "3", "k"); !errors.Is(p.Err, broker.ErrKeyConflict) {
			t.Errorf("other args: %+v", p)
		}
		publishKept(t, b, "room.8", "1", "k")
		publishKept(t, b, "room.7", "4", "other")
		if g := listed(*got); g != "1 2 4" {
			t.Errorf("delivered %s", g)
		}
		time.Sleep(1 * time.Nanosecond)
		if p := tryKept(b, "room.7", "3", "k"); p.Err != nil || p.Repeated {
			t.Errorf("after five minutes: %+v", p)
		}
		time.Sleep(broker.KeyLife)
		synctest.Wait()
		if _, _, keys, bytes, sum := b.HeldHistory(); keys != 0 || bytes != sum {
			t.Errorf("%d keys are held, in %d bytes, which are %d", keys, bytes, sum)
		}
	})
}

// Beyond the bound the channels go that were used least recently; what is left of them
// proves nothing that is not so.
func TestHistoryBytes(t *testing.T) {
	b := newBroker(t, keep(1000), memory.WithMaxHistoryBytes(64<<10))
	kilobyte := strings.Repeat("x", 1<<10)
	var starts, ends []broker.Position
	for i := range 20 {
		channel := fmt.Sprint("room.", i)
		starts = append(starts, publishKept(t, b, channel, kilobyte, fmt.Sprint("key ", i)))
		for range 4 {
			publishKept(t, b, channel, kilobyte, "")
		}
		ends = append(ends, publishKept(t, b, channel, "end", ""))
		if _, _, _, bytes, sum := b.HeldHistory(); bytes > 64<<10 || bytes != sum {
			t.Fatalf("%d bytes are held, which are %d", bytes, sum)
		}
	}
	for i, start := range starts {
		p := read(b, broker.Read{Channel: fmt.Sprint("room.", i), After: start})
		if want := i > 12; p.Proven != want && (i < 8 || want) {
			t.Errorf("channel %d: proven %v", i, p.Proven)
		}
		if p.Proven && len(p.Events) != 5 {
			t.Errorf("channel %d: %d events", i, len(p.Events))
		}
	}
	wantPage(t, b, broker.Read{Channel: "room.19", After: ends[19]}, "")

	// One channel that is too large by itself loses its oldest events.
	var all []broker.Position
	for range 100 {
		all = append(all, publishKept(t, b, "room.large", kilobyte, ""))
	}
	if p := read(b, broker.Read{Channel: "room.large", After: all[0]}); p.Proven {
		t.Error("the first of 100 is known")
	}
	if p := read(b, broker.Read{Channel: "room.large", After: all[70]}); len(p.Events) != 29 {
		t.Errorf("%d events follow the 71st", len(p.Events))
	}
}

// Who only subscribes takes the place of no event.
func TestSubscriptionsEvictNothing(t *testing.T) {
	b := newBroker(t, keep(10), memory.WithMaxHistoryBytes(64<<10))
	first := publishKept(t, b, "room.7", "1", "")
	publishKept(t, b, "room.7", "2", "")
	s, err := b.OpenSubscriber(t.Context(), func([]broker.Delivery) {})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if _, err := s.(broker.HistorySubscriber).SubscribeKept(t.Context(), fmt.Sprint("room.made.up.", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, bytes, sum := b.HeldHistory(); bytes > 64<<10 || bytes != sum {
		t.Errorf("%d bytes are held, which are %d", bytes, sum)
	}
	wantPage(t, b, broker.Read{Channel: "room.7", After: first}, "2")
}

// A subscriber that is too far behind gets a gap that says where it goes on.
func TestSlowSubscriberGetsGap(t *testing.T) {
	b := newBroker(t, keep(10_000))
	begun, release := make(chan struct{}), make(chan struct{})
	hold := sync.OnceFunc(func() { close(begun); <-release })
	var mu sync.Mutex
	var got []broker.Delivery
	s, err := b.OpenSubscriber(t.Context(), func(batch []broker.Delivery) {
		hold()
		mu.Lock()
		defer mu.Unlock()
		got = append(got, batch...)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Subscribe(t.Context(), broker.Topic{Name: "room.7"}); err != nil {
		t.Fatal(err)
	}
	var publishing sync.WaitGroup
	publishing.Go(func() { publishKept(t, b, "room.7", "0", "") })
	<-begun
	var all []broker.Position
	events, done := make([]broker.Publication, 5000), make([]broker.Published, 5000)
	for i := range events {
		events[i].Event = broker.Event{Channel: "room.7"}
	}
	b.PublishKept(t.Context(), events, done)
	for _, d := range done {
		all = append(all, d.Pos)
	}
	close(release)
	publishing.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(got) < 3 || !got[1].Gap {
		t.Fatalf("%d deliveries, no gap", len(got))
	}
	i := slices.Index(all, got[1].Pos)
	if i < 0 || len(got[2:]) != len(all)-i-1 {
		t.Fatalf("%d events follow the gap after event %d", len(got[2:]), i+1)
	}
	for k, d := range got[2:] {
		if d.Pos != all[i+1+k] {
			t.Fatalf("delivery %d has %v instead of %v", k, d.Pos, all[i+1+k])
		}
	}
}

// An event that is published on its own channel from within a callback comes after the
// one that caused it, to all.
func TestPublishInCallbackOfChannel(t *testing.T) {
	b := newBroker(t, keep(100))
	var lists [2]string
	for i := range lists {
		s, err := b.OpenSubscriber(t.Context(), func(batch []broker.Delivery) {
			for _, d := range batch {
				lists[i] += string(d.Event.Args) + " "
				if i == 0 && len(d.Event.Args) < 4 {
					publishKept(t, b, "room.7", string(d.Event.Args)+"x", "")
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Subscribe(t.Context(), broker.Topic{Name: "room.7"}); err != nil {
			t.Fatal(err)
		}
	}
	publishKept(t, b, "room.7", "x", "")
	for _, got := range lists {
		if got != "x xx xxx xxxx " {
			t.Errorf("delivered %s", got)
		}
	}
}

// A publisher does not deliver for others without end.
func TestPublisherReturns(t *testing.T) {
	b := newBroker(t, keep(100))
	all := make(chan struct{})
	n := 0
	s, err := b.OpenSubscriber(t.Context(), func(batch []broker.Delivery) {
		for range batch {
			if n++; n == 1000 {
				close(all)
			}
			if n < 1000 {
				publishKept(t, b, "room.7", "", "") // there is always one more
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Subscribe(t.Context(), broker.Topic{Name: "room.7"}); err != nil {
		t.Fatal(err)
	}
	publishKept(t, b, "room.7", "", "")
	<-all
}

// A callback that panics does not end the deliveries of its channel.
func TestPanicOnKeptChannel(t *testing.T) {
	b := newBroker(t, keep(100))
	_, got := recorder(t, b, "room.7")
	s, err := b.OpenSubscriber(t.Context(), func([]broker.Delivery) { panic("user code") })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Subscribe(t.Context(), broker.Topic{Name: "room.7"}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			publishKept(t, b, "room.7", fmt.Sprint(i), "")
		}()
	}
	if g := listed(*got); g != "0 1" {
		t.Errorf("delivered %s", g)
	}
}

// Channels that no rule keeps cost no allocation where there are rules, kept ones those of
// what is kept.
func TestPublishBesideHistory(t *testing.T) {
	b := newBroker(t, keep(10))
	s, err := b.OpenSubscriber(t.Context(), func([]broker.Delivery) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []broker.Topic{{Name: "news.go"}, {Name: "room.7"}, {Name: "*", Pattern: true}} {
		if err := s.Subscribe(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	events, errs := make([]broker.Event, 16), make([]error, 16)
	for i := range events {
		events[i] = broker.Event{Channel: "news.go", Args: []byte(`{"title":"Go"}`)}
	}
	wantNoAllocations(t, func() {
		if err := b.Publish(t.Context(), &events[0]); err != nil {
			t.Fatal(err)
		}
	})
	wantNoAllocations(t, func() { b.PublishBatch(t.Context(), events, errs) })
	events[0].Channel = "room.7"
	b.Publish(t.Context(), &events[0])
	if n := testing.AllocsPerRun(1000, func() { b.Publish(t.Context(), &events[0]) }); n > 1 && !race.Enabled {
		t.Errorf("%v allocations for an event that is kept", n)
	}
}

// A closed broker says so.
func TestHistoryClosed(t *testing.T) {
	b := newBroker(t, keep(10))
	pos := publishKept(t, b, "room.7", "1", "")
	b.Close()
	if p := tryKept(b, "room.7", "1", ""); !errors.Is(p.Err, broker.ErrClosed) {
		t.Errorf("PublishKept: %+v", p)
	}
	if p := read(b, broker.Read{Channel: "room.7", After: pos}); !errors.Is(p.Err, broker.ErrClosed) || p.Proven {
		t.Errorf("ReadKept: %+v", p)
	}
}

// Publishers who together are faster than what is delivered leave it time: where they do
// not, a subscriber that takes a few µs for an event loses most.
func TestPublishersLeaveTimeToDeliver(t *testing.T) {
	const publishers, events = 4, 5000
	b := newBroker(t, keep(10))
	got := 0
	s, err := b.OpenSubscriber(t.Context(), func(batch []broker.Delivery) {
		for _, d := range batch {
			if !d.Gap {
				got++
			}
			for began := time.Now(); time.Since(began) < 5*time.Microsecond; {
				continue
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Subscribe(t.Context(), broker.Topic{Name: "room.7"}); err != nil {
		t.Fatal(err)
	}
	var publishing sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for range events {
				publishKept(t, b, "room.7", "", "")
			}
		})
	}
	publishing.Wait()
	b.Close() // nothing is delivered any more
	if got < publishers*events/2 {
		t.Errorf("%d of %d events were delivered", got, publishers*events)
	}
}

// Rules keep channels of the server's own if they begin as those do, and only then.
func TestHistoryOfOwnChannels(t *testing.T) {
	for _, tt := range []struct {
		rules []string
		kept  []string // of the names "a", "\x00a" and "\x00user:1"
	}{
		{[]string{"*"}, []string{"a"}},
		{[]string{"a"}, []string{"a"}},
		{[]string{"*", "\x00user:*"}, []string{"a", "\x00user:1"}},
		{[]string{"\x00*", "*"}, []string{"a", "\x00a", "\x00user:1"}},
	} {
		var rules []broker.HistoryRule
		for _, r := range tt.rules {
			rules = append(rules, broker.HistoryRule{Channels: r, Events: 4, For: time.Hour})
		}
		b := newBroker(t, memory.WithHistory(rules...))
		for _, name := range []string{"a", "\x00a", "\x00user:1"} {
			if err := b.Publish(t.Context(), &broker.Event{Channel: name, Args: []byte("1")}); err != nil {
				t.Fatal(err)
			}
			var pages [1]broker.Page
			b.ReadKept(t.Context(), []broker.Read{{Channel: name, Last: 1}}, pages[:])
			want := slices.Contains(tt.kept, name)
			if b.Kept(name) != want || (len(pages[0].Events) == 1) != want {
				t.Errorf("rules for %q: %q is kept: %v, with %d events; want %v", tt.rules, name, b.Kept(name), len(pages[0].Events), want)
			}
		}
	}
}
