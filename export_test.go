package juggler

// Bound is the default and the range of an option, in its unit or in ns.
type Bound struct {
	Option            string
	Default, Min, Max int64
}

// Bounds returns those of all options that have a range.
func Bounds() []Bound {
	var all []Bound
	c := defaultConfig()
	for _, b := range c.intBounds() {
		all = append(all, Bound{b.option, int64(b.value), int64(b.min), int64(b.max)})
	}
	for _, b := range c.durationBounds() {
		all = append(all, Bound{b.option, int64(b.value), int64(b.min), int64(b.max)})
	}
	return all
}

// Lends reports whether the loops of h, which has had a connection, lend their
// goroutines to callees.
func Lends(h *Handler) bool { return h.shards[0].Load().loan != nil }
