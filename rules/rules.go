// Package rules decides by a list of rules who may call, subscribe and publish what. What
// no rule allows is refused.
//
//	may, err := rules.Compile(
//		rules.Rule{Who: []string{rules.Everyone}, Subscribe: []string{"public.*"}},
//		rules.Rule{Who: []string{rules.Authenticated}, Call: []string{"math.*"}, Subscribe: []string{"users.{user}.*"}},
//		rules.Rule{Who: []string{"role=editor", "user=root"}, Publish: []string{"public.*"}},
//	)
//	if err != nil {
//		log.Fatal(err)
//	}
//	handler, err := juggler.New(juggler.WithAuthorizer(may))
//
// # Names
//
// A name stands for itself, byte by byte, or, with * at its end, for all names with that
// beginning. {user} in it is the name of the session's user, whatever bytes that has: a
// user named * is no other than that. What follows {user} says where the name ends, here
// a dot. A user who has that byte in the name is refused all that {user} allows, with an
// error that says so; otherwise ann could have what is for ann.b.
//
// # Patterns
//
// A SUB of a pattern is allowed if one of the names allows all that the pattern can match:
// it ends in *, and what the pattern says before its first special character begins so.
// Clients that make a pattern of the name of a user have to put a backslash before *, ?, [
// and \ in it, as QuotePattern of the package client does.
package rules

import (
	"context"
	"strings"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/glob"
)

// What Who of a [Rule] may contain, beside user=NAME and ATTRIBUTE=VALUE.
const (
	Everyone      = "everyone"
	Anonymous     = "anonymous"     // sessions without a user
	Authenticated = "authenticated" // sessions with a user
)

// A Rule allows those it is for to do some things. There is no rule that forbids.
type Rule struct {
	// Who are those it is for, any of them: [Everyone], [Anonymous], [Authenticated],
	// user=NAME, or ATTRIBUTE=VALUE for sessions with such an attribute
	// ([juggler.Session.HasAttribute]). It must not be empty.
	Who []string

	// Call are URIs, Subscribe and Publish are channels; not all of them may be empty.
	Call, Subscribe, Publish []string
}

// Rules are compiled, and an authorizer that never waits and allocates nothing for what it
// allows, but for patterns. They never change and may be used concurrently. The zero value
// allows nothing.
//
// To have rules that can change, keep them in an [sync/atomic.Pointer] and have the
// authorizer, by [juggler.NonBlocking], load it.
type Rules struct {
	rules  []rule
	ends   string // the bytes that follow {user}
	noUser error  // refuses a user who has one of them in the name
}

// A Subject is whom the rules are asked about. A [juggler.Session] is one.
type Subject interface {
	User() string // "": nobody
	HasAttribute(name, value string) bool
}

// A rule is a [Rule] that is compiled.
type rule struct {
	who                      []subject // any of them
	call, subscribe, publish []name
}

// A subject is whom a rule is for.
type subject struct {
	kind             subjectKind
	attribute, value string // of withAttribute; value also of withUser
}

type subjectKind uint8

const (
	everyone subjectKind = iota
	anonymous
	authenticated
	withUser
	withAttribute
)

// A name is a URI or channel, or with prefix set what such names begin with.
// pieces are what stands around "{user}".
type name struct {
	pieces []string
	prefix bool
}

// A request is what somebody wants. Of a pattern, name is what all that it matches begins
// with.
type request struct {
	typ     frame.Type
	name    string
	pattern bool
	user    string // "": {user} is nobody
}

// Authorize implements [juggler.Authorizer].
func (r *Rules) Authorize(_ context.Context, req *juggler.Request) error {
	name := req.Channel()
	if req.Type() == frame.Call {
		name = req.URI()
	}
	s := req.Session()
	switch {
	case r.Allows(s, req.Type(), name, req.Pattern()):
		req.AllowPattern()
		return nil
	case r.ambiguous(s.User()):
		return r.noUser
	case req.Type() == frame.Sub && req.Pattern():
		return errPattern
	}
	return juggler.ErrForbidden
}

var errPattern = &juggler.Error{Code: juggler.CodeForbidden, Message: "not allowed: a pattern must begin, before its first special character, as a rule that ends in *; or subscribe to channels by their names"}

// NeverBlocks declares that Authorize never waits: it runs on the event loop.
func (r *Rules) NeverBlocks() {}

// Allows reports whether somebody may send a request, a frame.Call, frame.Sub or
// frame.Pub, for a URI or channel, or with pattern set a SUB of a pattern.
func (r *Rules) Allows(who Subject, typ frame.Type, name string, pattern bool) bool {
	want := request{typ: typ, name: name, pattern: pattern && typ == frame.Sub}
	if want.pattern {
		want.name = glob.Prefix(name)
	}
	if user := who.User(); !r.ambiguous(user) {
		want.user = user
	}
	for i := range r.rules {
		rule := &r.rules[i]
		if rule.covers(&want) && rule.isFor(who) {
			return true
		}
	}
	return false
}

// ambiguous reports whether the rules cannot tell where the name of a user ends.
func (r *Rules) ambiguous(user string) bool {
	for i := range len(r.ends) {
		if strings.IndexByte(user, r.ends[i]) >= 0 {
			return true
		}
	}
	return false
}

func (r *rule) isFor(who Subject) bool {
	for i := range r.who {
		if r.who[i].is(who) {
			return true
		}
	}
	return false
}

func (w *subject) is(who Subject) bool {
	switch w.kind {
	case everyone:
		return true
	case anonymous:
		return who.User() == ""
	case authenticated:
		return who.User() != ""
	case withUser:
		return who.User() == w.value
	}
	return who.HasAttribute(w.attribute, w.value)
}

// covers reports whether the rule allows what is wanted, to those it is for.
func (r *rule) covers(want *request) bool {
	var names []name
	switch want.typ {
	case frame.Call:
		names = r.call
	case frame.Sub:
		names = r.subscribe
	case frame.Pub:
		names = r.publish
	}
	for i := range names {
		if names[i].covers(want) {
			return true
		}
	}
	return false
}

// covers reports whether n covers a name, or all names that begin as a pattern does.
func (n *name) covers(want *request) bool {
	if want.pattern && !n.prefix || len(n.pieces) > 1 && want.user == "" {
		return false
	}
	rest := want.name
	for i, piece := range n.pieces {
		var ok bool
		if i > 0 {
			if rest, ok = strings.CutPrefix(rest, want.user); !ok {
				return false
			}
		}
		if rest, ok = strings.CutPrefix(rest, piece); !ok {
			return false
		}
	}
	return n.prefix || rest == ""
}
