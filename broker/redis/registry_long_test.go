//go:build long

package redis_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// registerAll registers names, each as often as it takes.
func registerAll(t *testing.T, b *redis.Broker, names []string) {
	t.Helper()
	for _, name := range names {
		await(t, "it can be registered", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return b.Register(ctx, "t", name, nil, time.Hour) == nil
		})
	}
}

// While the slot of a table moves, nothing is missing in what is read: it is all, or an error.
// When it has moved the table goes on where it is now.
func TestRegistryMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, calmCluster...)
	b := newBroker(t, quick(withCluster(cluster))...)
	var want []string
	for i := range 1200 { // more than a page
		want = append(want, fmt.Sprintf("%04d", i))
	}
	registerAll(t, b, want)
	key := keyOf(t, cluster.Client(), "juggler", ":registry:t")
	slot64, err := cluster.Client().ClusterKeySlot(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	slot := int(slot64)
	from := cluster.Owner(slot)
	to := (from + 1) % len(cluster.Masters)
	quit, done, reads := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
			}
			entries, err := b.Registered(t.Context(), "t")
			if err != nil {
				continue
			}
			if reads++; len(entries) != len(want) {
				t.Errorf("%d names were read, want %d", len(entries), len(want))
			}
		}
	}()
	for range 3 {
		cluster.MigrateSlot(slot, from, to)
		registerAll(t, b, want[:10])
		cluster.MigrateSlot(slot, to, from)
		registerAll(t, b, want[:10])
	}
	close(quit)
	<-done
	if got := namesIn(t, b, "t"); !slices.Equal(got, want) || reads == 0 {
		t.Errorf("%d names are there after %d reads, want %d", len(got), reads, len(want))
	}
}

// After a failover what is registered again is there.
func TestRegistryFailsOver(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinel(t)
	b := newBroker(t, quick(redis.WithSentinel(set.Options()))...)
	names := []string{"a", "b", "c"}
	registerAll(t, b, names)
	set.Failover()
	registerAll(t, b, names)
	registerAll(t, b, []string{"d"})
	if got := namesIn(t, b, "t"); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("after the failover there are %q", got)
	}
}
