//go:build long

package redis_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// named has brokers name their connections, so that a test can count them.
const named = "broker"

// links counts the connections of brokers to a server.
func links(t testing.TB, s *redistest.Server) int {
	t.Helper()
	return strings.Count(fmt.Sprint(s.Do("CLIENT", "LIST")), " name="+named+" ")
}

// A master that the sentinels have replaced lives on, cut off from them and its
// replica, and the connections to it work. All of them move to the new one, whether
// the old one takes writes or refuses them for want of replicas.
func TestSentinelSplit(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"takes writes", "refuses writes"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := redistest.StartSentinel(t)
			options := set.Options()
			options.ClientName = named
			option := redis.WithSentinel(options)
			a, b := newBroker(t, quick(option)...), newBroker(t, quick(option)...)
			heard := listen(t, a, broker.Topic{Name: "news"})
			l := startLoad(t, a, b, 4)
			l.flows()
			if name == "refuses writes" {
				set.Master.Do("CONFIG", "SET", "min-replicas-max-lag", "1", "min-replicas-to-write", "1")
			}
			set.Split()
			await(t, "nobody is left on the old master", func() bool { return links(t, set.Master) == 0 })
			l.flows()
			late := newBroker(t, quick(option)...)
			heard.hearsAgain(t, late, "news")
			l.finish(true)
		})
	}
}

// One connection of a process comes to another server than the others, which go on
// to the old one: a load balancer or a name leads elsewhere now. All follow, for
// half a system answers nobody.
func TestCutOver(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"one is lost", "none is lost"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := redistest.Start(t), redistest.Start(t)
			proxy := redistest.StartProxy(t, before.Addr)
			option := redis.WithServer(&goredis.Options{Addr: proxy.Addr, ClientName: named})
			a, b := newBroker(t, quick(option)...), newBroker(t, quick(option)...)
			heard := listen(t, a, broker.Topic{Name: "news"})
			l := startLoad(t, a, b, 4)
			l.flows()
			proxy.Retarget(after.Addr)
			if name == "one is lost" {
				before.Do("CLIENT", "KILL", "TYPE", "pubsub")
			}
			await(t, "nobody is left on the old server", func() bool { return links(t, before) == 0 })
			l.flows()
			heard.hearsAgain(t, b, "news")
			gaps := strings.Count(heard.got(), "gap")
			await(t, "a gap is told for publishers that followed late", func() bool { return strings.Count(heard.got(), "gap") > gaps })
			l.finish(true)
		})
	}
}

// A node is taken out of its cluster and lives on. Nobody waits there for events
// that never come, and nothing is published there.
func TestClusterScaleIn(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]redis.Option{"classic": nil, "sharded": {redis.WithShardedPubSub()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t)
			more = append(more, redis.WithCluster(&goredis.ClusterOptions{Addrs: cluster.Addrs(), ClientName: named}))
			a, b := newBroker(t, quick(more...)...), newBroker(t, quick(more...)...)
			heard := listen(t, a, broker.Topic{Name: loadURI}, broker.Topic{Name: "x"}, broker.Topic{Name: "y"})
			l := startLoad(t, a, b, 4)
			l.flows()
			removed := cluster.Masters[cluster.Owner(loadSlot(t, cluster))]
			for i, m := range cluster.Masters { // classic channels may be anywhere
				if name == "classic" && strings.Contains(fmt.Sprint(m.Do("PUBSUB", "CHANNELS")), ":event:x") {
					removed = cluster.Masters[i]
				}
			}
			for i, m := range cluster.Masters {
				if m == removed {
					cluster.ScaleIn(i)
					break
				}
			}
			await(t, "nobody is left on the removed node", func() bool { return links(t, removed) == 0 })
			l.flows()
			for _, channel := range []string{loadURI, "x", "y"} {
				heard.hears(t, b, channel)
			}
			if got := heard.got(); !strings.Contains(got, "gap") {
				t.Errorf("no gap was told: %s", got)
			}
			l.finish(true)
		})
	}
}

// Another master of the cluster does not pass its events on to the node where the
// feed waits, which answers as ever. Probes find it.
func TestDeafFeed(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	a, b := newBroker(t, quick(withCluster(cluster))...), newBroker(t, quick(withCluster(cluster))...)
	heard := listen(t, a, broker.Topic{Name: "news"})
	heard.hears(t, b, "news")
	var deaf *redistest.Server
	for _, m := range cluster.Masters {
		if strings.Contains(fmt.Sprint(m.Do("PUBSUB", "CHANNELS")), ":event:news") {
			deaf = m
		}
	}
	id := deaf.Do("CLUSTER", "MYID")
	for _, m := range cluster.Masters {
		if m != deaf { // it does not send to a node that it has forgotten, for a minute
			m.Do("CLUSTER", "FORGET", id)
		}
	}
	await(t, "the gap is told", func() bool { return strings.Contains(heard.got(), "gap") })
	host, port, _ := strings.Cut(deaf.Addr, ":")
	for _, m := range cluster.Masters {
		m.Do("CLUSTER", "MEET", host, port)
	}
	heard.hears(t, b, "news")
}

// One of three masters is gone, and nobody takes its place. Events of classic
// channels need no master in particular.
func TestEventsWithoutOneMaster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, "--cluster-require-full-coverage", "no", "--cluster-replica-no-failover", "yes")
	a, b := newBroker(t, quick(withCluster(cluster))...), newBroker(t, quick(withCluster(cluster))...)
	var channels []string
	for i := range 32 {
		channels = append(channels, fmt.Sprint("c", i))
	}
	heard := listen(t, a)
	for _, c := range channels {
		if err := heard.conn.Subscribe(t.Context(), broker.Topic{Name: c}); err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(t.Context(), &broker.Event{Channel: c}); err != nil {
			t.Fatal(err)
		}
	}
	cluster.Masters[0].Kill()
	for _, c := range channels {
		heard.hears(t, b, c)
	}
}

// A server that has become a replica, or may have been replaced, confirmed
// publications that nobody hears who listens at the master.
func TestPublishNowhere(t *testing.T) {
	t.Parallel()
	server, master := redistest.Start(t), redistest.Start(t)
	b := newBroker(t, quick(withAddr(server.Addr))...)
	event := &broker.Event{Channel: "news"}
	if err := b.Publish(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(master.Addr, ":")
	server.Do("REPLICAOF", host, port)
	if err := b.Publish(t.Context(), event); err == nil {
		t.Error("a replica has confirmed a publication")
	}
	server.Do("REPLICAOF", "NO", "ONE")
	await(t, "publications are confirmed again", func() bool { return b.Publish(t.Context(), event) == nil })
	accept := server.RefuseWrites(redistest.TooFew)
	if err := b.Publish(t.Context(), event); err == nil {
		t.Error("a master without the replicas that it should have, and that may have been replaced, has confirmed a publication")
	}
	accept()
	await(t, "publications are confirmed again", func() bool { return b.Publish(t.Context(), event) == nil })
}
