// Package ratelog bounds how often lines of one kind are logged: in an outage every
// request fails, a flood of bad clients ends in as many sessions, and all lines say the
// same.
package ratelog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Of each kind Burst lines are logged as they come, and one more after each Pause. A
// line says how many were left out before it. What was left out last is logged after a
// Pause at the latest, so that no count is lost.
const (
	Burst = 5
	Pause = 5 * time.Second
)

// maxKinds bounds what is remembered. Messages are constants: it is never reached.
const maxKinds = 256

// A Limit bounds the lines of a component. Its methods may be called concurrently.
type Limit struct {
	plain *slog.Logger

	mu     sync.Mutex // guards the following; not held while a line is logged
	kinds  map[kind]*state
	closed bool
}

// A kind is lines with the same level and message.
type kind struct {
	level   slog.Level
	message string
}

// state is what a Limit knows of a kind.
type state struct {
	tokens   int       // lines that may be logged at once, as of the time since
	since    time.Time // when the last token came
	dropped  int       // lines left out since the last one that was logged
	last     slog.Record
	handler  slog.Handler // of last
	flushing *time.Timer  // logs last, unless another line does before
}

// New returns a logger that logs to l what its Limit lets through. Lines below
// [slog.LevelInfo] all pass.
func New(l *slog.Logger) (*slog.Logger, *Limit) {
	limit := &Limit{plain: l, kinds: make(map[kind]*state)}
	return slog.New(&handler{l.Handler(), limit}), limit
}

// Plain returns the logger without the Limit, for lines that a [Once] bounds: they differ
// by more than their message.
func (l *Limit) Plain() *slog.Logger { return l.plain }

// Close logs what is yet to be said of lines that were left out. From then on all pass.
func (l *Limit) Close() {
	l.mu.Lock()
	l.closed = true
	var left []*state
	for _, s := range l.kinds {
		if s.dropped > 0 {
			s.flushing.Stop()
			left = append(left, s)
		}
	}
	l.mu.Unlock()
	for _, s := range left {
		l.flush(s)
	}
}

// flush logs the last line of s that was left out.
func (l *Limit) flush(s *state) {
	l.mu.Lock()
	record, h, others := s.last, s.handler, s.dropped-1
	s.forget()
	l.mu.Unlock()
	if h != nil {
		_ = h.Handle(context.Background(), counted(record, others)) // as slog does, which cannot tell either
	}
}

// forget takes back that lines were left out.
func (s *state) forget() { s.dropped, s.last, s.handler = 0, slog.Record{}, nil }

// pass reports whether a line may be logged now, and how many were left out before it.
func (l *Limit) pass(r slog.Record, h slog.Handler) (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := kind{r.Level, r.Message}
	s := l.kinds[k]
	if s == nil && len(l.kinds) < maxKinds {
		s = &state{tokens: Burst, since: time.Now()}
		l.kinds[k] = s
	}
	if s == nil || l.closed {
		return 0, true
	}
	if s.take(time.Now()) {
		leftOut = s.dropped
		if leftOut > 0 {
			s.flushing.Stop()
			s.forget()
		}
		return leftOut, true
	}
	s.last, s.handler = r.Clone(), h
	if s.dropped++; s.dropped == 1 {
		s.flushing = time.AfterFunc(Pause, func() { l.flush(s) })
	}
	return 0, false
}

// take takes a token, if there is one.
func (s *state) take(now time.Time) bool {
	if come := int(now.Sub(s.since) / Pause); come > 0 {
		s.tokens = min(s.tokens+come, Burst)
		s.since = s.since.Add(time.Duration(come) * Pause)
	}
	if s.tokens == 0 {
		return false
	}
	s.tokens--
	return true
}

// counted returns a line with how many like it were left out before.
func counted(r slog.Record, leftOut int) slog.Record {
	if leftOut > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("not_logged_before", leftOut))
	}
	return r
}

// handler is the slog.Handler of a Limit.
type handler struct {
	slog.Handler
	limit *Limit
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	leftOut := 0
	if r.Level >= slog.LevelInfo {
		var ok bool
		if leftOut, ok = h.limit.pass(r, h.Handler); !ok {
			return nil
		}
	}
	return h.Handler.Handle(ctx, counted(r, leftOut))
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.Handler.WithAttrs(attrs), h.limit}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.limit}
}
