//go:build unix

package redistest

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// A Cluster is a Redis Cluster of three masters with a replica each.
type Cluster struct {
	Masters  []*Server // as it was started
	Replicas []*Server // of the masters at the same index

	tb TB
}

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// StartCluster starts a cluster that notices a dead master after a second.
func StartCluster(tb TB, args ...string) *Cluster {
	tb.Helper()
	args = append([]string{
		"--cluster-enabled", "yes",
		"--cluster-node-timeout", "1000",
		"--cluster-replica-validity-factor", "0",
	}, args...)
	c := &Cluster{tb: tb}
	for range clusterMasters {
		c.Masters = append(c.Masters, Start(tb, args...))
		c.Replicas = append(c.Replicas, Start(tb, args...))
	}
	for i, m := range c.Masters {
		first, last := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
		c.must(m.do("CLUSTER", "ADDSLOTSRANGE", first, last))
		c.must(m.do("CLUSTER", "SET-CONFIG-EPOCH", i+1))
	}
	for _, s := range c.all()[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		c.must(c.Masters[0].do("CLUSTER", "MEET", host, port))
	}
	c.awaitInfo("cluster_known_nodes:" + strconv.Itoa(2*clusterMasters))
	for i, r := range c.Replicas {
		id := c.must(c.Masters[i].do("CLUSTER", "MYID"))
		await(tb, "a replica knows its master", func() bool {
			_, err := r.do("CLUSTER", "REPLICATE", id)
			return err == nil
		})
	}
	c.awaitInfo("cluster_state:ok")
	await(tb, "the replicas are in sync", func() bool {
		for _, r := range c.Replicas {
			info, _ := r.do("INFO", "replication")
			if !strings.Contains(fmt.Sprint(info), "master_link_status:up") {
				return false
			}
		}
		return true
	})
	return c
}

func (c *Cluster) all() []*Server { return append(append([]*Server(nil), c.Masters...), c.Replicas...) }

// awaitInfo waits until all nodes' CLUSTER INFO contains line.
func (c *Cluster) awaitInfo(line string) {
	c.tb.Helper()
	await(c.tb, "the cluster says "+line, func() bool {
		for _, s := range c.all() {
			info, _ := s.do("CLUSTER", "INFO")
			if !strings.Contains(fmt.Sprint(info), line) {
				return false
			}
		}
		return true
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
	await(c.tb, "the replica is a master", func() bool {
		info, _ := c.Replicas[i].do("INFO", "replication")
		return strings.Contains(fmt.Sprint(info), "role:master")
	})
}

// MigrateSlot moves a slot with its keys from one master to another, while
// clients use it.
func (c *Cluster) MigrateSlot(slot, from, to int) {
	c.tb.Helper()
	source, target := c.Masters[from], c.Masters[to]
	sourceID, targetID := c.must(source.do("CLUSTER", "MYID")), c.must(target.do("CLUSTER", "MYID"))
	c.must(target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID))
	c.must(source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", targetID))
	host, port, _ := net.SplitHostPort(target.Addr)
	for {
		keys, _ := c.must(source.do("CLUSTER", "GETKEYSINSLOT", slot, 100)).([]any)
		if len(keys) == 0 {
			break
		}
		args := append([]any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}, keys...)
		c.must(source.do(args...))
	}
	c.must(target.do("CLUSTER", "SETSLOT", slot, "NODE", targetID))
	c.must(source.do("CLUSTER", "SETSLOT", slot, "NODE", targetID))
	for i, m := range c.Masters {
		if i != from && i != to {
			c.must(m.do("CLUSTER", "SETSLOT", slot, "NODE", targetID))
		}
	}
}

// Owner returns the index of the master that a slot was started with.
func (c *Cluster) Owner(slot int) int {
	for i := range c.Masters {
		if slot < (i+1)*clusterSlots/clusterMasters {
			return i
		}
	}
	return len(c.Masters) - 1
}

// Do runs a command on each master.
func (c *Cluster) Do(args ...any) {
	c.tb.Helper()
	for _, m := range c.Masters {
		c.must(m.do(args...))
	}
}

func (c *Cluster) must(reply any, err error) any {
	c.tb.Helper()
	if err != nil {
		c.tb.Fatalf("cluster: %v", err)
	}
	return reply
}
