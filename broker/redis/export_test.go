package redis

// WithPartsBytes sets how many bytes of parts a node's list holds at most.
func WithPartsBytes(n int64) Option {
	return optionFunc(func(c *config) { c.partsBytes = n })
}

// Searching reports whether a log is being asked for what was missed or lost.
func (b *Broker) Searching() bool {
	if b.hub.healersAtWork() > 0 {
		return true
	}
	for _, i := range b.lanesInUse() {
		if l := b.used(i); l != nil && l.searching() {
			return true
		}
	}
	return false
}

func (l *lane) searching() bool {
	l.confirmed.mu.Lock()
	defer l.confirmed.mu.Unlock()
	return l.confirmed.searching
}
