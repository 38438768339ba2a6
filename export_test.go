package juggler

// Lends reports whether the loops of h, which has had a connection, lend their
// goroutines to callees.
func Lends(h *Handler) bool { return h.shards[0].Load().loan != nil }

// LogAll has every line of h logged.
func LogAll(h *Handler) { h.logs.Close() }
