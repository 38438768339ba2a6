//go:build unix

package redistest

import (
	"net"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/internal/waiting"
)

// MigrateSlot moves a slot with its keys from one master to another, while
// clients use it.
func (c *Cluster) MigrateSlot(slot, from, to int) {
	c.tb.Helper()
	c.migrate([]int{slot}, c.Masters[from], c.Masters[to])
}

// ScaleIn makes the cluster smaller, as redis-cli's reshard and del-node do: it
// moves the slots of a master to the next one, and takes it out. Its process
// lives on, and answers those who are connected to it. Masters holds it no more.
// Its replica is one of the next master, which it does not take over from.
func (c *Cluster) ScaleIn(i int) (removed *Server) {
	c.tb.Helper()
	removed, next := c.Masters[i], c.Masters[(i+1)%len(c.Masters)]
	id := removed.nodeID()
	c.migrate(slotsOf(removed, c.owners()), removed, next)
	if r := c.Replicas[i]; r != nil {
		// Of two replicas either may be elected, and tests wait for the one in Replicas.
		r.Do("CONFIG", "SET", "cluster-replica-no-failover", "yes")
		r.replicate(next)
	}
	c.members = slices.DeleteFunc(c.members, func(s *Server) bool { return s == removed })
	for _, s := range c.members {
		// Not while it takes the node for its master, since that has had slots.
		waiting.Until(c.tb, "a member forgets the node", func() bool {
			_, err := s.do("CLUSTER", "FORGET", id)
			return err == nil
		})
	}
	removed.Do("CLUSTER", "RESET")
	c.Masters = slices.Delete(c.Masters, i, i+1)
	c.Replicas = slices.Delete(c.Replicas, i, i+1)
	c.awaitInfo("cluster_state:ok")
	return removed
}

// ScaleOut makes the cluster larger by a master without a replica, which gets its
// share of the slots of all others.
func (c *Cluster) ScaleOut() (added *Server) {
	c.tb.Helper()
	added = Start(c.tb, c.args...)
	c.join(added)
	c.awaitInfo("cluster_state:ok")
	owners := c.owners()
	for _, m := range c.Masters {
		slots := slotsOf(m, owners)
		c.migrate(slots[:len(slots)/(len(c.Masters)+1)], m, added)
	}
	c.Masters = append(c.Masters, added)
	c.Replicas = append(c.Replicas, nil)
	c.awaitInfo("cluster_state:ok")
	return added
}

// batchSlots is how many slots without keys change hands at once.
const batchSlots = 1024

// migrate moves slots with their keys.
func (c *Cluster) migrate(slots []int, from, to *Server) {
	c.tb.Helper()
	fromID, toID := from.nodeID(), to.nodeID()
	for _, batch := range from.batches(slots) {
		to.setSlots(batch, "IMPORTING", fromID)
		from.setSlots(batch, "MIGRATING", toID)
		host, port, _ := net.SplitHostPort(to.Addr)
		for again := true; again; {
			again = false
			for _, keys := range from.keysIn(batch) { // one command moves keys of one slot
				if len(keys) > 0 {
					command := append([]any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}, keys...)
					waiting.Until(c.tb, "keys migrate", func() bool { // not to a node that has just been restarted
						_, err := from.do(command...)
						return err == nil
					})
					again = true
				}
			}
		}
		to.setSlots(batch, "NODE", toID)
		for _, m := range c.Masters {
			switch m {
			case to:
			case from:
				// It may have heard of it, and is no master any more after its last slot.
				m.trySetSlots(batch, "NODE", toID) //nolint:errcheck // as said
			default:
				m.setSlots(batch, "NODE", toID)
			}
		}
	}
}

// setSlots runs CLUSTER SETSLOT for each slot.
func (s *Server) setSlots(slots []int, state, id string) {
	s.tb.Helper()
	if err := s.trySetSlots(slots, state, id); err != nil {
		s.tb.Fatalf("SETSLOT %s at %s: %v", state, s.Addr, err)
	}
}

func (s *Server) trySetSlots(slots []int, state, id string) error {
	_, err := s.pipelined(slots, func(slot int) []any { return []any{"CLUSTER", "SETSLOT", slot, state, id} })
	return err
}

// batches divides slots: each with keys goes alone, so that those who use it wait
// for no other.
func (s *Server) batches(slots []int) (batches [][]int) {
	s.tb.Helper()
	var empty []int
	for i, keys := range s.keysIn(slots) {
		if len(keys) > 0 {
			batches = append(batches, slots[i:i+1])
		} else {
			empty = append(empty, slots[i])
		}
	}
	return slices.AppendSeq(batches, slices.Chunk(empty, batchSlots))
}

// keysIn returns some keys of each slot.
func (s *Server) keysIn(slots []int) [][]any {
	s.tb.Helper()
	replies, err := s.pipelined(slots, func(slot int) []any { return []any{"CLUSTER", "GETKEYSINSLOT", slot, 100} })
	if err != nil {
		s.tb.Fatalf("GETKEYSINSLOT at %s: %v", s.Addr, err)
	}
	keys := make([][]any, len(slots))
	for i, reply := range replies {
		keys[i] = reply.(*goredis.Cmd).Val().([]any)
	}
	return keys
}

// pipelined runs a command for each slot, all in one round trip.
func (s *Server) pipelined(slots []int, command func(slot int) []any) ([]goredis.Cmder, error) {
	c := s.connect()
	defer c.Close()
	return c.Pipelined(background, func(p goredis.Pipeliner) error {
		for _, slot := range slots {
			p.Do(background, command(slot)...)
		}
		return nil
	})
}

// Owner returns the index of the master that has a slot, or whose replica has
// taken it over.
func (c *Cluster) Owner(slot int) int {
	c.tb.Helper()
	addr := c.owners()[slot]
	for i, m := range c.Masters {
		if m.Addr == addr || c.Replicas[i] != nil && c.Replicas[i].Addr == addr {
			return i
		}
	}
	c.tb.Fatalf("cluster: no master has the slot %d, but %q", slot, addr)
	return 0
}

// owners returns the address of the master of each slot.
func (c *Cluster) owners() (addrs [clusterSlots]string) {
	c.tb.Helper()
	client := c.alive().connect()
	defer client.Close()
	//lint:ignore SA1019 CLUSTER SHARDS is of Redis 7, and our floor is 6.2
	ranges, err := client.ClusterSlots(background).Result()
	if err != nil {
		c.tb.Fatalf("cluster: %v", err)
	}
	for _, r := range ranges {
		for slot := r.Start; slot <= r.End; slot++ {
			addrs[slot] = r.Nodes[0].Addr // the master comes first
		}
	}
	return addrs
}

func slotsOf(m *Server, owners [clusterSlots]string) (slots []int) {
	for slot, addr := range owners {
		if addr == m.Addr {
			slots = append(slots, slot)
		}
	}
	return slots
}

// alive returns a member that answers.
func (c *Cluster) alive() *Server {
	c.tb.Helper()
	for _, s := range c.members {
		if s.answers() {
			return s
		}
	}
	c.tb.Fatalf("cluster: nobody answers")
	return nil
}
