package redis

import (
	"context"
	"sync"
	"time"
)

// A survey looks now and then at what nobody else notices: that a server evicts
// keys, or refuses what the broker needs. It logs what it finds. What it may not ask
// stays unknown.
type survey struct {
	broker *Broker

	mu      sync.Mutex // guards the following
	started bool
	closed  bool

	// Owned by the goroutine.
	memories map[string]memory // by address of a master in use

	quit    context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// memoryPause is the time between two looks at the memory of a server.
const memoryPause = time.Minute

func newSurvey(b *Broker) *survey {
	s := &survey{broker: b, memories: map[string]memory{}}
	s.quit, s.cancel = context.WithCancel(background)
	return s
}

// start begins to look, when the broker is first used.
func (s *survey) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closed {
		return
	}
	s.started = true
	s.running.Go(s.run)
}

// stop ends the looking. The lanes are still there.
func (s *survey) stop() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
}

// pause is the time between two looks, shorter where leases are.
func (s *survey) pause() time.Duration { return min(memoryPause/2, 6*s.broker.config.lease) }

func (s *survey) run() {
	ticker := time.NewTicker(s.pause())
	defer ticker.Stop()
	for {
		s.lookAtServers()
		select {
		case <-ticker.C:
		case <-s.quit.Done():
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
	seen := map[string]memory{}
	evicting := int64(0)
	for _, i := range lanes {
		master, err := s.broker.view.master(s.quit, s.broker.keys.slotOf(i), server{})
		if _, done := seen[master.addr]; err != nil || done {
			continue
		}
		before, known := s.memories[master.addr]
		now := before
		switch {
		case !known:
			now, known = s.meet(master, i)
		case time.Since(before.asked) >= min(memoryPause, 2*s.pause()):
			now = s.ask(i, before)
		}
		if !known {
			continue // it is tried again
		}
		s.broker.reportMemory(master.addr, before, now)
		seen[master.addr] = now
		if now.policy != "" {
			evicting++
		}
	}
	s.memories = seen
	s.broker.stats.evicting.Store(evicting)
}

// meet looks at a master for the first time, on a connection of its own.
func (s *survey) meet(master server, lane int) (memory, bool) {
	l, err := s.broker.view.dialServer(s.quit, master, noMaster, s.broker.config.replyTimeout, nil)
	if err != nil {
		return memory{}, false
	}
	defer l.close()
	defer context.AfterFunc(s.quit, l.cut)()
	info := plain("INFO")
	err = l.run(info)
	if err == nil {
		err = s.broker.checkRights(l, lane)
	}
	if err != nil {
		return memory{}, false
	}
	m, ok := readMemory(string(info.reply.text))
	if !ok {
		s.broker.config.logger.Debug("redis: whether the server evicts keys is not known", "server", master.addr, "err", info.reply.err())
	}
	m.asked = time.Now()
	return m, true
}

// ask asks the master of a lane in use again.
func (s *survey) ask(lane int, before memory) memory {
	l := s.broker.used(lane)
	if l == nil {
		return before
	}
	reply, err := l.writer.do(s.quit, plain("INFO"))
	if err != nil && !isServerError(err) {
		return before
	}
	m, ok := readMemory(string(reply.text))
	if !ok {
		m = before
	}
	m.asked = time.Now()
	return m
}
