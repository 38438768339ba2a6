package redissim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Server is one process of Redis, or a sentinel. It may be made to fail.
type Server struct {
	Addr string // host:port

	world *World

	// Guarded by world.mu.
	store    store
	scripts  map[string]string // by hash
	runID    string
	step     time.Duration // its clock's before the true one
	replica  bool
	down     bool
	loading  bool
	paused   bool
	refusing fault // what writes get
	full     bool  // out of memory
	sessions []*session
	blocked  []*session // in BRPOP, the one that waits longest first

	member   bool      // of a cluster
	removed  bool      // from it
	isolated bool      // no other server reaches it
	since    time.Time // when that began
	slots    slotMap   // of one that is isolated or was removed: what it believes
	failing  bool      // it knows that it is not with the majority
	buses    map[*Server]*bus

	masters map[string]string // of a sentinel: name -> address
	epoch   int               // of its last switch
}

func (s *Server) now() time.Time { return time.Now().Add(s.step) }

func (s *Server) newRunID() string {
	r := s.world.rand
	return fmt.Sprintf("%016x%016x%08x", r.Uint64(), r.Uint64(), r.Uint32())
}

func (s *Server) lock() func() {
	s.world.mu.Lock()
	return s.world.mu.Unlock
}

// Kill ends the server: connections break, and none is accepted.
func (s *Server) Kill() {
	defer s.lock()()
	s.down, s.paused = true, false
	s.disconnect()
}

// Start starts a server that was killed, with what a snapshot holds, or nothing.
func (s *Server) Start(from Snapshot) {
	defer s.lock()()
	s.down, s.loading = false, false
	s.store, s.scripts = from.store.clone(), map[string]string{}
	s.runID = s.newRunID()
}

// Load has the server reply that it loads its data, or ends that.
func (s *Server) Load(on bool) {
	defer s.lock()()
	s.loading = on
}

// Pause stops the process; its clock goes on. Connections are accepted by the
// system.
func (s *Server) Pause() {
	defer s.lock()()
	s.paused = true
}

// Resume ends a pause.
func (s *Server) Resume() {
	defer s.lock()()
	s.paused = false
	for _, session := range slices.Clone(s.sessions) {
		session.expire()
		session.run()
	}
	s.serve()
}

// A Snapshot is what a server held.
type Snapshot struct{ store store }

// Snapshot returns what the server holds now.
func (s *Server) Snapshot() Snapshot {
	defer s.lock()()
	return Snapshot{s.store.clone()}
}

// Flush deletes all keys.
func (s *Server) Flush() {
	defer s.lock()()
	s.store = store{}
}

// Restore replaces all keys while connections live.
func (s *Server) Restore(from Snapshot) {
	defer s.lock()()
	s.store = from.store.clone()
	s.serve()
}

// Evict deletes some of the keys, each with that chance.
func (s *Server) Evict(chance float64) {
	defer s.lock()()
	for _, key := range s.keys() {
		if s.world.rand.Float64() < chance {
			delete(s.store, key)
		}
	}
}

// ForgetScripts empties the cache of scripts.
func (s *Server) ForgetScripts() {
	defer s.lock()()
	s.scripts = map[string]string{}
}

// StepClock sets the clock.
func (s *Server) StepClock(d time.Duration) {
	defer s.lock()()
	s.step += d
}

// RefuseWrites has writes get an error, or "" none: MISCONF or NOREPLICAS. With
// MISCONF a PING gets it, too, as Redis has it.
func (s *Server) RefuseWrites(err string) {
	defer s.lock()()
	s.refusing = fault(err)
}

// Fill has the server be out of memory, or not.
func (s *Server) Fill(on bool) {
	defer s.lock()()
	s.full = on
}

// Demote makes a replica of a master, as a sentinel does: its connections end.
func (s *Server) Demote() {
	defer s.lock()()
	s.replica = true
	s.disconnect()
}

// Promote makes a master of a replica, with what a snapshot holds of the old one.
func (s *Server) Promote(from Snapshot) {
	defer s.lock()()
	s.replica = false
	s.store = from.store.clone()
}

// disconnect ends all connections.
func (s *Server) disconnect() {
	for _, session := range slices.Clone(s.sessions) {
		session.link.reset()
		session.close()
	}
}

func (s *Server) keys() []string {
	var keys []string
	for key := range s.store {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// settings are what CONFIG GET knows.
func (s *Server) settings() map[string]string {
	return map[string]string{"maxmemory": "0", "maxmemory-policy": "noeviction"}
}

func info(c *call) any {
	s := c.server
	lines := []string{
		"# Server", "redis_version:7.2.0", "run_id:" + s.runID, "",
		"# Memory", "maxmemory:0", "maxmemory_policy:noeviction", "",
		"# Replication", "role:" + s.role(), "",
		"# Cluster", "cluster_enabled:" + map[bool]string{false: "0", true: "1"}[s.member], "",
	}
	return strings.Join(lines, "\r\n")
}

func (s *Server) role() string {
	if s.replica {
		return "slave"
	}
	return "master"
}

func role(c *call) any {
	if c.server.replica {
		return []any{"slave", "elsewhere", 6379, "connected", 0}
	}
	return []any{"master", 0, []any{}}
}

// refuses returns why the server does not do a command, or nil. script: it comes
// from a script, which has written already or not.
func (s *Server) refuses(c command, name string, script, written bool) any {
	switch write := c.flags&writes != 0; {
	case write && s.replica:
		return fault("READONLY You can't write against a read only replica.")
	case s.refusing != "" && (write || name == "PING" && strings.HasPrefix(string(s.refusing), "MISCONF")):
		return s.refusing
	case s.full && c.flags&grows != 0 && !(script && written):
		return fault("OOM command not allowed when used memory > 'maxmemory'.")
	}
	return nil
}
