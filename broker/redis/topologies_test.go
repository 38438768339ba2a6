//go:build long && !race

// The suite races as much in TestStandalone, which the race detector sees, and takes five
// times as long with it. What it does not have, faults of clusters, is in other tests.

package redis_test

import (
	"testing"

	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

func TestCluster(t *testing.T) {
	cluster := redistest.StartCluster(t, calmCluster...)
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		e := engine(t, cluster.Client(), withCluster(cluster))
		e.WholeOnly = true // as TestStandalone has both: batches are no other road to the parts
		e.Except = exceptAll("between the nodes of a cluster an event may arrive after a later subscription",
			"subscribed twice", "unsubscribed")
		return e
	})
}

// TestCluster has proven the other roles. The user is the documented one.
func TestClusterSharded(t *testing.T) {
	cluster := redistest.StartCluster(t, calmCluster...)
	limitUser(t, cluster.Do, 2)
	limited := redis.WithCluster(&goredis.ClusterOptions{Addrs: cluster.Addrs(), Username: "limited", Password: "secret"})
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		e := engine(t, cluster.Client(), limited, redis.WithShardedPubSub())
		e.NoPatterns = true
		open := e.Open
		e.Open = func() brokertest.Roles { return brokertest.Roles{PubSub: open().PubSub} }
		return e
	})
}

// exceptAll returns exceptions for the cases of these names.
func exceptAll(reason string, names ...string) map[string]string {
	except := map[string]string{}
	for _, name := range names {
		except[name] = reason
	}
	return except
}

func TestSentinel(t *testing.T) {
	set := redistest.StartSentinel(t)
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		e := engine(t, set.Master.Client(), redis.WithSentinel(set.Options()))
		e.WholeOnly = true // as TestStandalone has both
		return e
	})
}
