package redis

import (
	"context"

	"github.com/juggler-go/juggler/broker"
)

// A start is where a channel stands, known once done is closed.
type start struct {
	pos  broker.Position
	err  error
	done chan struct{}
}

// start returns where a channel stands. If nothing is known of it, that is noted: so its
// first event can be proved to be the first.
//
// A lane is asked by one goroutine, for all that has come since it asked last. So clients
// that come back by the thousand, each to a channel of its own, share commands.
func (h *hub) start(ctx context.Context, channel string) (broker.Position, error) {
	s := h.wantStart(channel)
	if s == nil {
		return broker.Position{}, broker.ErrClosed
	}
	select {
	case <-s.done:
		return s.pos, s.err
	case <-ctx.Done():
		return broker.Position{}, ctx.Err()
	}
}

// wantStart enters a channel for its lane's next question. It returns nil if h is closed.
func (h *hub) wantStart(channel string) *start {
	lane := h.broker.keys.laneOf(channel)
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
	s := wanted[channel]
	if s == nil {
		s = &start{done: make(chan struct{})}
		wanted[channel] = s
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
		for i := range reads {
			s := wanted[reads[i].Channel]
			s.pos, s.err = pages[i].Top, pages[i].Err
			close(s.done)
		}
	}
}
