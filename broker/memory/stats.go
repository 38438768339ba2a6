package memory

// Stats is what a Broker holds now.
type Stats struct {
	QueuedCalls int   // that wait for a callee
	QueuedBytes int64 // of them; see [WithQueueBytes]

	KeyedCalls int   // calls with keys of which something is kept
	KeyedBytes int64 // of them; see [WithMaxKeyedBytes]

	Present    int // users in channels that nodes have put; one in two channels counts twice
	Registered int // by Register, whose time may be over

	KeptEvents int   // of all channels
	KeptBytes  int64 // of them, and of what else history needs; see [WithMaxHistoryBytes]
}

// Stats returns what the broker holds. It holds nobody up for long.
func (b *Broker) Stats() Stats {
	var s Stats
	r, h := &b.rpc, &b.history
	r.mu.Lock()
	for _, q := range r.queues {
		s.QueuedCalls += q.calls.len
	}
	s.QueuedBytes = r.queued
	s.KeyedCalls, s.KeyedBytes = len(r.records.byKey), r.records.bytes
	r.mu.Unlock()
	b.registry.mu.Lock()
	s.Registered = len(b.registry.byEnd)
	b.registry.mu.Unlock()
	b.presence.mu.Lock()
	s.Present = b.presence.users
	b.presence.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	s.KeptEvents, s.KeptBytes = h.events, h.bytes
	return s
}
