//go:build unix

package redistest

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/juggler-go/juggler/internal/waiting"
)

// A Refusal is a reason for which a server refuses writes and takes reads.
type Refusal string

const (
	OutOfMemory Refusal = "OOM"
	TooFew      Refusal = "NOREPLICAS" // replicas
	DiskFull    Refusal = "MISCONF"    // it refuses PING too
)

// RefuseWrites has the server refuse writes until accept is called. What it
// answers begins with why.
func (s *Server) RefuseWrites(why Refusal) (accept func()) {
	s.tb.Helper()
	switch why {
	case OutOfMemory:
		return s.configure("maxmemory", "1")
	case TooFew:
		return s.configure("min-replicas-to-write", "100")
	default:
		return s.breakSnapshots()
	}
}

// configure sets a parameter, and returns what sets it as it was.
func (s *Server) configure(name, value string) (restore func()) {
	s.tb.Helper()
	before := s.Do("CONFIG", "GET", name).([]any)[1]
	s.Do("CONFIG", "SET", name, value)
	return func() { s.Do("CONFIG", "SET", name, before) }
}

// breakSnapshots puts a directory in the place of the snapshot. A server that
// makes snapshots and cannot takes no writes.
func (s *Server) breakSnapshots() (mend func()) {
	s.tb.Helper()
	// Not an empty one, which could be replaced.
	if err := os.MkdirAll(filepath.Join(s.snapshot(), "x"), 0o700); err != nil {
		s.tb.Fatalf("%v", err)
	}
	restore := s.configure("save", "3600 1")
	s.Do("BGSAVE")
	waiting.Until(s.tb, "the server is refused its snapshot", func() bool {
		_, err := s.do("PING")
		return err != nil
	})
	return func() {
		if err := os.RemoveAll(s.snapshot()); err != nil {
			s.tb.Fatalf("%v", err)
		}
		restore()
	}
}

func (s *Server) snapshot() string { return filepath.Join(s.dir, "dump.rdb") }

// Snapshot stores what the server holds now, for RestoreSnapshot. It waits for a snapshot
// that the server is making by itself, for a replica.
func (s *Server) Snapshot() {
	s.tb.Helper()
	waiting.Until(s.tb, s.Addr+" saves", func() bool {
		_, err := s.do("SAVE")
		if err != nil && !strings.Contains(err.Error(), "already in progress") {
			s.tb.Fatalf("SAVE on %s: %v", s.Addr, err)
		}
		return err == nil
	})
}

// RestoreSnapshot kills the server and starts it with what it held at the last
// Snapshot.
func (s *Server) RestoreSnapshot() {
	s.tb.Helper()
	s.Kill()
	s.Restart()
	if err := os.Remove(s.snapshot()); err != nil { // not restored once more
		s.tb.Fatalf("%v", err)
	}
}
