package redis

import (
	"context"
	"errors"
	"slices"

	"github.com/juggler-go/juggler/broker"
)

// A start is where a channel stands, known once done is closed.
type start struct {
	chains []*chain // that begin there; guarded by hub.mu
	err    error
	done   chan struct{}
}

// place has c begin where its channel stands, and returns that. If nothing is known of the
// channel, that is noted: so its first event can be proved to be the first.
//
// A lane is asked by one goroutine, for all that has come since it asked last. So clients
// that come back by the thousand, each to a channel of its own, share commands.
func (h *hub) place(ctx context.Context, c *chain) (broker.Position, error) {
	s := h.wantStart(c)
	if s == nil {
		return broker.Position{}, broker.ErrClosed
	}
	select {
	case <-s.done:
		return c.start, s.err
	case <-ctx.Done():
		return broker.Position{}, ctx.Err()
	}
}

// wantStart enters a chain for its lane's next question. It returns nil if h is closed.
func (h *hub) wantStart(c *chain) *start {
	lane := h.broker.keys.laneOf(c.channel)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	wanted, asking := h.starts[lane]
	if !asking {
		wanted = map[string]*start{}
		h.starts[lane] = wanted
		h.asks.Go(func() { h.readStarts(lane) })
	}
	s := wanted[c.channel]
	if s == nil {
		s = &start{done: make(chan struct{})}
		wanted[c.channel] = s
	}
	if !slices.Contains(s.chains, c) {
		s.chains = append(s.chains, c)
	}
	return s
}

// readStarts asks a lane until nothing is wanted.
func (h *hub) readStarts(lane int) {
	for {
		h.mu.Lock()
		wanted := h.starts[lane]
		if len(wanted) == 0 {
			delete(h.starts, lane)
			h.mu.Unlock()
			return
		}
		h.starts[lane] = map[string]*start{}
		h.mu.Unlock()

		reads := make([]keptRead, 0, len(wanted))
		for channel := range wanted {
			reads = append(reads, keptRead{Read: broker.Read{Channel: channel}, make: true})
		}
		pages := make([]broker.Page, len(reads))
		h.broker.readPages(h.quit, reads, pages)
		h.mu.Lock()
		for i := range reads {
			wanted[reads[i].Channel].answer(&pages[i])
		}
		h.mu.Unlock()
	}
}

// answer has the chains begin. Whoever is first to go on asks the server to subscribe to all
// that were answered together. That nothing is known keeps nobody from getting events.
// hub.mu is held.
func (s *start) answer(p *broker.Page) {
	if errors.Is(p.Err, broker.ErrClosed) {
		s.err = p.Err
	}
	for _, c := range s.chains {
		if s.err == nil && c.at == unplaced {
			c.begin(p.Top)
			c.topic.feed.mark(c.topic)
		}
	}
	close(s.done)
}
