//go:build long

package redis_test

import (
	"testing"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// auditFault subscribes on two nodes, publishes on two channels of which one is quiet while
// something breaks, and audits what comes until all go on. It returns how many gaps were
// told and how many confirmed events the log has lost.
func auditFault(t *testing.T, fault func(busy string), options ...redis.Option) (gaps, lost int) {
	t.Helper()
	options = quick(append(options, redis.WithHistory(auditRule))...)
	publisher, node := newBroker(t, options...), newBroker(t, options...)
	a := newAuditor(t)
	busy, quiet := "audited.busy", "audited.quiet"
	near, far := a.subscribe(publisher, busy, quiet), a.subscribe(node, busy, quiet)
	a.publish(publisher, quiet, "before")
	stop := a.publishUntilStopped(publisher, busy)
	await(t, "events come", func() bool {
		return far.has(quiet, "before") && near.has(quiet, "before") && len(far.deliveries(busy)) > 10
	})
	fault(busy)
	stop()
	for _, c := range []string{busy, quiet} {
		a.end(publisher, c, near, far)
		for _, s := range []*audited{near, far} {
			lost += a.audit(publisher, s, c)
			gaps += s.gaps(c)
		}
	}
	t.Logf("%d gaps, %d confirmed events were lost, counted for each subscriber", gaps, lost)
	return gaps, lost
}

func TestKeptSentinelFailover(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinel(t)
	auditFault(t, func(string) { set.Failover() }, redis.WithSentinel(set.Options()))
}

func TestKeptClusterFaults(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]redis.Option{"classic": nil, "sharded": {redis.WithShardedPubSub()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t)
			more = append(more, withCluster(cluster))
			slot := func(busy string) int {
				client := cluster.Client()
				n, err := client.ClusterKeySlot(t.Context(), keyOf(t, client, "juggler", ":pos:"+busy)).Result()
				if err != nil {
					t.Fatal(err)
				}
				return int(n)
			}
			gaps, lost := auditFault(t, func(busy string) {
				from := cluster.Owner(slot(busy))
				cluster.MigrateSlot(slot(busy), from, (from+1)%len(cluster.Masters))
			}, more...)
			if gaps > 0 || lost > 0 {
				t.Errorf("a slot moved: %d gaps, %d events were lost", gaps, lost)
			}
			auditFault(t, func(busy string) { cluster.Failover(cluster.Owner(slot(busy))) }, more...)
		})
	}
}
