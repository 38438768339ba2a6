package redis

// WithPartsBytes sets how many bytes of parts a node's list holds at most.
func WithPartsBytes(n int64) Option {
	return optionFunc(func(c *config) { c.partsBytes = n })
}
