package juggler

import (
	"context"
	"slices"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// maxRefusedAuths is how many AUTHs in a row a session may have refused for good. A
// client asks for another token after each; one that goes on is guessing.
const maxRefusedAuths = 5

// signIn asks the application who sent an AUTH. It runs on the worker.
func (h *Handler) signIn(ctx context.Context, r *Request) (err error) {
	if h.cfg.signIn == nil {
		return &Error{Code: CodeBadRequest, Message: "this server takes no AUTH"}
	}
	leave, err := h.enterSignIn(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var id *Identity
	h.protect("sign-in", func(e error) { err, r.err = e, e }, func() { id, err = h.cfg.signIn(ctx, Session{r.s}, string(r.token)) })
	if err != nil {
		return err
	}
	if id == nil {
		return ErrUnauthenticated
	}
	kept, values := id.compact()
	if no := h.refusesRevoked(kept); no != nil {
		return no.Error
	}
	in := &signIn{}
	r.signIn = in
	if in.joining, err = r.s.acquireAll(ctx, id.topics(), byIdentity); err != nil {
		return err
	}
	if e := h.enterAs(ctx, r.s, kept); e != nil {
		return e
	}
	r.s.shard.keep(r.s, nil, values)
	was := h.identify(r.s, kept)
	h.endIfRevoked(r.s)
	r.accepted = true
	if !was.sameRights(kept) || r.s.lacksChannels(in.joining) {
		in.unclear = true // also if the authorizer ends the goroutine
		in.refused, err = h.refusedNow(ctx, r.s, func(bool) {})
		in.unclear = err != nil
	}
	return nil
}

// signIn is what an AUTH that succeeds changes in the subscriptions of its session.
type signIn struct {
	joining []*Request // the channels of the new identity
	refused []refusedTopic
	unclear bool // the authorizer was not asked for all
}

// settleSignIn follows the answer of an AUTH.
func (s *session) settleSignIn(r *Request) {
	in := r.signIn
	if r.err == nil && in.unclear {
		s.end(frame.CloseRestart, "a subscription may not be allowed any more")
	}
	if r.err == nil {
		s.leaveChannels(in.joining)
		s.endRefused(in.refused)
	}
	for _, join := range in.joining {
		if join.err == nil {
			join.err = r.err
		}
		s.settleJoining(join)
		s.notify(join)
	}
}

// lacksChannels reports whether the identity of before wanted what the new one does not.
func (s *session) lacksChannels(stay []*Request) bool {
	mu := &s.shard.subsMu
	mu.Lock()
	defer mu.Unlock()
	return slices.ContainsFunc(s.subs, func(sub subscription) bool { return sub.lacksIn(stay) })
}

// lacksIn reports whether the identity wants a subscription that is not among stay.
func (sub *subscription) lacksIn(stay []*Request) bool {
	t := sub.topic.node.name
	return sub.by&byIdentity != 0 && !slices.ContainsFunc(stay, func(r *Request) bool { return r.topic() == t })
}

// leaveChannels ends what only the identity of before wanted.
func (s *session) leaveChannels(stay []*Request) {
	for i := len(s.subs) - 1; i >= 0 && s.state < closing; i-- {
		switch sub := &s.subs[i]; {
		case !sub.lacksIn(stay):
		case sub.by&^told == byIdentity:
			s.endSubscription(i, errOtherIdentity)
		default:
			s.unwant(i, byIdentity)
		}
	}
}

var errOtherIdentity = &Error{Code: CodeForbidden, Message: "the session has signed in as somebody else"}

// enterSignIn waits until user code may look at one more client's credentials. leave
// has to follow.
func (h *Handler) enterSignIn(ctx context.Context) (leave func(), err error) {
	select {
	case h.signIns <- struct{}{}:
		return func() { <-h.signIns }, nil
	case <-ctx.Done():
		return nil, errSignInsBusy
	}
}

var errSignInsBusy = &Error{Code: CodeUnavailable, Message: "too many clients are signing in", RetryAfter: time.Second}

// mustSignInFirst reports whether s may send only AUTH.
func (h *Handler) mustSignInFirst(s *session) bool {
	return h.cfg.signIn != nil && s.identity.Load() == nil
}

// refusedForGood reports whether the code of an error says that credentials are no good,
// rather than that it cannot be told now.
func refusedForGood(code frame.Code) bool {
	return code == CodeUnauthenticated || code == CodeForbidden
}

// authRefused is called when an AUTH was refused. It ends a session that guesses.
func (s *session) authRefused(e *Error) {
	s.authLater = closeCode(e.Code) == CloseOverloaded
	if !refusedForGood(e.Code) {
		return
	}
	s.shard.h.countFailedSignIn(s.address(), e)
	if s.refusedAuths++; s.refusedAuths == maxRefusedAuths {
		s.end(CloseUnauthenticated, "too many AUTHs were refused")
	}
}

// maySignIn refuses an address from which too many sign-ins failed. A nil p is not known.
func (h *Handler) maySignIn(p *party) *Error {
	if p == nil {
		return nil
	}
	b, c := &h.cfg.addressBounds, countedFailedSignIns
	if wait := p.spent[c].Wait(b.of[c], h.paceNow(), 1); wait > 0 {
		return tooOften(countedNames[c], b.who, wait)
	}
	return nil
}

// countFailedSignIn notes that credentials from an address were no good.
func (h *Handler) countFailedSignIn(p *party, e *Error) {
	if refusedForGood(e.Code) {
		_ = p.count(&h.cfg.addressBounds, countedFailedSignIns, h.paceNow(), 1) // what follows is refused
	}
}
