package juggler

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/handshake"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// ServeHTTP answers a WebSocket handshake. It returns when the handshake is
// over; the session lives on without the request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	address, ofAddress := h.holdAddress(r)
	opened := false
	defer func() {
		if !opened {
			h.releaseParty(address)
		}
	}()
	tooMany := address.count(&h.cfg.addressBounds, countedHandshakes, h.paceNow(), 1)
	q, bad := handshake.Read(r, w.Header(), handshake.Settings{
		Origin: h.originAllowed, OriginOption: h.cfg.originOption, DefaultProtocol: h.cfg.defaultProtocol,
		Deflate: h.cfg.compression != nil,
	})
	if bad != nil {
		h.refuse(w, r, nil, &refusal{&Error{Code: frame.Code(bad.Status), Message: bad.Message}, bad.Reason, bad.Subject})
		return
	}
	if tooMany != nil {
		h.refuse(w, r, q, refused(RefusedRate, tooMany))
		return
	}
	if most := h.cfg.maxAddressSessions; most > 0 && ofAddress > most {
		h.refuse(w, r, q, tooManySessions(most, "of this address", RefusedAddressSessions))
		return
	}
	n := &newcomer{request: q, address: address}
	no := h.authenticate(r, n)
	if no != nil {
		h.refuse(w, r, q, no)
		return
	}
	if no := h.admit(r.Context()); no != nil {
		h.refuse(w, r, q, no)
		return
	}
	defer func() {
		if !opened { // also if a ResponseWriter of somebody else panics
			h.release()
		}
	}()
	if no := h.refusesRevoked(n.identity); no != nil {
		h.countFailedSignIn(address, no.Error)
		h.refuse(w, r, q, no)
		return
	}
	user := userOf(n.identity)
	if no := h.userSessions.enter(r.Context(), user); no != nil {
		h.refuse(w, r, q, no)
		return
	}
	defer func() {
		if !opened {
			h.userSessions.leave(user)
		}
	}()
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.log.ErrorContext(r.Context(), "cannot take over the connection: is middleware that wraps the ResponseWriter missing Unwrap?", "error", err)
		h.refuse(w, r, nil, refused(RefusedTakeOver, errInternal))
		return
	}
	_ = nc.SetDeadline(time.Time{}) // those of the http.Server; a broken connection shows on its first use
	n.upgrade, n.addr, n.headers = q.Upgrade(w.Header()), h.clientAddr(r), h.cfg.keptHeaders(r)
	open := func(g *wsconn.Group) { h.openSession(g, n) }
	if err := h.pool.Adopt(nc, handshake.Buffered(rw), open); err != nil {
		h.stats.refusals.add(http.StatusServiceUnavailable, RefusedNoDescriptor)
		h.log.Error("cannot adopt the connection", "error", err)
		handshake.Answer503(nc)
		return
	}
	opened = true
}

// originAllowed asks the origin check, which may be user code.
func (h *Handler) originAllowed(r *http.Request) (ok bool) {
	h.protect("origin check", func(error) {}, func() { ok = h.cfg.origin(r) })
	return ok
}

// A newcomer is what becomes a session.
type newcomer struct {
	request  *handshake.Request
	identity *identity // nil: nobody's, or not known yet
	values   map[any]any
	channels []broker.Topic // of the identity
	addr     netip.Addr
	address  *party // nil: not known
	headers  []string
	upgrade  []byte // the answer to the handshake
}

// authenticate finds who sent a handshake.
func (h *Handler) authenticate(r *http.Request, n *newcomer) (no *refusal) {
	if h.cfg.authenticate != nil {
		if e := h.maySignIn(n.address); e != nil {
			return refused(RefusedRate, e)
		}
		ctx, cancel := context.WithTimeout(r.Context(), h.cfg.signInTimeout)
		defer cancel()
		leave, err := h.enterSignIn(ctx)
		if err != nil {
			return refused(RefusedMaxSignIns, errSignInsBusy)
		}
		defer leave()
		var id *Identity
		h.protect("authenticator", func(e error) { err = e }, func() { id, err = h.cfg.authenticate(r) })
		if err != nil {
			if e := h.ownError(err); e != nil {
				h.countFailedSignIn(n.address, e)
				return refused(RefusedByUser, e)
			}
			h.log.Error("authenticator failed", "error", err)
			return refused(RefusedByFailure, h.cannotAuthenticate(err))
		}
		n.identity, n.values = id.compact()
		n.channels = id.topics()
	}
	if n.identity == nil && h.cfg.signIn != nil && n.request.Protocol == frame.Juggler0 {
		return refused(RefusedByUser, &Error{Code: CodeUnauthenticated, Message: "juggler.0 cannot sign in by AUTH: use juggler.1"})
	}
	return nil
}

// cannotAuthenticate is the refusal for an error of the authenticator.
func (h *Handler) cannotAuthenticate(err error) *Error {
	e := &Error{Code: CodeUnavailable, Message: "cannot authenticate now", RetryAfter: retryAfter(err)}
	if h.cfg.errorTexts {
		e.Message = h.cfg.hide(e.Message+": ", err).Message
	}
	return e
}

// admit reserves the place of a session, which release gives back.
func (h *Handler) admit(ctx context.Context) *refusal {
	if h.closing.Load() {
		return refused(RefusedShutdown, goingAway())
	}
	if h.sessions.Add(1) > int64(h.cfg.maxSessions) {
		h.release()
		if s := h.lobby.removeOldest(); s != nil {
			s.shard.command(s.turnAway) // there is room when the client comes again
		}
		return refused(RefusedMaxSessions, &Error{Code: CodeUnavailable, Message: "too many sessions", RetryAfter: retryAfter(nil)})
	}
	if err := h.start(ctx); err != nil {
		h.release()
		h.log.Error("cannot reach the broker", "error", err)
		return refused(RefusedBroker, &Error{Code: CodeUnavailable, Message: "the broker is unavailable", RetryAfter: retryAfter(err)})
	}
	return nil
}

// release gives the place of a session back.
func (h *Handler) release() {
	if h.sessions.Add(-1) == 0 && h.closing.Load() {
		select {
		case h.empty <- struct{}{}:
		default:
		}
	}
}

// A refusal says why a handshake is refused: to the client by its Error, to the operator
// by a reason of [RefusalCount], too.
type refusal struct {
	*Error
	reason  string
	subject string // see handshake.Refusal
}

func refused(reason string, e *Error) *refusal { return &refusal{Error: e, reason: reason} }

// refuse answers a handshake with e. q is nil when it was not in order.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, q *handshake.Request, e *refusal) {
	h.stats.refusals.add(httpStatus(e.Code), e.reason)
	h.logRefusal(r, e)
	visible := q != nil && q.Browser && q.Protocol == frame.Juggler1 && !h.cfg.hiddenRefusals
	if visible && q.Close(w, closeCode(e.Code), e.Message) {
		return
	}
	w.Header().Set(frame.RefusalHeader, strconv.Itoa(int(e.Code)))
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	http.Error(w, e.Message, httpStatus(e.Code))
}
