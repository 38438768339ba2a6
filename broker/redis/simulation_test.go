package redis

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/internal/redissim"
)

var (
	simSeeds    = flag.Int("sim.seeds", seeds(), "how many seeds TestSimulation runs")
	simFirst    = flag.Uint64("sim.first", 1, "the first of them")
	simSeed     = flag.Uint64("sim.seed", 0, "the one seed that TestSimulation runs, and tells all about")
	simFailures = flag.Int64("sim.failures", 10, "after how many seeds that failed TestSimulation ends")
	simKind     = flag.String("sim.kind", "", "the only kind of fault that TestSimulation makes")
)

// seeds is how many seeds are for every day. What they do is the same with the race
// detector, which takes eight times as long.
func seeds() int {
	if race.Enabled {
		return 6
	}
	return 20
}

// TestSimulation lets systems of nodes, callees and a Redis in memory run in
// simulated time, while faults come and go as a seed says, and checks that
//
//   - each acknowledged call has one outcome, in time, and who has nothing to do with
//     a fault notices nothing;
//   - each confirmed subscription gets each event, or a gap before the next one, also where
//     events are kept, which they are on two channels in a third of the seeds;
//   - nothing runs twice unless the documents say so.
//
// The same seed makes the same faults and requests; how goroutines take turns
// differs.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		runSeed(t, *simSeed, true)
		return
	}
	var next, failures atomic.Int64
	began := time.Now()
	for worker := range 2 {
		t.Run(fmt.Sprint("worker ", worker), func(t *testing.T) {
			t.Parallel()
			for {
				n := next.Add(1) - 1
				if n >= int64(*simSeeds) || failures.Load() > *simFailures {
					return
				}
				seed := *simFirst + uint64(n)
				if !runSeed(t, seed, false) {
					failures.Add(1)
				}
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d seeds in %v", next.Load(), time.Since(began)) })
}

// A simulation is one system with its faults.
type simulation struct {
	seed  uint64
	rand  *rand.Rand // of the schedule, which is made in one goroutine
	began time.Time
	kind  string // of the system
	world *redissim.World
	books *simBooks
	keys  *keyspace

	masters   []*redissim.Server
	sentinels []*redissim.Server
	made      int // servers

	nodes   []*simNode
	callees []*simCallee // by place; replaced when killed
	dead    []*simCallee // to be closed at the end

	over   context.Context // ends with the load
	finish context.CancelFunc
	load   sync.WaitGroup

	mu    sync.Mutex // guards the following
	trace []string
}

// runSeed runs a seed, and reports whether all promises were kept.
func runSeed(t *testing.T, seed uint64, verbose bool) bool {
	var s *simulation
	synctest.Test(t, func(t *testing.T) { s = simulate(t, seed) })
	s.report(t, verbose)
	return len(s.books.violations) == 0
}

func simulate(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		seed:  seed,
		rand:  rand.New(rand.NewPCG(seed, 0)),
		began: time.Now(),
		world: redissim.New(seed),
	}
	s.books = &simBooks{sim: s, calls: map[int]*simCall{}, used: map[simUse]time.Time{}}
	s.over, s.finish = context.WithCancel(t.Context())
	s.build()
	s.open()
	s.play()
	s.rage()
	s.finish()
	s.load.Wait()
	s.settle()
	s.books.check()
	s.close()
	for _, name := range s.world.Strange() {
		s.books.violated("the fake does not know %s", name)
	}
	return s
}

// report reports what was violated, and all that happened if that is wanted.
func (s *simulation) report(t *testing.T, verbose bool) {
	if verbose {
		t.Logf("seed %d\n%s\ncalls\n%s", s.seed, strings.Join(s.trace, "\n"), s.books.summary())
	}
	v := s.books.violations
	if len(v) == 0 {
		return
	}
	for _, what := range v[:min(len(v), 3)] {
		t.Errorf("seed %d: %s", s.seed, what)
	}
	var faults []string
	for _, trouble := range s.books.troubles {
		faults = append(faults, fmt.Sprintf("%s at %.3f", trouble.kind, trouble.from.Sub(s.began).Seconds()))
	}
	t.Errorf("seed %d: %d violations; %s; repeat with -run TestSimulation -sim.seed %d -v", s.seed, len(v), strings.Join(faults, ", "), s.seed)
}

// tell adds a line to the trace.
func (s *simulation) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trace = append(s.trace, fmt.Sprintf("%8.3f  %s", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...)))
}

// logger has a process tell its warnings.
func (s *simulation) logger(process string) *slog.Logger {
	return slog.New(slog.NewTextHandler(simWriter{s, process}, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

type simWriter struct {
	sim     *simulation
	process string
}

func (w simWriter) Write(p []byte) (int, error) {
	w.sim.tell("    %s: %s", w.process, strings.TrimSpace(string(p)))
	return len(p), nil
}

// pick returns one of several by the schedule's rand.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// between returns a random time.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// pause waits, unless the load ends.
func (s *simulation) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.over.Done():
	}
}

// lanesOf returns the lanes whose master a server is.
func (s *simulation) lanesOf(server *redissim.Server) (lanes []int) {
	for i := range s.keys.tags {
		if s.masterOf(i) == server {
			lanes = append(lanes, i)
		}
	}
	return lanes
}

func (s *simulation) masterOf(lane int) *redissim.Server {
	if s.kind == "cluster" {
		return s.world.Owner(s.keys.slotOf(lane))
	}
	return s.masters[0]
}

// newServer adds a server.
func (s *simulation) newServer() *redissim.Server {
	s.made++
	return s.world.Server(fmt.Sprintf("10.0.0.%d:6379", s.made))
}

// replace has another server take the place of a master.
func (s *simulation) replace(old, with *redissim.Server) {
	s.masters[slices.Index(s.masters, old)] = with
}
