//go:build long

package redis_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

func init() { onlyWhole = false }

func TestMiniredis(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		server := miniredis.RunT(t)
		passTime(t, server)
		// A PING on a subscribed connection can deadlock miniredis with a
		// PUBLISH: with so long a timeout none is sent within a case.
		e := proxied(t, nil, withAddr, server.Addr(), redis.WithReplyTimeout(time.Minute))
		e.WholeOnly = true // as TestStandalone has both
		e.Except = exceptAll("miniredis sends an event once, however many patterns of a connection it matches",
			"patterns", "patterns that go back", "one delivery a topic")
		e.Except["odd patterns"] = "miniredis panics where a pattern makes no regular expression"
		e.Except["callees come and go"] = "miniredis wakes every blocked pop at each write, too slow with hundreds of callees under the race detector"
		e.Except["callees after an outage"] = "miniredis serves blocking pops of connections that are closed"
		return e
	})
}

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

// passTime makes keys of a miniredis expire, which they do not do by
// themselves.
func passTime(t *testing.T, server *miniredis.Miniredis) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		const tick = 10 * time.Millisecond
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				server.FastForward(tick)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
}
