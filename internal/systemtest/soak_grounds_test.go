//go:build long

package systemtest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A ground is a way to run Redis for a soak, with the faults of its own.
type ground interface {
	// masters waits until it is clear which servers are masters, and returns them.
	masters(t *testing.T) []*redistest.Server

	// known are the addresses that brokers may connect to, as far as they are
	// known at the start.
	known() []string

	// option leads a broker to the servers.
	option(dial dialer) redis.Option

	// childServers is what childOption makes an option of, in another process.
	childServers() string

	// restarted is called when a master was started anew.
	restarted(*redistest.Server)

	faults() []fault

	// tidy ends the servers that are more than at the start.
	tidy()
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// childOption leads a broker to servers that childServers has named.
func childOption(words []string) redis.Option {
	switch words[0] {
	case "standalone":
		return withAddr(words[1])
	case "sentinel":
		return redis.WithSentinel(&goredis.FailoverOptions{MasterName: words[1], SentinelAddrs: words[2:]})
	default:
		return redis.WithCluster(&goredis.ClusterOptions{Addrs: words[1:]})
	}
}

// A door is one broker's way to the servers: a proxy to each.
type door struct {
	t *testing.T

	mu      sync.Mutex // guards the following
	proxies map[string]*redistest.Proxy
}

func newDoor(t *testing.T, known []string) *door {
	d := &door{t: t, proxies: map[string]*redistest.Proxy{}}
	for _, addr := range known {
		d.to(addr)
	}
	return d
}

// to returns the proxy to a server, which is new if the server is.
func (d *door) to(addr string) *redistest.Proxy {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.proxies[addr]
	if p == nil {
		p = redistest.StartProxy(d.t, addr)
		d.proxies[addr] = p
	}
	return p
}

func (d *door) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, d.to(addr).Addr)
}

func (d *door) each(do func(*redistest.Proxy)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.proxies {
		do(p)
	}
}

// A standaloneGround is one server at an address that another one may take over.
type standaloneGround struct {
	t      *testing.T
	addr   string // what brokers connect to
	server *redistest.Server
	child  *redistest.Proxy // to the server
}

func startStandaloneGround(t *testing.T) ground {
	server := redistest.Start(t)
	return &standaloneGround{t: t, addr: server.Addr, server: server, child: redistest.StartProxy(t, server.Addr)}
}

func (g *standaloneGround) masters(*testing.T) []*redistest.Server {
	return []*redistest.Server{g.server}
}
func (g *standaloneGround) known() []string             { return []string{g.addr} }
func (g *standaloneGround) childServers() string        { return "standalone " + g.child.Addr }
func (g *standaloneGround) restarted(*redistest.Server) {}
func (g *standaloneGround) tidy()                       {}

func (g *standaloneGround) option(dial dialer) redis.Option {
	return redis.WithServer(&goredis.Options{Addr: g.addr, Dialer: dial})
}

func (g *standaloneGround) faults() []fault {
	return []fault{
		{name: "server paused", mayLose: true, do: pauseServer},
		{name: "cut-over", mayLose: true, mayForget: true, mayMiss: true, do: g.cutOver},
	}
}

// cutOver has the address lead to another server, for one process after the
// other, while the old one goes on for a while.
func (g *standaloneGround) cutOver(s *soak, r *rand.Rand) {
	old, next := g.server, redistest.Start(g.t)
	ways := []*redistest.Proxy{g.child}
	for _, d := range s.doors {
		ways = append(ways, d.to(g.addr))
	}
	for _, i := range r.Perm(len(ways)) {
		ways[i].Retarget(next.Addr)
		s.pause(between(r, 0, 500))
	}
	g.server = next
	s.pause(between(r, 0, 6000)) // brokers look at the system each 5 s
	old.Kill()
}

// A sentinelGround is a master with a replica, which change their parts.
type sentinelGround struct {
	*redistest.SentinelSet
	t *testing.T
}

func startSentinelGround(t *testing.T) ground {
	g := &sentinelGround{redistest.StartSentinel(t), t}
	// A pause of the master is not its end: a failover for each is too much.
	for _, sentinel := range g.Sentinels {
		sentinel.Do("SENTINEL", "SET", g.MasterName, "down-after-milliseconds", 3000)
	}
	return g
}

func (g *sentinelGround) servers() []*redistest.Server {
	return []*redistest.Server{g.Master, g.Replica}
}

func (g *sentinelGround) masters(t *testing.T) (masters []*redistest.Server) {
	t.Helper()
	await(t, "the sentinels agree who is the master", func() bool {
		for _, server := range g.servers() {
			if g.isMaster(server) {
				masters = []*redistest.Server{server}
			}
		}
		return masters != nil
	})
	return masters
}

func (g *sentinelGround) isMaster(server *redistest.Server) bool {
	for _, sentinel := range g.Sentinels {
		addr := sentinel.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", g.MasterName).([]any)
		if net.JoinHostPort(addr[0].(string), addr[1].(string)) != server.Addr {
			return false
		}
	}
	return true
}

func (g *sentinelGround) known() []string {
	var addrs []string
	for _, s := range slices.Concat(g.servers(), g.Sentinels) {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

func (g *sentinelGround) option(dial dialer) redis.Option {
	options := g.Options()
	options.Dialer = dial
	return redis.WithSentinel(options)
}

func (g *sentinelGround) childServers() string {
	return "sentinel " + g.MasterName + " " + strings.Join(g.Options().SentinelAddrs, " ")
}

// restarted makes a master of what was the replica when it was started first.
func (g *sentinelGround) restarted(server *redistest.Server) { server.Do("REPLICAOF", "NO", "ONE") }

func (g *sentinelGround) tidy() {}

func (g *sentinelGround) faults() []fault {
	return []fault{
		{name: "server paused", mayLose: true, do: pauseServer},
		{name: "failover", mayLose: true, mayRepeat: true, mayForget: true, do: g.failover},
		{name: "master isolated", mayLose: true, mayRepeat: true, mayForget: true, do: g.isolate},
	}
}

// failover kills the master, waits until the sentinels have made the replica
// the master, and gives that a new replica.
func (g *sentinelGround) failover(s *soak, _ *rand.Rand) {
	old := g.masters(s.t)[0]
	next := g.other(old)
	old.Kill()
	g.awaitMaster(s.t, next)
	old.Restart()
	host, port, _ := strings.Cut(next.Addr, ":")
	old.Do("REPLICAOF", host, port)
	g.awaitReplica(s.t, old)
}

// isolate has the sentinels replace a master that lives on. As docs/redis.md
// advises it refuses writes without a replica.
func (g *sentinelGround) isolate(s *soak, r *rand.Rand) {
	old := g.masters(s.t)[0]
	next := g.other(old)
	old.Do("CONFIG", "SET", "min-replicas-to-write", 1)
	g.Isolate(old)
	g.awaitMaster(s.t, next)
	s.pause(between(r, 0, 2000))
	g.Rejoin(old)
	g.awaitReplica(s.t, old)
	old.Do("CONFIG", "SET", "min-replicas-to-write", 0)
}

func (g *sentinelGround) other(server *redistest.Server) *redistest.Server {
	if server == g.Master {
		return g.Replica
	}
	return g.Master
}

func (g *sentinelGround) awaitMaster(t *testing.T, server *redistest.Server) {
	t.Helper()
	await(t, "the sentinels agree on the new master", func() bool {
		return g.isMaster(server) && replication(server, "role:master")
	})
}

func (g *sentinelGround) awaitReplica(t *testing.T, server *redistest.Server) {
	t.Helper()
	await(t, "the replica is in sync", func() bool { return replication(server, "master_link_status:up") })
}

// replication reports whether a server says this of its replication.
func replication(server *redistest.Server, line string) bool {
	return strings.Contains(fmt.Sprint(server.Do("INFO", "replication")), line)
}

// A clusterGround is a cluster with classic channels.
type clusterGround struct {
	*redistest.Cluster
	added []*redistest.Server
}

func startClusterGround(t *testing.T) ground {
	return &clusterGround{Cluster: redistest.StartCluster(t, "--cluster-node-timeout", "3000")}
}

func (g *clusterGround) masters(*testing.T) []*redistest.Server { return g.Masters }

func (g *clusterGround) known() []string {
	var addrs []string
	for _, s := range slices.Concat(g.Masters, g.Replicas) {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

func (g *clusterGround) option(dial dialer) redis.Option {
	return redis.WithCluster(&goredis.ClusterOptions{Addrs: g.Addrs(), Dialer: dial})
}

func (g *clusterGround) childServers() string        { return "cluster " + strings.Join(g.Addrs(), " ") }
func (g *clusterGround) restarted(*redistest.Server) {}

func (g *clusterGround) tidy() {
	for _, s := range g.added {
		s.Kill()
	}
}

func (g *clusterGround) faults() []fault {
	return []fault{
		{name: "failover", mayLose: true, mayRepeat: true, mayForget: true, mayReorder: true, do: g.failover},
		// Meanwhile classic channels go through another master, and what the paused one
		// has been sent comes when it goes on.
		{name: "server paused", mayLose: true, mayReorder: true, do: pauseServer},
		// Calls wait while a slot that they need migrates.
		{name: "slots migrated", mayLose: true, mayReorder: true, do: g.migrate},
		{name: "cluster made larger", mayLose: true, mayReorder: true, do: func(*soak, *rand.Rand) { g.enlarge() }},
		{name: "cluster made smaller", mayLose: true, mayReorder: true, do: g.shrink},
	}
}

// failover kills a master, waits until its replica has taken over, and makes the
// one the other's replica.
func (g *clusterGround) failover(s *soak, r *rand.Rand) {
	i := r.IntN(len(g.Masters))
	for g.Replicas[i] == nil {
		i = (i + 1) % len(g.Masters)
	}
	old, next := g.Masters[i], g.Replicas[i]
	g.Failover(i)
	old.Restart()
	await(s.t, "the old master is a replica in sync", func() bool { return replication(old, "master_link_status:up") })
	g.Masters[i], g.Replicas[i] = next, old
}

// migrate moves some slots that are in use to another master.
func (g *clusterGround) migrate(s *soak, r *rand.Rand) {
	for range 3 {
		keys := g.Masters[r.IntN(len(g.Masters))].Do("KEYS", "*").([]any)
		if len(keys) == 0 {
			continue
		}
		slot := int(g.Masters[0].Do("CLUSTER", "KEYSLOT", keys[r.IntN(len(keys))]).(int64))
		from := g.Owner(slot)
		g.MigrateSlot(slot, from, (from+1+r.IntN(len(g.Masters)-1))%len(g.Masters))
		s.pause(between(r, 0, 200))
	}
}

func (g *clusterGround) enlarge() { g.added = append(g.added, g.ScaleOut()) }

// shrink takes a master out, which then lives on for a while. Three stay, so that
// they are a majority when one of them fails.
func (g *clusterGround) shrink(s *soak, r *rand.Rand) {
	if len(g.Masters) == 3 {
		g.enlarge()
	}
	i := r.IntN(len(g.Masters))
	// One with a replica has to be left for failovers.
	if g.Replicas[i] != nil && !slices.ContainsFunc(slices.Delete(slices.Clone(g.Replicas), i, i+1), isServer) {
		i = (i + 1) % len(g.Masters)
	}
	removed := g.ScaleIn(i)
	s.pause(between(r, 0, 3000))
	removed.Kill()
}

func isServer(s *redistest.Server) bool { return s != nil }
