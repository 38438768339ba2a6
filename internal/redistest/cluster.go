//go:build unix

package redistest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/internal/waiting"
)

// A Cluster is a Redis Cluster of three masters with a replica each, until it is
// made smaller or larger.
type Cluster struct {
	Masters  []*Server // as they were started
	Replicas []*Server // of the masters at the same index; nil: it has none

	tb      TB
	args    []string
	members []*Server // that know each other
}

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// StartCluster starts a cluster that notices a dead master after a second.
func StartCluster(tb TB, args ...string) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, args: append([]string{
		"--cluster-enabled", "yes",
		"--cluster-node-timeout", "1000",
		"--cluster-replica-validity-factor", "0",
		"--cluster-migration-barrier", "100", // replicas stay where they are put
	}, args...)}
	for range clusterMasters {
		c.Masters = append(c.Masters, Start(tb, c.args...))
		c.Replicas = append(c.Replicas, Start(tb, c.args...))
	}
	for i, m := range c.Masters {
		first, last := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
		m.Do("CLUSTER", "ADDSLOTSRANGE", first, last)
		m.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	c.join(slices.Concat(c.Masters, c.Replicas)...)
	for i, r := range c.Replicas {
		r.replicate(c.Masters[i])
	}
	c.awaitInfo("cluster_state:ok")
	for _, r := range c.Replicas {
		r.awaitInfo("replication", "master_link_status:up")
	}
	return c
}

// join makes servers members, and waits until all know each other.
func (c *Cluster) join(servers ...*Server) {
	c.tb.Helper()
	c.members = append(c.members, servers...)
	first := c.alive()
	for _, s := range servers {
		if s != first {
			host, port, _ := net.SplitHostPort(s.Addr)
			first.Do("CLUSTER", "MEET", host, port)
		}
	}
	c.awaitInfo("cluster_known_nodes:" + strconv.Itoa(len(c.members)))
}

// awaitInfo waits until all members' CLUSTER INFO contains line.
func (c *Cluster) awaitInfo(line string) {
	c.tb.Helper()
	waiting.Until(c.tb, "the cluster says "+line, func() bool {
		for _, s := range c.members {
			info, _ := s.do("CLUSTER", "INFO")
			if !strings.Contains(fmt.Sprint(info), line) {
				return false
			}
		}
		return true
	})
}

// nodeID returns the server's name in its cluster.
func (s *Server) nodeID() string {
	s.tb.Helper()
	return s.Do("CLUSTER", "MYID").(string)
}

// replicate makes the server a replica of a master, once it knows that.
func (s *Server) replicate(master *Server) {
	s.tb.Helper()
	id := master.nodeID()
	waiting.Until(s.tb, "a replica knows its master", func() bool {
		_, err := s.do("CLUSTER", "REPLICATE", id)
		return err == nil
	})
}

// Addrs returns the addresses of the masters.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.Masters))
	for i, m := range c.Masters {
		addrs[i] = m.Addr
	}
	return addrs
}

// Client returns a client for what a test does behind a broker's back.
func (c *Cluster) Client() *goredis.ClusterClient {
	client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: c.Addrs(), Protocol: 2, DisableIdentity: true})
	c.tb.Cleanup(func() { client.Close() })
	return client
}

// Failover kills a master and waits until its replica has taken over.
func (c *Cluster) Failover(i int) {
	c.tb.Helper()
	c.Masters[i].Kill()
	c.Replicas[i].awaitInfo("replication", "role:master")
}

// Do runs a command on each master.
func (c *Cluster) Do(args ...any) {
	c.tb.Helper()
	for _, m := range c.Masters {
		m.Do(args...)
	}
}
