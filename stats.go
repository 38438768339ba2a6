package juggler

import "sync/atomic"

// Stats is a snapshot of what a handler counts, for the metrics system of
// your choice. Totals count from New on.
type Stats struct {
	Sessions            int // now
	EventLoopSessions   int // of those, served by event loops
	PortableConnections int // and by goroutines of their own
	Subscriptions       int // of sessions, now

	Connected    uint64 // sessions begun
	Disconnected uint64 // sessions ended
	Refused      uint64 // handshakes refused
	Messages     uint64 // received from clients
	Results      uint64 // RES sent
	Nacks        uint64 // NACK sent
	Publications uint64 // sent to the broker
	Events       uint64 // EVNT queued for sessions
	Gaps         uint64 // topics for which events may have been missed
	LateResults  uint64 // results that came for calls that were over
	Panics       uint64 // in user code, its runtime.Goexit included
}

// counters are what Stats reads.
type counters struct {
	connected, disconnected, refused       atomic.Uint64
	messages, results, nacks, publications atomic.Uint64
	events, gaps, lateResults, panics      atomic.Uint64
	subscriptions                          atomic.Int64
}

// Stats returns the handler's counters.
func (h *Handler) Stats() Stats {
	c, conns := &h.stats, h.pool.Stats()
	return Stats{
		Sessions:            h.NumSessions(),
		EventLoopSessions:   conns.Loop,
		PortableConnections: conns.Portable,
		Subscriptions:       int(c.subscriptions.Load()),
		Connected:           c.connected.Load(),
		Disconnected:        c.disconnected.Load(),
		Refused:             c.refused.Load(),
		Messages:            c.messages.Load(),
		Results:             c.results.Load(),
		Nacks:               c.nacks.Load(),
		Publications:        c.publications.Load(),
		Events:              c.events.Load(),
		Gaps:                c.gaps.Load(),
		LateResults:         c.lateResults.Load(),
		Panics:              c.panics.Load(),
	}
}
