package juggler

import "github.com/juggler-go/juggler/frame"

// closeRevoked is the reason that sessions are closed with whose credentials were revoked.
const closeRevoked = "the credentials were revoked"

// refusesRevoked refuses who has credentials that were revoked, or may have.
func (h *Handler) refusesRevoked(id *identity) *refusal {
	m := h.clusterSide.member
	if m == nil || id == nil || id.issued == 0 || id.user == "" {
		return nil
	}
	h.dated.Store(true)
	refuses, known := m.Refuses(id.user, id.issued)
	switch {
	case refuses:
		return refused(RefusedRevoked, &Error{Code: CodeUnauthenticated, Message: closeRevoked})
	case !known:
		m.Renew()
		return refused(RefusedUnknown, &Error{Code: CodeUnavailable, Message: "it cannot be told now what was revoked", RetryAfter: retryAfter(nil)})
	}
	return nil
}

// endIfRevoked ends a session whose credentials were revoked since refusesRevoked was asked:
// endRevoked may have looked before the session was its user's.
func (h *Handler) endIfRevoked(s *session) {
	if no := h.refusesRevoked(s.identity.Load()); no != nil && no.reason == RefusedRevoked {
		h.endAsRevoked(Session{s})
	}
}

// endRevoked ends the sessions of a user whose credentials were issued up to a time, in µs
// since 1970.
func (h *Handler) endRevoked(user string, before int64) (ended int) {
	for _, s := range h.users.of(user) {
		if id := s.s.identity.Load(); id != nil && id.user == user && id.issued != 0 && id.issued <= before {
			h.endAsRevoked(s)
			ended++
		}
	}
	return ended
}

func (h *Handler) endAsRevoked(s Session) {
	h.stats.revoked.Add(1)
	s.Disconnect(frame.CloseUnauthenticated, closeRevoked)
}
