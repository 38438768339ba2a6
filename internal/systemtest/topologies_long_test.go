//go:build long

package systemtest_test

import (
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

func withCluster(c *redistest.Cluster) redis.Option {
	return redis.WithCluster(&goredis.ClusterOptions{Addrs: c.Addrs()})
}

func TestSystemSentinel(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinel(t)
	testSystem(t, servers{[]redis.Option{redis.WithSentinel(set.Options())}, set.Master.Client(), true})
}

func TestSystemCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "20000")
	testSystem(t, servers{[]redis.Option{withCluster(cluster)}, cluster.Client(), true})
}

func TestSystemShardedCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "20000")
	testSystem(t, servers{[]redis.Option{withCluster(cluster), redis.WithShardedPubSub()}, cluster.Client(), false})
}
