//go:build unix

package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	goredis "github.com/redis/go-redis/v9"
)

// A SentinelSet is a master with a replica, watched by three sentinels.
type SentinelSet struct {
	MasterName string
	Master     *Server // as it was started
	Replica    *Server
	Sentinels  []*Server

	tb TB
}

// peer is the user as whom the servers of a set and the sentinels talk with each
// other. Without its rights a server is there for everybody else.
const peer = "peer"

// StartSentinel starts a set that notices a dead master after a second. args are
// more arguments of both servers.
func StartSentinel(tb TB, args ...string) *SentinelSet {
	tb.Helper()
	args = append([]string{
		"--user", peer, "on", ">" + peer, "~*", "&*", "+@all",
		"--masteruser", peer,
		"--masterauth", peer,
		"--repl-ping-replica-period", "1",
	}, args...)
	s := &SentinelSet{MasterName: "juggler-test", tb: tb, Master: Start(tb, args...)}
	host, port, _ := net.SplitHostPort(s.Master.Addr)
	s.Replica = Start(tb, append(args, "--replicaof", host+" "+port)...)
	s.Replica.awaitInfo("replication", "master_link_status:up")
	for range 3 {
		s.Sentinels = append(s.Sentinels, s.sentinel(host, port))
	}
	for _, sentinel := range s.Sentinels {
		sentinel.awaitInfo("sentinel", "slaves=1,sentinels=3")
	}
	return s
}

// sentinel starts one, from a file that it rewrites.
func (s *SentinelSet) sentinel(host, port string) *Server {
	s.tb.Helper()
	file := filepath.Join(s.tb.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\n"+
		"sentinel auth-user %[1]s %[4]s\n"+
		"sentinel auth-pass %[1]s %[4]s\n"+
		"sentinel down-after-milliseconds %[1]s 1000\n"+
		"sentinel failover-timeout %[1]s 5000\n", s.MasterName, host, port, peer)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.tb.Fatalf("sentinel: %v", err)
	}
	sentinel := start(s.tb, []string{file, "--sentinel"}, nil)
	// So that others and a master that is back are found soon, by Redis 7.
	sentinel.do("SENTINEL", "DEBUG", "info-period", 500, "publish-period", 200) //nolint:errcheck // slow without
	return sentinel
}

// Options returns options for clients of the set.
func (s *SentinelSet) Options() *goredis.FailoverOptions {
	o := &goredis.FailoverOptions{MasterName: s.MasterName}
	for _, sentinel := range s.Sentinels {
		o.SentinelAddrs = append(o.SentinelAddrs, sentinel.Addr)
	}
	return o
}

// Failover kills the master and waits until the replica has taken over.
func (s *SentinelSet) Failover() {
	s.tb.Helper()
	s.Master.Kill()
	s.Replica.awaitInfo("replication", "role:master")
}

// Isolate hides a server from the sentinels and from the other server of the
// set. Whoever else is connected to it, or connects, can use it as before: it
// does not know that another one may become the master.
func (s *SentinelSet) Isolate(server *Server) {
	s.tb.Helper()
	server.Do("ACL", "SETUSER", peer, "-@all")
	server.Do("CLIENT", "KILL", "USER", peer)
}

// Rejoin ends Isolate. If there is another master the sentinels soon make the
// server a replica of that.
func (s *SentinelSet) Rejoin(server *Server) {
	s.tb.Helper()
	server.Do("ACL", "SETUSER", peer, "+@all")
}

// Split isolates the master and waits until the replica has taken over: there
// are two masters then, and the sentinels name the new one.
func (s *SentinelSet) Split() {
	s.tb.Helper()
	s.Isolate(s.Master)
	s.Replica.awaitInfo("replication", "role:master")
}

// Heal ends Split, and waits until the old master is a replica.
func (s *SentinelSet) Heal() {
	s.tb.Helper()
	s.Rejoin(s.Master)
	s.Master.awaitInfo("replication", "master_link_status:up")
}
