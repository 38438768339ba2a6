package redis

import (
	"context"
	"math/rand/v2"
	"time"
)

// A backoff says how long to wait between attempts: after each failure twice as long,
// from first to longest, of which the second half is random.
type backoff struct{ first, longest time.Duration }

// after returns the pause after the attempt-th failure, from 0.
func (b backoff) after(attempt int) time.Duration {
	d := b.longest
	if attempt < 16 {
		d = min(d, b.first<<attempt)
	}
	return d/2 + jitter(d/2)
}

// pause waits. It returns false when ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter returns a random part of d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}
