package redis

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A survey looks now and then at what requests do not notice: that a server evicts keys,
// or refuses what the broker needs, and that other processes of the system have other
// settings. It logs what it finds. What it may not ask stays unknown. It also has
// the rules of history in all lanes.
type survey struct {
	broker *Broker

	// Owned by the goroutine.
	memories map[string]memoryStatus // by address of a master in use
	peers    peers

	kicked     chan struct{} // has an element to look at the other processes at once
	background *conn.Background
}

// Times between two looks at the other processes, and at the memory of a server.
const (
	peersPause  = 30 * time.Second
	memoryPause = time.Minute
)

func newSurvey(b *Broker) *survey {
	s := &survey{broker: b, memories: map[string]memoryStatus{}, kicked: make(chan struct{}, 1), background: conn.NewBackground()}
	s.peers.broker = b
	return s
}

// start begins to look, when the broker is first used.
func (s *survey) start() { s.background.Start(s.run) }

// stop ends the looking. The lanes are still there.
func (s *survey) stop() { s.background.Stop() }

// opened says that this process now has the role of c. If that is new the others
// are told soon.
func (s *survey) opened(c closer) {
	var role *atomic.Bool
	switch c.(type) {
	case *callerConn:
		role = &s.peers.node
	case *calleeConn:
		role = &s.peers.callee
	}
	if role == nil || role.Swap(true) {
		return
	}
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// pause is the time between two looks, shorter where leases are.
func (s *survey) pause() time.Duration { return min(peersPause, 6*s.broker.config.lease) }

func (s *survey) run() {
	ticker := time.NewTicker(s.pause())
	defer ticker.Stop()
	for looks := 0; ; looks++ {
		s.lookAtServers()
		s.broker.spreadRules(s.background.Quit, looks%20 == 0)
		s.peers.compare(s.background.Quit, 3*s.pause())
		select {
		case <-ticker.C:
		case <-s.kicked:
		case <-s.background.Quit.Done():
			s.peers.leave()
			return
		}
	}
}

// lookAtServers looks at each master of a lane in use; before any is, at that of
// the first lane.
func (s *survey) lookAtServers() {
	lanes := s.broker.lanesInUse()
	if len(lanes) == 0 {
		lanes = append(lanes, 0)
	}
	seen := map[string]memoryStatus{}
	evicting := int64(0)
	for _, i := range lanes {
		master, err := s.broker.view.Master(s.background.Quit, s.broker.keys.slotOf(i), conn.Server{})
		if _, done := seen[master.Addr]; err != nil || done {
			continue
		}
		before, known := s.memories[master.Addr]
		now := before
		switch {
		case !known:
			now, known = s.inspect(master, i)
		case time.Since(before.asked) >= min(memoryPause, 2*s.pause()):
			now = s.refresh(i, before)
		}
		if !known {
			continue // it is tried again
		}
		s.broker.reportMemory(master.Addr, before, now)
		seen[master.Addr] = now
		if now.policy != "" {
			evicting++
		}
	}
	s.memories = seen
	s.broker.stats.evicting.Store(evicting)
}

// inspect looks at a master for the first time, on a connection of its own.
func (s *survey) inspect(master conn.Server, lane int) (memoryStatus, bool) {
	l, err := s.broker.view.DialServer(s.background.Quit, master, conn.NoMaster, s.broker.config.replyTimeout, nil)
	if err != nil {
		return memoryStatus{}, false
	}
	defer l.Close()
	defer context.AfterFunc(s.background.Quit, l.Cut)()
	info := resp.NewCommand("INFO")
	err = l.Run(info)
	if err == nil {
		err = s.broker.checkRights(l, lane)
	}
	if err != nil {
		return memoryStatus{}, false
	}
	m, ok := readMemory(string(info.Reply.Text))
	if !ok {
		s.broker.config.logger.Debug("could not find out whether the server evicts keys", "server", master.Addr, "error", info.Reply.Err())
	}
	m.asked = time.Now()
	return m, true
}

// refresh asks the master of a lane in use again.
func (s *survey) refresh(lane int, before memoryStatus) memoryStatus {
	l := s.broker.used(lane)
	if l == nil {
		return before
	}
	reply, err := l.writer.do(s.background.Quit, resp.NewCommand("INFO"))
	if err != nil && !resp.IsServerError(err) {
		return before
	}
	m, ok := readMemory(string(reply.Text))
	if !ok {
		m = before
	}
	m.asked = time.Now()
	return m
}
