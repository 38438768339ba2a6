package redis_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/oklog/ulid/v2"
)

// childHere has two members, and waits for its end.
func childHere(b *redis.Broker) {
	conn, err := b.OpenPresence(context.Background(), broker.ID(ulid.Make()), func([]broker.HereChange) {})
	if err != nil {
		panic(err)
	}
	for _, user := range []string{"c1", "c2"} {
		conn.Put("room", []broker.Member{{User: user, Sessions: 1}})
	}
	if err := conn.Flush(context.Background()); err != nil {
		panic(err)
	}
	fmt.Println("ready")
	select {}
}

// The members of a process that dies leave within a lease, and one of the others says so.
// Those of one that stands still for longer come back.
func TestPresenceOfDeadProcess(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := openHere(t, newBroker(t, quick(withAddr(server.Addr))...)), openHere(t, newBroker(t, quick(withAddr(server.Addr))...))
	a.put("room", "ann", 1, "")
	a.put("room", "c1", 1, "")
	b.watch("room")
	still, dying := startChild(t, "here "+server.Addr), startChild(t, "here "+server.Addr)
	wantHere(t, "room", "ann:1 c1:3 c2:2", a, b)
	still.signal(syscall.SIGSTOP)
	wantHere(t, "room", "ann:1 c1:2 c2:1", a, b)
	still.signal(syscall.SIGCONT)
	wantHere(t, "room", "ann:1 c1:3 c2:2", a, b)
	still.kill()
	wantHere(t, "room", "ann:1 c1:2 c2:1", a, b)
	dying.kill()
	wantHere(t, "room", "ann:1 c1:1", a, b)
	await(t, "one node says once that the last is gone", func() bool {
		return strings.Count(a.made()+b.made(), "-c2") == 1
	})
	if made := a.made() + b.made(); strings.Contains(made, "-c1") {
		t.Errorf("the nodes have made %q", made)
	}
}

// A node that reads finds the members of one that is gone, although no other looked.
func TestPresenceReadAfterDeath(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	process := startChild(t, "here "+server.Addr)
	process.kill()
	a := openHere(t, newBroker(t, quick(withAddr(server.Addr))...))
	wantHere(t, "room", "", a)
}

var hereRounds = flag.Int("here.rounds", 8, "faults of TestPresenceUnderFaults")

// After each fault all nodes read and show what was put, no more and no less.
func TestPresenceUnderFaults(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	w := &hereWorld{t: t, channels: []string{"a", "b", "c", "d"}}
	proxies := make([]*redistest.Proxy, 3)
	for i := range proxies {
		proxies[i] = redistest.StartProxy(t, server.Addr)
		w.open(newBroker(t, quick(withAddr(proxies[i].Addr), redis.WithLanes(2))...))
	}
	leaseIsOver := func() {
		// As the others see it: a lease after it has begun to stand still.
		gone := 0
		await(t, "others take the node for dead", func() bool {
			gone = 0
			for _, key := range keysOf(t, server.Client(), "juggler") {
				if strings.Contains(key, "here-dead") {
					gone++
				}
			}
			return gone > 0 || server.Client().ZCard(t.Context(), "juggler:{0.0}:here-nodes").Val() < 3
		})
	}
	faults := map[string]func(p *redistest.Proxy){
		"cut":     func(p *redistest.Proxy) { p.Cut(); w.putMany(20) },
		"cutOnce": func(p *redistest.Proxy) { p.CutOnce() },
		"held":    func(p *redistest.Proxy) { p.Hold(); w.putMany(20) },
		"dead":    func(p *redistest.Proxy) { p.Hold(); w.putMany(20); leaseIsOver() },
		"forgets": func(p *redistest.Proxy) { p.Forget() },
		"swallowed": func(p *redistest.Proxy) {
			p.Swallow(func([]byte) bool { return rand.IntN(4) == 0 })
			w.putMany(20)
		},
		"flushed":   func(*redistest.Proxy) { server.Do("FLUSHALL") },
		"scripts":   func(*redistest.Proxy) { server.Do("SCRIPT", "FLUSH") },
		"unheard":   func(*redistest.Proxy) { server.Do("CLIENT", "KILL", "TYPE", "pubsub") },
		"restarted": func(*redistest.Proxy) { server.Kill(); w.putMany(20); server.Restart() },
		"full": func(*redistest.Proxy) {
			accept := server.RefuseWrites(redistest.OutOfMemory)
			w.putMany(20)
			accept()
		},
	}
	var names []string
	for name := range faults {
		names = append(names, name)
	}
	rand.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	for round := range *hereRounds {
		name := names[round%len(names)]
		p := proxies[rand.IntN(len(proxies))]
		w.putMany(20)
		faults[name](p)
		w.putMany(20)
		p.Restore()
		w.settles(name)
		if t.Failed() {
			return
		}
	}
}

// A hereWorld is nodes that put at random, and what all of them should know.
type hereWorld struct {
	t        *testing.T
	channels []string
	nodes    []*hereNode
	put      []map[[2]string]int // by node, of channel and user
}

func (w *hereWorld) open(b *redis.Broker) {
	n := openHere(w.t, b)
	for i, c := range w.channels {
		if (i+len(w.nodes))%3 > 0 {
			n.watch(c)
		}
	}
	w.nodes = append(w.nodes, n)
	w.put = append(w.put, map[[2]string]int{})
}

func (w *hereWorld) putMany(n int) {
	for range n {
		i := rand.IntN(len(w.nodes))
		c, user := w.channels[rand.IntN(len(w.channels))], fmt.Sprint("u", rand.IntN(6))
		sessions := max(0, rand.IntN(4)-1)
		w.put[i][[2]string{c, user}] = sessions
		w.nodes[i].put(c, user, sessions, `"`+user+`"`)
	}
}

// settles waits until all nodes know what was put.
func (w *hereWorld) settles(after string) {
	w.t.Helper()
	for _, n := range w.nodes {
		n.flush()
	}
	for _, c := range w.channels {
		members := map[string]string{}
		sums := map[string]int{}
		for _, put := range w.put {
			for at, n := range put {
				if at[0] == c {
					sums[at[1]] += n
				}
			}
		}
		for user, n := range sums {
			if n > 0 {
				members[user] = memberText(broker.Member{Sessions: n, Info: []byte(`"` + user + `"`)})
			}
		}
		w.t.Logf("after %s %s has %d", after, c, len(members))
		wantHere(w.t, c, textOf(members), w.nodes...)
	}
}

// A replica takes over that lacks what was put last.
func TestPresenceFailover(t *testing.T) {
	t.Parallel()
	args := []string{"--repl-diskless-sync-delay", "0"}
	master, replica := redistest.Start(t, args...), redistest.Start(t, args...)
	w := &hereWorld{t: t, channels: []string{"a", "b", "c", "d"}}
	var proxies []*redistest.Proxy
	for range 3 {
		p := redistest.StartProxy(t, master.Addr)
		proxies = append(proxies, p)
		w.open(newBroker(t, quick(withAddr(p.Addr))...))
	}
	for range 3 {
		follow(t, replica, master)
		w.putMany(30)
		w.settles("a failover")
		replica.Do("REPLICAOF", "NO", "ONE")
		w.putMany(30)
		for _, n := range w.nodes {
			n.flush()
		}
		for _, p := range proxies {
			p.Retarget(replica.Addr)
			p.CutOnce()
		}
		master, replica = replica, master
		w.settles("the loss of what was put last")
	}
}

// A server that has lost all, and to which nobody is put any more, is empty for those who
// watch, too.
func TestPresenceFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	a, b := openHere(t, newBroker(t, quick(withAddr(proxy.Addr))...)), openHere(t, newBroker(t, quick(withAddr(server.Addr))...))
	b.watch("room")
	a.put("room", "ann", 1, "")
	a.put("other", "ann", 1, "")
	wantHere(t, "room", "ann:1", a, b)
	proxy.Hold()
	a.put("room", "ann", 0, "")
	server.Do("FLUSHALL")
	proxy.Restore()
	wantHere(t, "room", "", a, b)
	wantHere(t, "other", "ann:1", a, b)
}

// Of 10,000 users who come and leave at once all are seen, and nothing is left of them.
func TestPresenceStorm(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := openHere(t, newBroker(t, calm(withAddr(server.Addr))...)), openHere(t, newBroker(t, calm(withAddr(server.Addr))...))
	b.watch("room")
	wantHere(t, "room", "", b)
	const users = 10_000
	for _, sessions := range []int{1, 0} {
		for i := range users {
			n := []*hereNode{a, b}[i%2]
			n.put("room", fmt.Sprint("u", i), sessions, "")
		}
		a.flush()
		b.flush()
		await(t, "all are seen", func() bool {
			here, err := a.conn.ReadHere(t.Context(), "room", 10)
			shown := strings.Count(b.shows("room"), ":")
			return err == nil && here.Count == sessions*users && (here.Members == nil) == (sessions > 0) && shown == sessions*users
		})
	}
	for i := range users {
		a.put("room", fmt.Sprint("u", i), 1, "")
		b.put("room", fmt.Sprint("u", i), 1, "")
	}
	a.flush()
	b.flush()
	wantCount := func(want int) {
		t.Helper()
		await(t, fmt.Sprint(want, " are left"), func() bool {
			here, err := b.conn.ReadHere(t.Context(), "room", 10)
			return err == nil && here.Count == want
		})
	}
	if err := a.conn.Close(); err != nil {
		t.Error(err)
	}
	wantCount(users)
	for i := range users / 2 {
		b.put("room", fmt.Sprint("u", i), 0, "")
	}
	b.flush()
	wantCount(users / 2)
	b.conn.Close()
	for _, key := range keysOf(t, server.Client(), "juggler") {
		if strings.Contains(key, ":here-put:") || strings.Contains(key, ":here-of:") {
			t.Errorf("%s is left", key)
		}
	}
}

// Out of memory members leave all the same, those who come wait, and nobody's lease ends.
func TestPresenceOutOfMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := openHere(t, newBroker(t, quick(withAddr(server.Addr))...)), openHere(t, newBroker(t, quick(withAddr(server.Addr))...))
	b.watch("room")
	a.put("room", "ann", 1, "")
	a.put("room", "bob", 1, "")
	b.put("room", "cid", 1, "")
	wantHere(t, "room", "ann:1 bob:1 cid:1", a, b)
	accept := server.RefuseWrites(redistest.OutOfMemory)
	a.put("room", "dan", 1, "")
	a.put("room", "ann", 0, "")
	wantHere(t, "room", "bob:1 cid:1", a, b)
	before := leaseOf(t, server)
	await(t, "leases are renewed", func() bool { return leaseOf(t, server) > before+1000 })
	wantHere(t, "room", "bob:1 cid:1", a, b)
	accept()
	wantHere(t, "room", "bob:1 cid:1 dan:1", a, b)
}

// leaseOf returns the end of the lease that ends first.
func leaseOf(t *testing.T, server *redistest.Server) float64 {
	t.Helper()
	nodes := server.Client().ZRangeWithScores(t.Context(), keyOf(t, server.Client(), "juggler", ":here-nodes"), 0, 0).Val()
	if len(nodes) == 0 {
		return 0
	}
	return nodes[0].Score
}
