package redissim

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A slotMap says whose the slots of a cluster are.
type slotMap []slotRange

type slotRange struct {
	first, last int
	owner       *Server
}

// Slots is how many a cluster has.
const Slots = 16384

func (m slotMap) owner(slot int) *Server {
	for _, r := range m {
		if r.first <= slot && slot <= r.last {
			return r.owner
		}
	}
	return nil
}

// Assign gives slots to a server, which becomes a member of the cluster; keys
// in them move there. Who waits for one of them is told.
func (w *World) Assign(first, last int, to *Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var slots slotMap
	for _, r := range w.slots {
		if r.first < first {
			slots = append(slots, slotRange{r.first, min(r.last, first-1), r.owner})
		}
		if r.last > last {
			slots = append(slots, slotRange{max(r.first, last+1), r.last, r.owner})
		}
		if r.owner != to && r.owner.reaches(to) {
			r.owner.give(to, max(r.first, first), min(r.last, last))
		}
	}
	slots = append(slots, slotRange{first, last, to})
	slices.SortFunc(slots, func(a, b slotRange) int { return a.first - b.first })
	w.slots = slots
	to.member, to.replica = true, false
	for _, s := range w.servers {
		s.turnAway()
	}
	to.serve()
}

// give moves keys.
func (s *Server) give(to *Server, first, last int) {
	for _, key := range s.keys() {
		if slot := slotOf(key); first <= slot && slot <= last {
			to.store[key] = s.store[key]
			delete(s.store, key)
		}
	}
}

// turnAway tells those who wait, or listen to sharded channels, that a slot is
// not here any more.
func (s *Server) turnAway() {
	if !s.member {
		return
	}
	for _, session := range slices.Clone(s.sessions) {
		if session.waits != nil {
			if err := s.elsewhere(blocking(session.waits.call.args)); err != nil {
				session.resume(err)
			}
		}
		for _, t := range slices.Clone(session.order) {
			if t.kind == 'S' && s.elsewhere([]string{t.name}) != nil {
				session.leave(t)
			}
		}
		session.flush()
	}
}

// Remove takes a server without slots out of the cluster: the others forget
// it, and it knows of none. It lives on.
func (w *World) Remove(s *Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.isolated, s.removed, s.slots, s.failing = true, true, slotMap{}, true
	s.turnAway()
}

// Isolate cuts a server off from the others, not from its clients. It goes on
// with what it believes, until Fail. The others do not know its slots from
// then on but by Assign.
func (w *World) Isolate(s *Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.isolated, s.since, s.slots = true, time.Now(), slices.Clone(w.slots)
}

// Fail has a master notice that it is not with the majority of its cluster.
func (w *World) Fail(s *Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.failing = true
}

// Rejoin ends Isolate, Fail and Remove. Who has no slots any more is a replica.
func (w *World) Rejoin(s *Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.isolated, s.removed, s.failing, s.slots = false, false, false, nil
	if s.member && !slices.ContainsFunc(w.slots, func(r slotRange) bool { return r.owner == s }) {
		s.replica, s.store = true, store{}
	}
	s.turnAway()
}

// Owner returns the server that has the slot of a key, as the majority sees it.
func (w *World) Owner(slot int) *Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.slots.owner(slot)
}

// view is whose slots are whose in the server's eyes.
func (s *Server) view() slotMap {
	if s.slots != nil {
		return s.slots
	}
	return s.world.slots
}

// peers are the servers that get what is published here, if the ways are good.
func (s *Server) peers() (peers []*Server) {
	if !s.member {
		return nil
	}
	for _, o := range s.world.servers {
		if o != s && o.member && !o.removed && !s.removed {
			peers = append(peers, o)
		}
	}
	return peers
}

func (s *Server) reaches(o *Server) bool { return !s.isolated && !o.isolated && !o.down && !s.down }

// elsewhere returns the error of a command with keys that are not here, or nil.
func (s *Server) elsewhere(keys []string) any {
	if !s.member || len(keys) == 0 {
		return nil
	}
	slot := slotOf(keys[0])
	for _, key := range keys[1:] {
		if slotOf(key) != slot {
			return fault("CROSSSLOT Keys in request don't hash to the same slot")
		}
	}
	owner := s.view().owner(slot)
	switch {
	case s.failing && len(s.view()) > 0:
		return fault("CLUSTERDOWN The cluster is down")
	case owner == nil:
		return fault("CLUSTERDOWN Hash slot not served")
	case owner != s:
		return fault(fmt.Sprintf("MOVED %d %s", slot, owner.Addr))
	}
	return nil
}

func cluster(c *call) any {
	s := c.server
	if !s.member {
		return fault("ERR This instance has cluster support disabled")
	}
	switch strings.ToUpper(c.args[0]) {
	case "SLOTS":
		list := []any{}
		for _, r := range s.view() {
			host, port, _ := net.SplitHostPort(r.owner.Addr)
			n, _ := strconv.Atoi(port)
			list = append(list, []any{r.first, r.last, []any{host, n, r.owner.id(), []any{}}})
		}
		return list
	case "MYID":
		return s.id()
	case "INFO":
		state := "ok"
		if s.failing {
			state = "fail"
		}
		return "cluster_enabled:1\r\ncluster_state:" + state + "\r\n"
	}
	s.world.strange["CLUSTER "+c.args[0]] = true
	return fault("ERR unknown subcommand '" + c.args[0] + "'")
}

// id is the server's name within the cluster, which outlives a restart.
func (s *Server) id() string { return fmt.Sprintf("%040x", s.Addr)[:40] }

// slotOf is the slot of a key, by its hash tag if it has one.
func slotOf(key string) int {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if n := strings.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1 : i+1+n]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % Slots
}

// Ranges returns the slots of a server, first and last, as the majority sees it.
func (w *World) Ranges(s *Server) (ranges [][2]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.slots {
		if r.owner == s {
			ranges = append(ranges, [2]int{r.first, r.last})
		}
	}
	return ranges
}
