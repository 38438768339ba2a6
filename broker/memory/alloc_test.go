package memory_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/race"
)

// wantNoAllocations runs f often and fails if it allocates in steady state.
func wantNoAllocations(t *testing.T, f func()) {
	t.Helper()
	for range 100 {
		f()
	}
	if n := testing.AllocsPerRun(1000, f); n != 0 && !race.Enabled {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestCallAllocatesNothing(t *testing.T) {
	for _, batch := range []int{1, 64} {
		t.Run(fmt.Sprint("batch=", batch), func(t *testing.T) {
			wantNoAllocations(t, newRig(t, batch).turn)
		})
	}
}

// Who joins a call with a key and reads its outcome allocates nothing.
func TestJoinAllocatesNothing(t *testing.T) {
	s := newKeyedSystem(t)
	a := attachment("k")
	s.attach(a, broker.CallNew)
	s.reply(broker.Result{To: s.take(s.callee, 1)[0].ReplyTo, Args: []byte("1")})
	reads, records := []broker.CallRead{{URI: "f", Key: a.Call.Key}}, make([]broker.CallRecord, 1)
	wantNoAllocations(t, func() {
		s.attach(a, broker.CallDone)
		s.node.ReadCalls(t.Context(), reads, records)
	})
}

func TestPublishAllocatesNothing(t *testing.T) {
	for _, topics := range [][]broker.Topic{
		{},
		{{Name: "news.go"}},
		{{Name: "news.go"}, {Name: "news.*", Pattern: true}, {Name: "*", Pattern: true}, {Name: "sport.*", Pattern: true}},
	} {
		t.Run(fmt.Sprint("topics=", len(topics)), func(t *testing.T) {
			b := newBroker(t)
			ctx := context.Background()
			for range 3 {
				s, err := b.OpenSubscriber(ctx, func([]broker.Delivery) {})
				if err != nil {
					t.Fatal(err)
				}
				for _, topic := range topics {
					if err := s.Subscribe(ctx, topic); err != nil {
						t.Fatal(err)
					}
				}
			}
			e := broker.Event{Channel: "news.go", Args: []byte(`{"title":"Go"}`)}
			wantNoAllocations(t, func() {
				if err := b.Publish(ctx, &e); err != nil {
					t.Fatal(err)
				}
			})
			events, errs := make([]broker.Event, 16), make([]error, 16)
			for i := range events {
				events[i] = e
			}
			wantNoAllocations(t, func() { b.PublishBatch(ctx, events, errs) })
		})
	}
}

// A large payload does not stay in memory for the small ones that follow.
func TestLargePayloadsAreNotKept(t *testing.T) {
	if kept := memory.Kept(1 << 10); kept == 0 {
		t.Error("a buffer of 1 KiB is not kept")
	}
	if kept := memory.Kept(1 << 20); kept != 0 {
		t.Errorf("%d bytes are kept of a buffer of 1 MiB", kept)
	}
}
