package juggler

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/internal/wsconn"
)

// What a client does is logged at the debug level where it is everyday
// business, at info where the client's author should look at it, and above
// where the operator should.

// logRefusal says why a handshake was refused.
func (h *Handler) logRefusal(r *http.Request, e *Error) {
	attrs := []any{"status", e.httpStatus(), "reason", e.Message, "remote", r.RemoteAddr}
	if e.httpStatus() < http.StatusInternalServerError {
		h.log.DebugContext(r.Context(), "handshake refused", attrs...)
		return
	}
	h.refusals.log(h.log, slog.LevelWarn, "handshake refused", attrs...)
}

// logNack says why a request was refused. An error whose text the client does
// not see is there for the operator only.
func (h *Handler) logNack(s *session, r *Request, known bool) {
	level := slog.LevelError
	if known {
		level = slog.LevelDebug
	}
	if !h.log.Enabled(h.ctx, level) {
		return
	}
	attrs := []any{"type", r.typ, "session", idText(s.id), "error", r.err}
	if r.uri != "" {
		attrs = append(attrs, "uri", r.uri)
	}
	if r.channel != "" {
		attrs = append(attrs, "channel", r.channel)
	}
	if known {
		h.log.Log(h.ctx, level, "request refused", attrs...)
	} else {
		h.failures.log(h.log, level, "request refused", attrs...)
	}
}

// logClose says how a session ended: a normal end at the debug level, one
// that an operator or a client's author should look at above it.
func (h *Handler) logClose(s *session, e *wsconn.CloseError) {
	level := slog.LevelDebug
	if !e.Remote && e.Code != CloseGoingAway && e.Code != 1000 && e.Code != 1006 {
		level = slog.LevelInfo
	}
	if !h.log.Enabled(h.ctx, level) {
		return
	}
	attrs := []any{"session", idText(s.id), "code", e.Code, "reason", e.Reason, "by_client", e.Remote}
	if user := (Session{s}).User(); user != "" {
		attrs = append(attrs, "user", user)
	}
	if e.Err != nil {
		attrs = append(attrs, "error", e.Err)
	}
	h.log.Log(h.ctx, level, "session ended", attrs...)
}

// failureLog bounds how often failures of one kind are logged: in an outage of
// the broker every request fails, and all lines say the same.
type failureLog struct {
	last   atomic.Int64 // when the last was logged, in ns of the clock
	unsaid atomic.Int64 // not logged since
}

// failureInterval is the time between two lines.
const failureInterval = time.Second

// log logs a failure, with how many were not logged before, or counts it.
func (f *failureLog) log(to *slog.Logger, level slog.Level, message string, attrs ...any) {
	now, last := time.Now().UnixNano(), f.last.Load()
	if now-last < int64(failureInterval) || !f.last.CompareAndSwap(last, now) {
		f.unsaid.Add(1)
		return
	}
	to.Log(context.Background(), level, message, append(attrs, "not_logged_before", f.unsaid.Swap(0))...)
}
