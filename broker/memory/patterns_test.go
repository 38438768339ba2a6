package memory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A publication costs nothing for patterns that begin in another way.
func TestPatternsOfOtherChannels(t *testing.T) {
	ctx := context.Background()
	events := make(map[int]func()) // publish one, by how many patterns there are
	for _, patterns := range []int{1, 10_000} {
		b := newBroker(t)
		delivered := 0
		s, err := b.OpenSubscriber(ctx, func(batch []broker.Delivery) { delivered += len(batch) })
		if err != nil {
			t.Fatal(err)
		}
		for i := range patterns {
			if err := s.Subscribe(ctx, broker.Topic{Name: fmt.Sprintf("user.%d.*", i), Pattern: true}); err != nil {
				t.Fatal(err)
			}
		}
		event := &broker.Event{Channel: "user.0.mail", Args: []byte("1")}
		events[patterns] = func() {
			had := delivered
			if err := b.Publish(ctx, event); err != nil || delivered != had+1 {
				t.Fatalf("%d deliveries, and %v", delivered-had, err)
			}
		}
	}
	least := make(map[int]time.Duration)
	for range 20 { // the least of interleaved runs: others use the processor, too
		for patterns, publish := range events {
			began := time.Now()
			for range 20 {
				publish()
			}
			if took := time.Since(began); least[patterns] == 0 || took < least[patterns] {
				least[patterns] = took
			}
		}
	}
	if least[10_000] > 10*least[1] {
		t.Errorf("20 publications take %v beside 10,000 patterns, %v beside one", least[10_000], least[1])
	}
}

// Patterns come and go in any order; those that are there are found.
func TestPatternsComeAndGo(t *testing.T) {
	ctx := context.Background()
	b := newBroker(t)
	got := make(map[string]bool)
	s, err := b.OpenSubscriber(ctx, func(batch []broker.Delivery) {
		for _, d := range batch {
			got[d.Topic.Name] = true
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	patterns := []string{"ab*", "a*", "a[b]*", "*", "a*?", "abc", "ab?", "[a]*", "*c"} // all match
	want := make(map[string]bool)
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		topic := broker.Topic{Name: patterns[random.IntN(len(patterns))], Pattern: true}
		if want[topic.Name] {
			err = s.Unsubscribe(ctx, topic)
			delete(want, topic.Name)
		} else {
			err = s.Subscribe(ctx, topic)
			want[topic.Name] = true
		}
		clear(got)
		if err := errors.Join(err, b.Publish(ctx, &broker.Event{Channel: "abc", Args: []byte("1")})); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			t.Fatalf("the event came for %v, want %v", got, want)
		}
	}
	for topic := range want {
		if err := s.Unsubscribe(ctx, broker.Topic{Name: topic, Pattern: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, patterns := b.Topics(); patterns > 0 {
		t.Errorf("%d patterns are left", patterns)
	}
}
