//go:build long

package redis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinel(t)
	option := redis.WithSentinel(set.Options())
	a, b := newBroker(t, quick(option)...), newBroker(t, quick(option)...)
	heard := listen(t, a, broker.Topic{Name: "news"}, broker.Topic{Name: "n*", Pattern: true})
	l := startLoad(t, a, b, 4)
	l.flows()
	set.Failover()
	l.flows()
	heard.hearsAgain(t, b, "news")
	l.finish(true)
	wantExpiry(t, set.Replica.Client(), "juggler")
}

// A sentinel that hangs, as one may on the machine of the master that is gone,
// leaves the time to ask the others: it used up all there was.
func TestSentinelHangs(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinel(t)
	set.Sentinels[0].Pause()
	for range 8 { // they are asked in random order
		b := newBroker(t, quick(redis.WithSentinel(set.Options()), redis.WithReplyTimeout(3*time.Second))...)
		if err := b.Publish(t.Context(), &broker.Event{Channel: "c"}); err != nil {
			t.Errorf("Publish: %v", err)
		}
	}
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]redis.Option{"classic": nil, "sharded": {redis.WithShardedPubSub()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t)
			more = append(more, withCluster(cluster))
			a, b := newBroker(t, quick(more...)...), newBroker(t, quick(more...)...)
			l := startLoad(t, a, b, 4)
			heard := listen(t, a, broker.Topic{Name: loadURI}) // in the lane of the calls
			l.flows()
			cluster.Failover(cluster.Owner(loadSlot(t, cluster)))
			l.flows()
			if name == "sharded" {
				heard.hearsAgain(t, b, loadURI)
			} else {
				// Classic channels may live on a node that did not fail.
				heard.hears(t, b, loadURI)
			}
			l.finish(true)
			wantExpiry(t, cluster.Client(), "juggler")
		})
	}
}

func TestClusterSlotMigration(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]redis.Option{"classic": nil, "sharded": {redis.WithShardedPubSub()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t, calmCluster...)
			more = append(more, withCluster(cluster))
			a, b := newBroker(t, quick(more...)...), newBroker(t, quick(more...)...)
			l := startLoad(t, a, b, 4)
			heard := listen(t, a, broker.Topic{Name: loadURI})
			l.flows()
			slot := loadSlot(t, cluster)
			from := cluster.Owner(slot)
			to := (from + 1) % len(cluster.Masters)
			cluster.MigrateSlot(slot, from, to)
			l.flows()
			if name == "sharded" {
				heard.hearsAgain(t, b, loadURI)
			} else {
				heard.hears(t, b, loadURI)
			}
			cluster.MigrateSlot(slot, to, from)
			l.flows()
			heard.hears(t, b, loadURI)
			l.finish(true)
			wantExpiry(t, cluster.Client(), "juggler")
		})
	}
}

// loadSlot returns the slot of the lane of the load's URI.
func loadSlot(t *testing.T, cluster *redistest.Cluster) int {
	t.Helper()
	client := cluster.Client()
	for _, key := range keysOf(t, client, "juggler") {
		if strings.HasSuffix(key, ":served:"+loadURI) {
			slot, err := client.ClusterKeySlot(context.Background(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			return int(slot)
		}
	}
	t.Fatal("nobody serves the URI of the load")
	return 0
}
