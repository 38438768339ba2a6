//go:build long

package redis_test

import (
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/oklog/ulid/v2"
)

// While the slot moves that a node's parts are in, none is missing. A failover may lose some,
// which shows, and streams that begin after it are whole.
func TestStreamsInCluster(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]redis.Option{"classic": nil, "sharded": {redis.WithShardedPubSub()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t)
			more = append(more, withCluster(cluster))
			s := startStreams(t, newBroker(t, quick(more...)...), newBroker(t, quick(more...)...), 400)
			s.start(10)
			s.flows()
			slot := s.slot(cluster)
			from := cluster.Owner(slot)
			cluster.MigrateSlot(slot, from, (from+1)%len(cluster.Masters))
			s.finish()

			s.start(10)
			s.flows()
			cluster.Failover(cluster.Owner(slot))
			s.giveUp()
			s.start(10)
			s.finish()
			wantExpiry(t, cluster.Client(), "juggler")
		})
	}
}

// A server that comes back empty has lost parts, and no stream that begins then.
func TestStreamsOfRestartedServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := startStreams(t, newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...), 400)
	for range 3 {
		s.start(10)
		s.flows()
		server.Kill()
		server.Restart()
		s.giveUp()
	}
	s.start(10)
	s.finish()
}

// slot returns the slot of the node's keys.
func (s *streams) slot(cluster *redistest.Cluster) int {
	s.t.Helper()
	client := cluster.Client()
	for _, key := range keysOf(s.t, client, "juggler") {
		if strings.HasSuffix(key, ":node:"+ulid.ULID(s.node).String()) {
			slot, err := client.ClusterKeySlot(s.t.Context(), key).Result()
			if err != nil {
				s.t.Fatal(err)
			}
			return int(slot)
		}
	}
	s.t.Fatal("the node has not announced itself")
	return 0
}

// giveUp forgets the calls of now, of which parts or results may be lost.
func (s *streams) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
}
