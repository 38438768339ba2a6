//go:build long

package systemtest_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
)

var (
	soakTime   = flag.Duration("soak", 35*time.Second, "how long TestSoak lets clients and faults rage on each topology")
	soakSeed   = flag.Uint64("soak.seed", 0, "the seed of TestSoak; 0 takes a new one")
	soakFaults = flag.String("soak.faults", "", "a pattern of the names of TestSoak's faults; others do not happen")
)

// keptChannel is the rule of the channel whose events are kept.
var keptChannel = broker.HistoryRule{Channels: channels[0].Name, Events: 1000, For: time.Minute}

// A soak is two nodes, a callee here and one in a process of its own, and
// clients that do what they like, on servers that suffer all faults.
type soak struct {
	t     *testing.T
	seed  uint64
	books *books
	ground

	topics []broker.Topic
	nodes  []*node
	callee *localCallee
	child  *childProcess
	doors  []*door // of each broker here

	over chan struct{} // closed when clients and faults come to their end
}

// TestSoak checks that whatever happens
//
//   - a request gets one ACK or NACK, first of all, and an acknowledged call one
//     outcome, its own, soon after its time is over at the latest; a call that is
//     answered at once expires only where a fault may lose calls;
//   - all who make a call with the same key get the same outcome, and it runs once,
//     but where a fault loses what is kept;
//   - an answer in parts has all of them before its result, in order;
//   - what was refused is not done, and nothing is done twice, but where a fault
//     brings back calls that have been taken;
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
	for name, start := range map[string]func(*testing.T) ground{
		"standalone": startStandaloneGround,
		"sentinel":   startSentinelGround,
		"cluster":    startClusterGround,
	} {
		t.Run(name, func(t *testing.T) {
			t.Logf("this storm, as far as it can be repeated: -run TestSoak/%s -soak %v -soak.seed %d", name, *soakTime, seed)
			testSoak(t, seed, start(t))
		})
	}
}

func testSoak(t *testing.T, seed uint64, g ground) {
	s := &soak{
		seed:   seed,
		books:  newBooks(),
		ground: g,
		topics: append(patterns, channels...),
		over:   make(chan struct{}),
	}
	descriptors, goroutines := countDescriptors(t), runtime.NumGoroutine()
	t.Run("storm", s.run)
	for _, master := range s.masters(t) {
		client := master.Client()
		for key, ttl := range keysOf(t, client) {
			if strings.HasSuffix(key, ":rules") || strings.Contains(key, ":pos:") {
				continue // of history: these outlive what they are for
			}
			if ttl < 0 || ttl > longestCall+time.Minute {
				t.Errorf("key %q expires in %v", key, ttl)
			}
		}
		client.Close()
	}
	s.tidy()
	await(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	await(t, "no descriptor is left", func() bool { return countDescriptors(t) <= descriptors })
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
		s.nodes = append(s.nodes, startNodeOn(t, newBroker(t, s.brokerOptions()...),
			juggler.WithOutcomes(juggler.OutcomeRule{URIs: "*", Keep: keepKeyed})))
	}
	s.callee = newLocalCallee(t, s.books, s.brokerOptions())
	s.child = startChildProcess(t, s.books, s.childServers)

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

// brokerOptions are those of a broker that reaches the servers through a door of
// its own, so that a fault may concern it alone.
func (s *soak) brokerOptions() []redis.Option {
	d := newDoor(s.t, s.known())
	s.doors = append(s.doors, d)
	return quick(s.option(d.dial), redis.WithHistory(keptChannel))
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
