package juggler

import (
	"context"

	"github.com/juggler-go/juggler/frame"
)

// An Authorizer decides whether a request is allowed. It returns nil, an
// [Error] such as [ErrForbidden], or any other error if it cannot tell (code
// 500 and a log line). UNSB is always allowed and not asked for, nor is what the server
// subscribes sessions to. The context ends with the session, or is that of
// [Handler.Reauthorize].
//
// Rules that are known beforehand are an Authorizer already: see the package rules. One of
// your own has to say yes to a pattern by [Request.AllowPattern] as well: a SUB of
// "users.*" is none of a channel of that name, but of all that it matches.
//
// A type whose method Authorize never waits may declare so by a method NeverBlocks(),
// which is not called; for functions there is [NonBlocking].
type Authorizer interface {
	Authorize(ctx context.Context, r *Request) error
}

// AuthorizerFunc is a function that is an Authorizer and may block: a request
// then holds up the later ones of its session, and of no other.
type AuthorizerFunc func(ctx context.Context, r *Request) error

// Authorize calls f.
func (f AuthorizerFunc) Authorize(ctx context.Context, r *Request) error { return f(ctx, r) }

// NonBlocking declares that f never waits, neither for I/O nor for a lock
// held across it, as a lookup in static rules does not. It then runs on the
// event loop, where it costs next to nothing and where waiting would hold up
// many sessions: if it takes more than 100 ms it is logged, and counted in [Stats]. It
// may panic, but not call runtime.Goexit.
func NonBlocking(f AuthorizerFunc) Authorizer { return nonBlocking{f} }

type nonBlocking struct{ AuthorizerFunc }

func (nonBlocking) NeverBlocks() {}

// AllowAll is the Authorizer that says that it is meant: every client may call every URI,
// publish on every channel, and subscribe to all of them. It is as if there were none, but
// [New] does not warn of it.
func AllowAll() Authorizer { return allowAll{} }

type allowAll struct{}

func (allowAll) Authorize(_ context.Context, r *Request) error {
	r.AllowPattern()
	return nil
}

func (allowAll) NeverBlocks() {}

// mayBlock reports whether user code in the way of requests may block.
func (c *config) mayBlock() bool {
	return c.blocking || c.authorizer != nil && !neverBlocks(c.authorizer)
}

// neverBlocks reports whether an authorizer, or nil, declares that it never waits.
func neverBlocks(a Authorizer) bool {
	_, ok := a.(interface{ NeverBlocks() })
	return ok
}

var errPattern = &Error{Code: CodeForbidden, Message: "patterns are refused here unless the server's authorizer allows them " +
	"(juggler.Request.AllowPattern, or a rule that ends in *): subscribe to channels by their names"}

// authorize asks the authorizer.
func (h *Handler) authorize(ctx context.Context, r *Request) (err error) {
	if h.cfg.authorizer == nil || r.typ == frame.Unsb {
		return nil
	}
	if r.typ == frame.Sub {
		r.allowed = r.s.identity.Load()
	}
	if h.authorizerPC != 0 {
		defer h.leave(h.enter(r, h.authorizerPC))
	}
	h.protect("authorizer", func(e error) { err = r.interrupted(e) }, func() { err = h.cfg.authorizer.Authorize(ctx, r) })
	if err == nil && r.typ == frame.Sub && r.pattern && !r.mayMatch {
		return errPattern
	}
	if err != nil && r.onlyReplays() {
		r.replays, err = true, nil
	}
	return err
}

// settleRights takes an authorizer that allows everything for what it is: none. Where
// there is none by omission it says so.
func (h *Handler) settleRights() {
	if _, meant := h.cfg.authorizer.(allowAll); meant {
		h.cfg.authorizer = nil
	} else if h.cfg.authorizer == nil {
		h.log.Warn("every client may call, publish and subscribe to everything: give WithAuthorizer rules (package rules), or AllowAll() if that is meant")
	}
}
