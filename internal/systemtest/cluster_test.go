package systemtest_test

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// The slot of a lane moves to another master and back, and that fails, while
// clients do what they like. Channels are sharded, so that all that the soak
// test wants is promised here too.
func TestClusterChanges(t *testing.T) {
	t.Parallel()
	// A slow machine is not to be taken for a dead master.
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "3000")
	t.Run("run", func(t *testing.T) {
		s := &soak{t: t, seed: rand.Uint64(), books: newBooks(), topics: channels, over: make(chan struct{})}
		options := quick(withCluster(cluster), redis.WithShardedPubSub())
		for range 2 {
			s.nodes = append(s.nodes, startNode(t, options...))
		}
		functions := soakFunctions(s.books.ran)
		for uri, f := range maps.Clone(functions) {
			functions["child."+uri] = f
		}
		startCallee(t, functions, options...)
		s.play(4, func() {
			slot := slotOf(t, cluster, ":served:echo")
			from := cluster.Owner(slot)
			to := (from + 1) % len(cluster.Masters)
			for range 2 {
				s.pause(500 * time.Millisecond)
				cluster.MigrateSlot(slot, from, to)
				from, to = to, from
			}
			s.pause(500 * time.Millisecond)
			cluster.Failover(from)
			s.pause(500 * time.Millisecond)
		})
		s.books.check(t)
		wantExpiry(t, cluster.Client())
	})
}

// slotOf returns the slot of the key that ends so.
func slotOf(t *testing.T, cluster *redistest.Cluster, suffix string) int {
	t.Helper()
	client := cluster.Client()
	for key := range keysOf(t, client) {
		if strings.HasSuffix(key, suffix) {
			slot, err := client.ClusterKeySlot(t.Context(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			return int(slot)
		}
	}
	t.Fatalf("no key ends in %s", suffix)
	return 0
}
