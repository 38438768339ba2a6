package juggler

// Lends reports whether the loops of h, which has had a connection, lend their
// goroutines to callees.
func Lends(h *Handler) bool { return h.shards[0].Load().loan != nil }

// LogAll has every line of h logged.
func LogAll(h *Handler) { h.logs.Close() }

// EnterUserCode notes on the turn of a shard of h, which has had no connection, that f is
// called. leave notes that it has returned.
func EnterUserCode(h *Handler, f any) (leave func()) {
	h.shards[0].CompareAndSwap(nil, &shard{h: h})
	call := h.shards[0].Load().enter(pcOf(f))
	return func() { h.leave(call) }
}

// Waiting returns how many commands, and requests to be settled, wait for the shards of h.
func Waiting(h *Handler) (commands, settled int) {
	for i := range h.shards {
		if sh := h.shards[i].Load(); sh != nil {
			sh.inbox.mu.Lock()
			commands, settled = commands+len(sh.inbox.commands), settled+len(sh.inbox.settled)
			sh.inbox.mu.Unlock()
		}
	}
	return commands, settled
}
