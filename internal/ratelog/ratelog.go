// Package ratelog bounds how often lines of one kind are logged: in an outage every
// request fails, and all lines say the same.
package ratelog

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// A Limiter lets a line of its kind through once in an Interval. The zero Limiter
// is ready. Its methods may be called concurrently.
type Limiter struct {
	last    atomic.Int64 // when the last line was logged, in ns of the clock
	dropped atomic.Int64 // lines since then
}

// Interval is the time between two lines.
const Interval = time.Second

// Log logs a line to l, with how many were left out before, or counts it.
func (r *Limiter) Log(l *slog.Logger, level slog.Level, message string, attrs ...any) {
	now, last := time.Now().UnixNano(), r.last.Load()
	if now-last < int64(Interval) || !r.last.CompareAndSwap(last, now) {
		r.dropped.Add(1)
		return
	}
	l.Log(context.Background(), level, message, append(attrs, "not_logged_before", r.dropped.Swap(0))...)
}
