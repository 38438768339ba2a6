package redis

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/juggler-go/juggler/internal/redissim"
)

// A simFault makes one fault and undoes it. It is given a rand of its own, so that
// faults at the same time do not change each other.
type simFault func(s *simulation, r *rand.Rand)

// simFaults are the faults of all systems, and those of one kind.
var simFaults = map[string]map[string]simFault{
	"": {
		"cut":       simCut,
		"swallow":   simSwallow,
		"hold":      simHold,
		"lose":      simLose,
		"delay":     simDelay,
		"refuse":    simRefuse,
		"pause":     simPause,
		"restart":   simRestart,
		"snapshot":  simSnapshot,
		"flush":     simFlush,
		"evict":     simEvict,
		"misconf":   simMisconf,
		"noreplica": simNoReplicas,
		"oom":       simOOM,
		"scripts":   simScripts,
		"clock":     simClock,
		"callee":    simCalleeKilled,
	},
	"sentinel": {"failover": simFailover, "partition": simPartition},
	"cluster": {
		"failover": simFailover, "isolate": simIsolate, "migrate": simMigrate,
		"scale-in": simScaleIn, "scale-out": simScaleOut, "cut-off": simCutOff,
	},
}

// rage makes faults, one or two at a time, and waits until they are over.
func (s *simulation) rage() {
	kinds := slices.Sorted(maps.Keys(simFaults[""]))
	kinds = append(kinds, slices.Sorted(maps.Keys(simFaults[s.kind]))...)
	s.pause(between(s.rand, time.Second, 3*time.Second))
	for range 1 + s.rand.IntN(4) {
		kind := kinds[s.rand.IntN(len(kinds))]
		if *simKind != "" {
			kind = *simKind
		}
		fault := simFaults[s.kind][kind]
		if fault == nil {
			fault = simFaults[""][kind]
		}
		r := rand.New(rand.NewPCG(s.seed, s.rand.Uint64()))
		gap := between(s.rand, 0, 8*time.Second)
		if fault != nil {
			fault(s, r)
		}
		s.pause(gap)
	}
}

// during makes a trouble, lets something be done, and ends it.
func (s *simulation) during(t *simTrouble, f func()) {
	s.tell("FAULT %s: lanes %v, processes %v", t.kind, t.lanes, t.processes)
	s.books.trouble(t)
	f()
	s.books.over(t)
	s.tell("FAULT %s is over", t.kind)
}

// someMaster chooses a master, with the trouble that it may give.
func (s *simulation) someMaster(r *rand.Rand, kind string) (*redissim.Server, *simTrouble) {
	m := s.masters[r.IntN(len(s.masters))]
	return m, &simTrouble{kind: fmt.Sprint(kind, " of ", m.Addr), lanes: s.lanesOf(m)}
}

// someWay chooses between all processes and one, on the way to a master.
func (s *simulation) someWay(r *rand.Rand, kind string) (process, addr string, t *simTrouble) {
	m, t := s.someMaster(r, kind)
	if process = pick(r, "", "", "node-1", "node-2", s.callees[0].name, s.callees[1].name); process != "" {
		t.processes = []string{process}
	}
	return process, m.Addr, t
}

func simCut(s *simulation, r *rand.Rand) {
	process, addr, t := s.someWay(r, "cut")
	t.loses = true
	s.during(t, func() { s.world.Cut(process, addr) })
}

func simSwallow(s *simulation, r *rand.Rand) {
	process, addr, t := s.someWay(r, "swallow")
	t.loses = true
	s.during(t, func() { s.world.Swallow(process, addr) })
}

func simLose(s *simulation, r *rand.Rand) {
	process, addr, t := s.someWay(r, "lose")
	t.loses = true
	s.during(t, func() {
		s.world.LoseReplies(process, addr)
		s.pause(5 * time.Second)
	})
}

func simHold(s *simulation, r *rand.Rand) {
	process, addr, t := s.someWay(r, "hold")
	t.loses = true
	d := between(r, 100*time.Millisecond, 10*time.Second)
	t.kills = cutOff(process, d)
	s.during(t, func() {
		s.world.Hold(process, addr, true)
		s.pause(d)
		s.world.Hold(process, addr, false)
	})
}

// cutOff returns the callee that may be taken for dead when its way is broken: its
// last beat was some time ago, and it may pause before it connects again.
func cutOff(process string, d time.Duration) string {
	c := defaultConfig()
	if d > c.lease-c.lease/4-c.backoffMax {
		return process
	}
	return ""
}

func simRefuse(s *simulation, r *rand.Rand) {
	process, addr, t := s.someWay(r, "refuse")
	t.loses = true
	d := between(r, 100*time.Millisecond, 10*time.Second)
	t.kills = cutOff(process, d)
	s.during(t, func() {
		s.world.Refuse(process, addr, true)
		s.world.Cut(process, addr)
		s.pause(d)
		s.world.Refuse(process, addr, false)
	})
}

func simDelay(s *simulation, r *rand.Rand) {
	process, addr, t := s.someWay(r, "delay")
	s.during(t, func() {
		s.world.Delay(process, addr, between(r, 10*time.Millisecond, 200*time.Millisecond))
		s.pause(between(r, time.Second, 10*time.Second))
		s.world.Delay(process, addr, 0)
	})
}

func simPause(s *simulation, r *rand.Rand) {
	m, t := s.someMaster(r, "pause")
	t.loses = true
	s.during(t, func() {
		m.Pause()
		s.pause(between(r, 100*time.Millisecond, 12*time.Second))
		m.Resume()
	})
}

func simRestart(s *simulation, r *rand.Rand) { s.restart(r, "restart", false) }

func simSnapshot(s *simulation, r *rand.Rand) { s.restart(r, "snapshot", true) }

// restart kills a server and starts it with nothing, or with what it held before.
func (s *simulation) restart(r *rand.Rand, kind string, snapshot bool) {
	m, t := s.someMaster(r, kind)
	var held redissim.Snapshot
	if snapshot {
		held, t.held = m.Snapshot(), time.Now()
		s.pause(between(r, 100*time.Millisecond, 5*time.Second))
	}
	t.loses, t.doubles = true, snapshot
	s.during(t, func() {
		m.Kill()
		s.pause(between(r, 100*time.Millisecond, 10*time.Second))
		m.Start(held)
		m.Load(true)
		s.pause(between(r, 0, 2*time.Second))
		m.Load(false)
	})
}

func simFlush(s *simulation, r *rand.Rand) {
	m, t := s.someMaster(r, "flush")
	t.loses = true
	s.during(t, m.Flush)
}

func simEvict(s *simulation, r *rand.Rand) {
	m, t := s.someMaster(r, "evict")
	t.loses, t.evicts = true, true
	s.during(t, func() {
		for range 1 + r.IntN(5) {
			m.Evict(0.3)
			s.pause(between(r, 0, 2*time.Second))
		}
	})
}

func simMisconf(s *simulation, r *rand.Rand) {
	s.refusing(r, "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.")
}

func simNoReplicas(s *simulation, r *rand.Rand) {
	s.refusing(r, "NOREPLICAS Not enough good replicas to write.")
}

func (s *simulation) refusing(r *rand.Rand, err string) {
	m, t := s.someMaster(r, err[:7])
	s.during(t, func() {
		m.RefuseWrites(err)
		s.pause(between(r, 100*time.Millisecond, 12*time.Second))
		m.RefuseWrites("")
	})
}

func simOOM(s *simulation, r *rand.Rand) {
	m, t := s.someMaster(r, "OOM")
	s.during(t, func() {
		m.Fill(true)
		s.pause(between(r, 100*time.Millisecond, 12*time.Second))
		m.Fill(false)
	})
}

// simScripts gives no trouble.
func simScripts(s *simulation, r *rand.Rand) {
	m, _ := s.someMaster(r, "scripts")
	s.tell("FAULT scripts of %s flushed", m.Addr)
	m.ForgetScripts()
}

func simClock(s *simulation, r *rand.Rand) {
	m, t := s.someMaster(r, "clock")
	t.loses = true
	d := time.Duration(pick(r, -1, 1)) * between(r, 100*time.Millisecond, 30*time.Second)
	t.kind = fmt.Sprint(t.kind, " by ", d)
	s.during(t, func() { m.StepClock(d) })
}

// simCalleeKilled kills a callee, as kill -9 does, and starts another one.
func simCalleeKilled(s *simulation, r *rand.Rand) {
	i := r.IntN(len(s.callees))
	old := s.callees[i]
	t := &simTrouble{kind: "kill " + old.name, kills: old.name, loses: true}
	for lane := range s.keys.tags {
		t.lanes = append(t.lanes, lane)
	}
	s.during(t, func() {
		s.world.Hold(old.name, "", true)
		s.dead = append(s.dead, old)
		s.pause(between(r, 0, 3*time.Second))
		s.made++
		s.callees[i] = s.openCallee(fmt.Sprint("callee-", 100+s.made))
	})
}

// simFailover has a replica take over from a master that died. What came in the
// last moment was not replicated.
func simFailover(s *simulation, r *rand.Rand) {
	if s.cannotVote() {
		return
	}
	m, t := s.someMaster(r, "failover")
	t.loses, t.doubles = true, true
	s.during(t, func() {
		replica := m.Snapshot()
		s.pause(between(r, 0, 300*time.Millisecond))
		m.Kill()
		s.pause(between(r, time.Second, 8*time.Second))
		s.promote(m, replica)
	})
}

// cannotVote reports whether too few masters of a cluster are left to let a replica
// take over: more than half of them have to agree, and one of them is lost.
func (s *simulation) cannotVote() bool { return s.kind == "cluster" && len(s.masters) < 3 }

// promote has a new server take the place of a master.
func (s *simulation) promote(old *redissim.Server, replica redissim.Snapshot) {
	lanes := s.lanesOf(old)
	to := s.newServer()
	to.Promote(replica)
	if s.kind == "cluster" {
		s.takeSlots(old, to)
	} else {
		for _, sentinel := range s.sentinels {
			sentinel.Switch("main", to.Addr)
		}
	}
	s.replace(old, to)
	s.tell("    %s takes over lanes %v from %s", to.Addr, lanes, old.Addr)
}

// takeSlots gives the slots of a master to another server.
func (s *simulation) takeSlots(old, to *redissim.Server) {
	for _, r := range s.world.Ranges(old) {
		s.world.Assign(r[0], r[1], to)
	}
}

// simPartition has the sentinels replace a master that lives on, cut off from them
// and from its replica, but not from the clients. In the end it is a replica.
func simPartition(s *simulation, r *rand.Rand) {
	m, t := s.someMaster(r, "partition")
	t.loses, t.doubles = true, true
	min := r.IntN(2) == 0
	s.during(t, func() {
		replica := m.Snapshot()
		s.pause(between(r, 0, 3*time.Second))
		if min {
			m.RefuseWrites("NOREPLICAS Not enough good replicas to write.")
			s.tell("    writes are refused for want of replicas")
		}
		s.pause(between(r, time.Second, 4*time.Second))
		s.promote(m, replica)
	})
	s.pause(between(r, 0, 20*time.Second))
	s.tell("    %s is a replica", m.Addr)
	m.RefuseWrites("")
	m.Demote()
}

// simIsolate does so in a cluster, where the master notices after a while.
func simIsolate(s *simulation, r *rand.Rand) {
	if s.cannotVote() {
		return
	}
	m, t := s.someMaster(r, "isolate")
	t.bus = true
	t.loses, t.doubles = true, true
	s.during(t, func() {
		replica := m.Snapshot()
		s.world.Isolate(m)
		s.pause(between(r, 5*time.Second, 8*time.Second)) // the cluster's node timeout
		s.world.Fail(m)
		s.pause(between(r, 500*time.Millisecond, 2*time.Second))
		s.promote(m, replica)
	})
	s.pause(between(r, 0, 20*time.Second))
	s.tell("    %s is a replica", m.Addr)
	s.world.Rejoin(m)
}

// simCutOff breaks the bus between a master and the others, for less than they need
// to notice.
func simCutOff(s *simulation, r *rand.Rand) {
	m, t := s.someMaster(r, "cut-off")
	t.bus = true
	s.during(t, func() {
		s.world.Isolate(m)
		s.pause(between(r, time.Second, 15*time.Second))
		s.world.Rejoin(m)
	})
}

// simMigrate moves the slots of a lane to another master.
func simMigrate(s *simulation, r *rand.Rand) {
	lane := r.IntN(len(s.keys.tags))
	to := s.masters[r.IntN(len(s.masters))]
	t := &simTrouble{kind: fmt.Sprint("migrate to ", to.Addr), lanes: []int{lane}}
	slot := s.keys.slotOf(lane)
	s.during(t, func() { s.world.Assign(slot, slot, to) })
}

// simScaleIn takes a master out of the cluster. Its process lives on.
func simScaleIn(s *simulation, r *rand.Rand) {
	if len(s.masters) == 1 {
		return
	}
	m, t := s.someMaster(r, "scale-in")
	s.during(t, func() {
		s.masters = slices.DeleteFunc(s.masters, func(o *redissim.Server) bool { return o == m })
		for _, r := range s.world.Ranges(m) {
			s.world.Assign(r[0], r[1], s.masters[0])
		}
		s.pause(between(r, 0, 2*time.Second))
		s.world.Remove(m)
	})
}

// simScaleOut gives some slots to a new master.
func simScaleOut(s *simulation, r *rand.Rand) {
	m, t := s.someMaster(r, "scale-out")
	s.during(t, func() {
		to := s.newServer()
		s.masters = append(s.masters, to)
		for _, r := range s.world.Ranges(m) {
			s.world.Assign((r[0]+r[1])/2, r[1], to)
		}
	})
}
