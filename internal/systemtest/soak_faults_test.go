//go:build long

package systemtest_test

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/juggler-go/juggler/internal/redistest"
)

// A fault is one that a storm consists of, with what docs/redis.md says it may
// cost.
type fault struct {
	name       string
	mayLose    bool                    // calls and results, so that calls expire
	mayRepeat  bool                    // calls that have been taken, so that they run once more
	mayForget  bool                    // what is kept of calls with keys, so that they are made once more
	mayReorder bool                    // events that one client has published one after the other
	mayMiss    bool                    // events that were published where nobody listens any more
	do         func(*soak, *rand.Rand) // returns when it is over
}

// faults are those of every ground.
var faults = []fault{
	{name: "connections cut", mayLose: true, do: func(s *soak, r *rand.Rand) {
		for range 1 + r.IntN(5) {
			s.eachProxy(r, (*redistest.Proxy).CutOnce)
			s.pause(between(r, 0, 100))
		}
	}},
	{name: "a broker cut off", mayLose: true, do: func(s *soak, r *rand.Rand) {
		restore := s.eachProxy(r, (*redistest.Proxy).Cut)
		s.pause(between(r, 10, 1500))
		restore()
	}},
	{name: "replies lost", mayLose: true, do: func(s *soak, r *rand.Rand) {
		var replies atomic.Int64
		nth := int64(1 + r.IntN(200))
		restore := s.eachProxy(r, func(p *redistest.Proxy) {
			p.Swallow(func([]byte) bool { return replies.Add(1)%nth == 0 })
		})
		s.pause(between(r, 100, 500))
		restore()
	}},
	{name: "connections forgotten", mayLose: true, do: func(s *soak, r *rand.Rand) {
		s.eachProxy(r, (*redistest.Proxy).Forget)
	}},
	{name: "links held up", do: func(s *soak, r *rand.Rand) {
		restore := s.eachProxy(r, (*redistest.Proxy).Hold)
		s.pause(between(r, 10, 700)) // less than it takes to give a connection up
		restore()
	}},
	{name: "links slow", do: func(s *soak, r *rand.Rand) {
		rate, delay := 20_000+r.IntN(200_000), between(r, 0, 30)
		restore := s.eachProxy(r, func(p *redistest.Proxy) { p.Slow(rate, delay) })
		s.pause(between(r, 100, 1500))
		restore()
	}},
	{name: "server restarted", mayLose: true, mayForget: true, do: func(s *soak, r *rand.Rand) {
		master := s.master(r)
		master.Kill()
		master.Restart()
		s.restarted(master)
	}},
	{name: "snapshot restored", mayLose: true, mayRepeat: true, mayForget: true, do: func(s *soak, r *rand.Rand) {
		master := s.master(r)
		master.Snapshot()
		s.pause(between(r, 10, 500))
		master.RestoreSnapshot()
		s.restarted(master)
	}},
	{name: "writes refused", do: func(s *soak, r *rand.Rand) {
		reasons := []redistest.Refusal{redistest.OutOfMemory, redistest.TooFew, redistest.DiskFull}
		accept := s.master(r).RefuseWrites(reasons[r.IntN(len(reasons))])
		s.pause(between(r, 100, 2000))
		accept()
	}},
	{name: "keys flushed", mayLose: true, mayForget: true, do: func(s *soak, r *rand.Rand) { s.master(r).Do("FLUSHALL") }},
	{name: "scripts flushed", do: func(s *soak, r *rand.Rand) { s.master(r).Do("SCRIPT", "FLUSH") }},
	{name: "callee killed", do: func(s *soak, _ *rand.Rand) { s.child.restart() }},
	{name: "callee stands still", mayLose: true, do: func(s *soak, r *rand.Rand) {
		s.child.signal(syscall.SIGSTOP)
		s.pause(between(r, 100, 3000)) // its lease is a second
		s.child.signal(syscall.SIGCONT)
	}},
	{name: "callee drained", do: func(s *soak, _ *rand.Rand) { s.callee.replace() }},
}

// pauseServer is a fault of every ground, which may cost more in some.
func pauseServer(s *soak, r *rand.Rand) {
	master := s.master(r)
	master.Pause()
	s.pause(between(r, 100, 1500))
	master.Resume()
}

// everyFault makes each fault happen once, in random order, until the end.
func (s *soak) everyFault(r *rand.Rand, end time.Time) {
	wanted := regexp.MustCompile(*soakFaults)
	all := slices.DeleteFunc(slices.Concat(faults, s.faults()), func(f fault) bool { return !wanted.MatchString(f.name) })
	for _, i := range r.Perm(len(all)) {
		if time.Now().After(end) {
			return
		}
		f := &all[i]
		over := s.books.suffers(f)
		begin := time.Now()
		f.do(s, r)
		over()
		s.t.Logf("%s for %v", f.name, time.Since(begin).Round(time.Millisecond))
		s.books.count(f.name)
		s.pause(between(r, 100, 1000))
	}
}

// master returns one of the masters.
func (s *soak) master(r *rand.Rand) *redistest.Server {
	masters := s.masters(s.t)
	return masters[r.IntN(len(masters))]
}

// eachProxy does something to the proxies of one broker or of all, and returns
// what ends it.
func (s *soak) eachProxy(r *rand.Rand, do func(*redistest.Proxy)) (restore func()) {
	chosen := s.doors
	if i := r.IntN(len(s.doors) + 1); i < len(s.doors) {
		chosen = s.doors[i : i+1]
	}
	for _, d := range chosen {
		d.each(do)
	}
	return func() {
		for _, d := range chosen {
			d.each((*redistest.Proxy).Restore)
		}
	}
}
