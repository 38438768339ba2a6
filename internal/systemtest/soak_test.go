package systemtest_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

var (
	soakTime = flag.Duration("soak", 35*time.Second, "how long TestSoak lets clients and faults rage")
	soakSeed = flag.Uint64("soak.seed", 0, "the seed of TestSoak; 0 takes a new one")
)

// A soak is two nodes, a callee here and one in a process of its own, and
// clients that do what they like, on a Sentinel set that suffers all faults.
type soak struct {
	t      *testing.T
	seed   uint64
	books  *books
	set    *redistest.SentinelSet
	admins map[*redistest.Server]*goredis.Client
	// sentinels are asked who the master is.
	sentinels []*goredis.Client

	topics  []broker.Topic
	nodes   []*node
	callee  *localCallee
	child   *childProcess
	proxies []map[string]*redistest.Proxy // of each broker here -> by the server's address

	over chan struct{} // closed when clients and faults come to their end
}

// TestSoak checks that whatever happens
//
//   - a request gets one ACK or NACK, first of all, and an acknowledged call one
//     outcome, its own; what was refused is not done, and nothing is done twice;
//   - events come once, in the order of their publisher, and none is missing
//     without a gap;
//   - afterwards calls are answered, and the subscriptions that lived through it
//     deliver;
//   - in the end no goroutine, no descriptor, no connection and no key is left
//     that does not expire.
func TestSoak(t *testing.T) { // not parallel: it counts goroutines and descriptors
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("this storm, as far as it can be repeated: -run TestSoak -soak %v -soak.seed %d", *soakTime, seed)
	set := redistest.StartSentinel(t)
	s := &soak{
		seed:   seed,
		books:  newBooks(),
		set:    set,
		admins: map[*redistest.Server]*goredis.Client{},
		topics: append(patterns, channels...),
		over:   make(chan struct{}),
	}
	for _, server := range []*redistest.Server{set.Master, set.Replica} {
		s.admins[server] = server.Client()
		s.admins[server].Ping(t.Context())
	}
	s.calmSentinels(t)
	descriptors, goroutines := countDescriptors(t), runtime.NumGoroutine()
	t.Run("storm", s.run)
	await(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	await(t, "no descriptor is left", func() bool { return countDescriptors(t) <= descriptors })
	for key, ttl := range keysOf(t, s.admins[s.master(t)]) {
		if ttl < 0 || ttl > longestCall+time.Minute {
			t.Errorf("key %q expires in %v", key, ttl)
		}
	}
}

// calmSentinels connects to the sentinels, and keeps the sentinels from taking a pause of the master for its
// end: a set with two masters is not what is tested here.
func (s *soak) calmSentinels(t *testing.T) {
	for _, sentinel := range s.set.Sentinels {
		client := sentinel.Client()
		s.sentinels = append(s.sentinels, client)
		err := client.Do(t.Context(), "SENTINEL", "SET", s.set.MasterName, "down-after-milliseconds", 3000).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// run lets everything happen for a while, and then wants everything to work.
func (s *soak) run(t *testing.T) {
	s.t = t
	for range 2 {
		s.nodes = append(s.nodes, startNode(t, s.brokerOptions()...))
	}
	s.callee = newLocalCallee(t, s.books, s.brokerOptions())
	s.child = startChildProcess(t, s.books, s.set)

	s.play(9, func() {
		storm := rand.New(rand.NewPCG(s.seed, 0))
		for end := time.Now().Add(*soakTime); time.Now().Before(end); {
			s.everyFault(storm, end)
		}
	})
	s.books.check(t)
}

// play lets players loose while storm runs, and then wants everything to work
// for them.
func (s *soak) play(players int, storm func()) {
	var playing sync.WaitGroup
	all := make([]*player, players)
	for i := range all {
		all[i] = newPlayer(s, i)
		playing.Go(all[i].play)
	}
	calm := sync.OnceFunc(func() {
		close(s.over)
		playing.Wait()
	})
	defer calm() // also when a fault cannot be made
	storm()
	calm()

	var settling sync.WaitGroup
	for _, p := range all {
		settling.Go(p.settle)
	}
	settling.Wait()
	for _, p := range all {
		p.session.end()
	}
}

// brokerOptions are those of a broker that reaches the servers through proxies
// of its own, so that a fault may concern it alone.
func (s *soak) brokerOptions() []redis.Option {
	proxies := map[string]*redistest.Proxy{}
	for server := range s.admins {
		proxies[server.Addr] = redistest.StartProxy(s.t, server.Addr)
	}
	s.proxies = append(s.proxies, proxies)
	options := s.set.Options()
	options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if p := proxies[addr]; p != nil {
			addr = p.Addr
		}
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	return quick(redis.WithSentinel(options))
}

// pause waits, unless everything comes to its end.
func (s *soak) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.over:
	}
}

// between is a random time from low to high milliseconds.
func between(r *rand.Rand, low, high int) time.Duration {
	return time.Duration(low+r.IntN(high-low+1)) * time.Millisecond
}

// master waits until all sentinels take one server for the master, and returns
// that.
func (s *soak) master(t *testing.T) (master *redistest.Server) {
	t.Helper()
	await(t, "the sentinels agree who is the master", func() bool {
		for server := range s.admins {
			if s.isMaster(t, server) {
				master = server
			}
		}
		return master != nil
	})
	return master
}

func (s *soak) isMaster(t *testing.T, server *redistest.Server) bool {
	for _, sentinel := range s.sentinels {
		addr, err := sentinel.Do(t.Context(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.set.MasterName).StringSlice()
		if err != nil || net.JoinHostPort(addr[0], addr[1]) != server.Addr {
			return false
		}
	}
	return true
}
