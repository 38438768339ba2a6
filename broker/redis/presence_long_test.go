//go:build long

package redis_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// newHereWorld returns three nodes.
func newHereWorld(t *testing.T, opts ...redis.Option) *hereWorld {
	t.Helper()
	w := &hereWorld{t: t}
	for i := range 12 {
		w.channels = append(w.channels, fmt.Sprint("room.", i))
	}
	for range 3 {
		w.open(newBroker(t, quick(opts...)...))
	}
	w.putMany(60)
	w.settles("the start")
	return w
}

// disturb puts before, while and after something happens.
func (w *hereWorld) disturb(what string, do func()) {
	w.t.Helper()
	w.putMany(60)
	w.during(do)
	w.putMany(60)
	w.settles(what)
}

// during has something happen while users come and leave.
func (w *hereWorld) during(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	for {
		select {
		case <-done:
			return
		default:
			w.putMany(1)
			for _, n := range w.nodes { // it paces the loop
				n.read(w.channels[0])
			}
		}
	}
}

func TestPresenceSentinel(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinel(t)
	w := newHereWorld(t, redis.WithSentinel(set.Options()))
	w.disturb("a failover", set.Failover)
}

func TestPresenceCluster(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]redis.Option{"classic": nil, "sharded": {redis.WithShardedPubSub()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t)
			w := newHereWorld(t, append(more, withCluster(cluster))...)
			w.disturb("a failover", func() { cluster.Failover(0) })
			w.disturb("another", func() { cluster.Failover(1) })
		})
	}
}

func TestPresenceResharding(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, calmCluster...)
	w := newHereWorld(t, redis.WithShardedPubSub(), withCluster(cluster))
	w.disturb("a node more", func() { cluster.ScaleOut() })
	w.disturb("a node less", func() { cluster.ScaleIn(0) })
}

var hereKills = flag.Int("here.kills", 20, "processes that TestPresenceKills kills")

// Of processes that are killed nobody is left, and nobody is missed of those that live.
func TestPresenceKills(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := openHere(t, newBroker(t, quick(withAddr(server.Addr))...)), openHere(t, newBroker(t, quick(withAddr(server.Addr))...))
	b.watch("room")
	a.put("room", "ann", 1, "")
	processes := []*childProcess{startChild(t, "here "+server.Addr)}
	for range *hereKills {
		processes = append(processes, startChild(t, "here "+server.Addr))
		wantHere(t, "room", "ann:1 c1:2 c2:2", a, b)
		processes[0].kill()
		processes = processes[1:]
		wantHere(t, "room", "ann:1 c1:1 c2:1", a, b)
	}
	await(t, "the last stays are removed", func() bool {
		return server.Client().ZCard(t.Context(), "juggler:{0.0}:here-dead").Val() == 0
	})
	if n := server.Client().ZCard(t.Context(), "juggler:{0.0}:here-nodes").Val(); n != 3 {
		t.Errorf("Redis knows %d nodes, want 3", n)
	}
}
