package memory_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/race"
)

// Small payloads of a channel share memory, which nobody sees: neither who appends to one,
// nor who reads others while more come.
func TestPayloadsThatShareMemory(t *testing.T) {
	b := newBroker(t, keep(100))
	var pages [1]broker.Page
	held := map[string][2][]byte{} // what pages had, and what it was then
	for n := range 1000 {
		size := n * 37 % 300
		e := broker.Event{Channel: "room.7", Args: fmt.Appendf(nil, `"%d%s"`, n, strings.Repeat("x", size))}
		if n%3 == 0 {
			e.Headers = fmt.Appendf(nil, `{"n":"%d"}`, n)
		}
		if err := b.Publish(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		b.ReadKept(t.Context(), []broker.Read{{Channel: "room.7", Last: 1}}, pages[:])
		got := pages[0].Events[0].Event
		if !bytes.Equal(got.Args, e.Args) || !bytes.Equal(got.Headers, e.Headers) {
			t.Fatalf("event %d is %s %s, want %s %s", n, got.Headers, got.Args, e.Headers, e.Args)
		}
		_, _ = append(got.Args, "other"...), append(got.Headers, "other"...)
		held[fmt.Sprint(n, " args")] = [2][]byte{got.Args, e.Args}
		held[fmt.Sprint(n, " headers")] = [2][]byte{got.Headers, e.Headers}
	}
	for what, is := range held {
		if !bytes.Equal(is[0], is[1]) {
			t.Errorf("%s became %q, want %q", what, is[0], is[1])
		}
	}
}

// Sharing saves allocations and takes little memory, whatever sizes come.
func TestCostOfSharing(t *testing.T) {
	const channels, most = 100, 64
	b := newBroker(t, keep(most))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for n := range 10 * most {
		size := 1
		if n%33 == 0 { // begins a piece of memory for large ones each time the one of before is full
			size = 256
		}
		e := broker.Event{Args: bytes.Repeat([]byte("1"), size)}
		for c := range channels {
			e.Channel = fmt.Sprint("room.", c)
			if err := b.Publish(t.Context(), &e); err != nil {
				t.Fatal(err)
			}
		}
	}
	counted := b.Stats().KeptBytes
	if grown := int64(heap() - before); grown > 2*counted {
		t.Errorf("%d bytes for %d that are counted", grown, counted)
	}
	e := broker.Event{Channel: "room.1", Args: bytes.Repeat([]byte("1"), 128)}
	if n := testing.AllocsPerRun(1600, func() { b.Publish(t.Context(), &e) }); n > 0.1 && !race.Enabled {
		t.Errorf("%v allocations for an event", n)
	}
}
