package systemtest_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/juggler-go/juggler/internal/redistest"
)

// faults are what a storm consists of. Each returns when it is over.
var faults = []struct {
	name string
	do   func(*soak, *rand.Rand)
}{
	{"connections cut", func(s *soak, r *rand.Rand) {
		for range 1 + r.IntN(5) {
			s.eachProxy(r, (*redistest.Proxy).CutOnce)
			s.pause(between(r, 0, 100))
		}
	}},
	{"a broker cut off", func(s *soak, r *rand.Rand) {
		restore := s.eachProxy(r, (*redistest.Proxy).Cut)
		s.pause(between(r, 10, 1500))
		restore()
	}},
	{"replies lost", func(s *soak, r *rand.Rand) {
		var replies atomic.Int64
		nth := int64(1 + r.IntN(200))
		restore := s.eachProxy(r, func(p *redistest.Proxy) {
			p.Swallow(func([]byte) bool { return replies.Add(1)%nth == 0 })
		})
		s.pause(between(r, 100, 500))
		restore()
	}},
	{"server paused", func(s *soak, r *rand.Rand) {
		master := s.master(s.t)
		master.Pause()
		s.pause(between(r, 100, 1500))
		master.Resume()
	}},
	{"server restarted", func(s *soak, _ *rand.Rand) {
		master := s.master(s.t)
		master.Kill()
		master.Restart()
		// The set's replica, once it is the master, starts as a replica again.
		if err := s.admins[master].ReplicaOf(s.t.Context(), "no", "one").Err(); err != nil {
			s.t.Error(err)
		}
	}},
	{"out of memory", func(s *soak, r *rand.Rand) {
		admin := s.admins[s.master(s.t)]
		limit := func(bytes string) {
			if err := admin.ConfigSet(s.t.Context(), "maxmemory", bytes).Err(); err != nil {
				s.t.Error(err)
			}
		}
		limit("1")
		s.pause(between(r, 100, 500))
		limit("0")
	}},
	{"scripts flushed", func(s *soak, _ *rand.Rand) {
		if err := s.admins[s.master(s.t)].ScriptFlush(s.t.Context()).Err(); err != nil {
			s.t.Error(err)
		}
	}},
	{"callee killed", func(s *soak, _ *rand.Rand) { s.child.restart() }},
	{"callee stands still", func(s *soak, r *rand.Rand) {
		s.child.signal(syscall.SIGSTOP)
		s.pause(between(r, 100, 3000)) // its lease is a second
		s.child.signal(syscall.SIGCONT)
	}},
	{"callee drained", func(s *soak, _ *rand.Rand) { s.callee.replace() }},
	{"failover", func(s *soak, _ *rand.Rand) { s.failover() }},
}

// everyFault makes each fault happen once, in random order, until the end.
func (s *soak) everyFault(r *rand.Rand, end time.Time) {
	for _, i := range r.Perm(len(faults)) {
		if time.Now().After(end) {
			return
		}
		begin := time.Now()
		faults[i].do(s, r)
		s.t.Logf("%s for %v", faults[i].name, time.Since(begin).Round(time.Millisecond))
		s.books.count(faults[i].name)
		s.pause(between(r, 100, 1000))
	}
}

// eachProxy does something to the proxies of one broker or of all, and returns
// what ends it.
func (s *soak) eachProxy(r *rand.Rand, do func(*redistest.Proxy)) (restore func()) {
	chosen := s.proxies
	if i := r.IntN(len(s.proxies) + 1); i < len(s.proxies) {
		chosen = s.proxies[i : i+1]
	}
	for _, proxies := range chosen {
		for _, p := range proxies {
			do(p)
		}
	}
	return func() {
		for _, proxies := range chosen {
			for _, p := range proxies {
				p.Restore()
			}
		}
	}
}

// failover kills the master, waits until the sentinels have made the replica
// the master, and gives that a new replica.
func (s *soak) failover() {
	old := s.master(s.t)
	servers := []*redistest.Server{s.set.Master, s.set.Replica}
	next := servers[1-slices.Index(servers, old)]
	old.Kill()
	await(s.t, "the sentinels agree on the new master", func() bool {
		return s.isMaster(s.t, next) && strings.Contains(s.replication(next), "role:master")
	})
	old.Restart()
	host, port, _ := strings.Cut(next.Addr, ":")
	if err := s.admins[old].ReplicaOf(s.t.Context(), host, port).Err(); err != nil {
		s.t.Error(err)
	}
	await(s.t, "the replica is in sync", func() bool {
		return strings.Contains(s.replication(old), "master_link_status:up")
	})
}

func (s *soak) replication(server *redistest.Server) string {
	return s.admins[server].Info(s.t.Context(), "replication").Val()
}
