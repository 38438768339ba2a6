//go:build long

package systemtest_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/redistest"
)

// The slot of a lane moves to another master and back, and that fails, while
// clients do what they like. Channels are sharded, so that all that the soak
// test wants is promised here too.
func TestClusterChanges(t *testing.T) {
	t.Parallel()
	// A slow machine is not to be taken for a dead master.
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "20000")
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
	return slotWhere(t, cluster, func(key string) bool { return strings.HasSuffix(key, suffix) })
}

// slotWhere returns the slot of a key.
func slotWhere(t *testing.T, cluster *redistest.Cluster, ok func(key string) bool) int {
	t.Helper()
	client := cluster.Client()
	for key := range keysOf(t, client) {
		if ok(key) {
			slot, err := client.ClusterKeySlot(t.Context(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			return int(slot)
		}
	}
	t.Fatal("there is no such key")
	return 0
}

// One client calls URIs and publishes on channels of several masters, of which one hangs.
// What goes to the others goes on meanwhile, and what waited is done when it is back.
func TestMasterHangsForOneClient(t *testing.T) {
	t.Parallel()
	const brokerTimeout = time.Minute
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "120000")
	options := calm(withCluster(cluster), redis.WithCalleeLease(time.Minute)) // what is paused loses no lease
	functions := map[string]calleekit.HandlerFunc{}
	for i := range 40 {
		functions[fmt.Sprint("u", i)] = func(context.Context, *calleekit.Call) (any, error) { return "done", nil }
	}
	startCallee(t, functions, options...)
	n := startNodeOn(t, newBroker(t, options...), juggler.WithBrokerTimeout(brokerTimeout))
	c := n.dial(t, client.WithCallTimeout(patience))
	if err := c.Call(t.Context(), "u0", nil, nil); err != nil { // so that the node is there
		t.Fatal(err)
	}
	home := cluster.Owner(slotWhere(t, cluster, func(key string) bool { return strings.Contains(key, ":node:") }))
	sick := (home + 1) % len(cluster.Masters)
	names := map[bool][]string{} // by whether they are on the sick master, as URIs and as channels
	for uri := range functions {
		on := cluster.Owner(slotOf(t, cluster, ":served:"+uri))
		names[on == sick] = append(names[on == sick], uri)
	}
	call := func(ctx context.Context, uri string) error { return c.Call(ctx, uri, nil, nil) }
	publish := func(ctx context.Context, channel string) error { return c.Publish(ctx, channel, "x") }
	for what, ask := range map[string]func(context.Context, string) error{"calls": call, "publications": publish} {
		for _, name := range slices.Concat(names[true], names[false]) {
			if err := ask(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		cluster.Masters[sick].Pause()
		waits := make(chan error, 1)
		go func() { waits <- ask(t.Context(), names[true][0]) }()
		ctx, cancel := context.WithTimeout(t.Context(), brokerTimeout/2) // less than a hanging master gets
		for _, name := range slices.Concat(names[false], names[false]) {
			if err := ask(ctx, name); err != nil {
				t.Errorf("%s: %s: %v", what, name, err)
			}
		}
		cancel()
		select {
		case err := <-waits:
			t.Errorf("%s: what the master that hangs was asked for has ended: %v", what, err)
		default:
		}
		cluster.Masters[sick].Resume()
		if err := <-waits; err != nil {
			t.Errorf("%s: when the master is back: %v", what, err)
		}
	}
}
