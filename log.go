package juggler

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/ratelog"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// What a client does is logged at the debug level where it is everyday
// business, at info where the client's author should look at it, and above
// where the operator should. All but the debug level is bounded (internal/ratelog), as
// there may be many such clients. What is likely a mistake of a developer, who may be the
// operator as well, is a warning once in a while.

// said is which mistakes were warned of lately.
type said struct {
	refusals ratelog.Once // by reason and subject
	uris     ratelog.Once // without a callee
	channels ratelog.Once // that look like patterns
}

// logRefusal says why a handshake was refused.
func (h *Handler) logRefusal(r *http.Request, e *refusal) {
	remote := r.RemoteAddr
	if addr := h.cfg.proxies.Client(r); addr.IsValid() {
		remote = addr.String() // the client's, not the proxy's
	}
	attrs := []any{"status", httpStatus(e.Code), "why", e.reason, "reason", e.Message, "remote", remote}
	switch {
	case h.said.refusals.First(e.reason + " " + e.subject):
		h.logs.Plain().WarnContext(r.Context(), "handshake refused, the first of its kind lately", attrs...)
	case httpStatus(e.Code) >= http.StatusInternalServerError:
		h.log.WarnContext(r.Context(), "handshake refused", attrs...)
	default:
		h.log.InfoContext(r.Context(), "handshake refused", attrs...)
	}
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
	h.log.Log(h.ctx, level, "request refused", attrs...)
}

// warnOfURI says that a call found no callee. That is for whoever runs the callees, and in
// development most often a mistyped URI.
func (h *Handler) warnOfURI(s *session, uri string) {
	if !h.said.uris.First(uri) {
		return
	}
	if h.owned != nil {
		h.logs.Plain().Warn("nobody serves this URI: no callee can be on the broker that the handler has made; pass one to New by WithBroker, and to the callees",
			"uri", uri, "session", idText(s.id))
		return
	}
	h.logs.Plain().Warn("nobody serves this URI: is it right, and does its callee run on the same broker?", "uri", uri, "session", idText(s.id))
}

// warnOfChannel warns of a subscription to a channel whose name looks like a pattern: it
// gets the publications to exactly this name.
func (h *Handler) warnOfChannel(s *session, channel string) {
	if strings.IndexByte(channel, '*') >= 0 && h.said.channels.First(channel) {
		h.logs.Plain().Warn("subscribed to a channel with * in its name, which is no pattern: the SUB lacks pattern",
			"channel", channel, "session", idText(s.id))
	}
}

// logClose says how a session ended: a normal end at the debug level, one
// that an operator or a client's author should look at above it.
func (h *Handler) logClose(s *session, addr netip.Addr, e *wsconn.CloseError) {
	level := slog.LevelDebug
	if !e.Remote && e.Code != CloseGoingAway && e.Code != frame.CloseNormal && e.Code != frame.CloseLost {
		level = slog.LevelInfo
	}
	if !h.log.Enabled(h.ctx, level) {
		return
	}
	attrs := []any{"session", idText(s.id), "code", e.Code, "reason", e.Reason, "by_client", e.Remote, "after", time.Since(idTime(s.id))}
	if addr.IsValid() {
		attrs = append(attrs, "remote", addr.String())
	}
	if user := (Session{s}).User(); user != "" {
		attrs = append(attrs, "user", user)
	}
	if e.Err != nil {
		attrs = append(attrs, "error", e.Err)
	}
	h.log.Log(h.ctx, level, "session ended", attrs...)
}
