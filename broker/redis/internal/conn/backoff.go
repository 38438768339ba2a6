package conn

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Backoff says how long to wait between attempts: after each failure twice as long,
// from First to Longest. The second half of the time is random.
type Backoff struct{ First, Longest time.Duration }

// After returns the pause after the attempt-th failure, from 0.
func (b Backoff) After(attempt int) time.Duration {
	d := b.Longest
	if attempt < 16 {
		d = min(d, b.First<<attempt)
	}
	return d/2 + Jitter(d/2)
}

// Sleep waits. It returns false if ctx ends first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Jitter returns a random part of d.
func Jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}
