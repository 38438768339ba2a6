package calleekit

import "time"

// Defaults returns what the options set by default.
func Defaults() (concurrency int, drainTimeout time.Duration) {
	c := defaultConfig()
	return c.concurrency, c.drainTimeout
}
