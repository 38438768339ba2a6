//go:build unix

package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

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

// StartSentinel starts a set that notices a dead master after a second.
func StartSentinel(tb TB) *SentinelSet {
	tb.Helper()
	s := &SentinelSet{MasterName: "juggler-test", tb: tb, Master: Start(tb)}
	host, port, _ := net.SplitHostPort(s.Master.Addr)
	s.Replica = Start(tb, "--replicaof", host+" "+port)
	await(tb, "the replica is in sync", func() bool {
		info, _ := s.Replica.do("INFO", "replication")
		return strings.Contains(fmt.Sprint(info), "master_link_status:up")
	})
	for range 3 {
		s.Sentinels = append(s.Sentinels, s.sentinel(host, port))
	}
	await(tb, "the sentinels know each other and the replica", func() bool {
		for _, sentinel := range s.Sentinels {
			info, _ := sentinel.do("INFO", "sentinel")
			if !strings.Contains(fmt.Sprint(info), "slaves=1,sentinels=3") {
				return false
			}
		}
		return true
	})
	return s
}

// sentinel starts one, from a file that it rewrites.
func (s *SentinelSet) sentinel(host, port string) *Server {
	s.tb.Helper()
	file := filepath.Join(s.tb.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\n"+
		"sentinel down-after-milliseconds %[1]s 1000\n"+
		"sentinel failover-timeout %[1]s 5000\n", s.MasterName, host, port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.tb.Fatalf("sentinel: %v", err)
	}
	return start(s.tb, "redis-sentinel", []string{file}, nil)
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
	await(s.tb, "the replica is a master", func() bool {
		info, _ := s.Replica.do("INFO", "replication")
		return strings.Contains(fmt.Sprint(info), "role:master")
	})
}
