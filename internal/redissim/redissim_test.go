package redissim_test

import (
	"os"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redissim"
	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
)

const (
	grace    = 400 * time.Millisecond
	capacity = 64
)

func TestMain(m *testing.M) {
	waiting.AtOnce(8)
	os.Exit(m.Run())
}

// The fake does what the broker expects of a real cluster: the suite passes, with
// sharded channels, for on classic ones an event may come after a later subscription.
func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		w := redissim.New(1)
		t.Cleanup(w.Close)
		w.Assign(0, 8191, w.Server("10.0.0.1:6379"))
		w.Assign(8192, redissim.Slots-1, w.Server("10.0.0.2:6379"))
		return engine(t, w, redis.WithCluster(&goredis.ClusterOptions{Addrs: []string{"10.0.0.2:6379"}, Dialer: w.Dialer("p")}))
	})
}

func engine(t *testing.T, w *redissim.World, server redis.Option) brokertest.Engine {
	return brokertest.Engine{
		Grace:         grace,
		QueueCapacity: capacity,
		NoPatterns:    true,
		Parallel:      true,
		Open: func() brokertest.Roles {
			b, err := redis.New(server, redis.WithShardedPubSub(), redis.WithLanes(4), redis.WithCalleeGrace(grace), redis.WithQueueCapacity(capacity),
				redis.WithBackoff(10*time.Millisecond, 100*time.Millisecond), redis.WithReplyTimeout(10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			return brokertest.Roles{Caller: b, Callee: b, PubSub: b}
		},
		Outage: func() func() {
			w.Refuse("", "", true)
			w.Cut("", "")
			return func() { w.Refuse("", "", false) }
		},
	}
}
