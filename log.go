package juggler

import (
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
	level := slog.LevelDebug
	if e.httpStatus() >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	h.log.Log(r.Context(), level, "juggler: handshake refused", "status", e.httpStatus(), "reason", e.Message, "remote", r.RemoteAddr)
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
	if !known {
		unsaid, ok := h.failures.say()
		if !ok {
			return
		}
		attrs = append(attrs, "not_logged_before", unsaid)
	}
	if r.uri != "" {
		attrs = append(attrs, "uri", r.uri)
	}
	if r.channel != "" {
		attrs = append(attrs, "channel", r.channel)
	}
	h.log.Log(h.ctx, level, "juggler: request refused", attrs...)
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
	h.log.Log(h.ctx, level, "juggler: session ended", attrs...)
}

// failureLog bounds how often failures are logged: in an outage of the broker
// every request fails, and all lines say the same.
type failureLog struct {
	last   atomic.Int64 // when the last was logged, in ns of the clock
	unsaid atomic.Int64 // not logged since
}

// failureInterval is the time between two lines.
const failureInterval = time.Second

// say reports whether a failure may be logged now, and how many were not.
func (l *failureLog) say() (unsaid int64, ok bool) {
	now, last := time.Now().UnixNano(), l.last.Load()
	if now-last < int64(failureInterval) || !l.last.CompareAndSwap(last, now) {
		l.unsaid.Add(1)
		return 0, false
	}
	return l.unsaid.Swap(0), true
}
