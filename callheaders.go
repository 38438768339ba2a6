package juggler

import (
	"context"
	"fmt"
	"strings"

	"github.com/juggler-go/juggler/frame"
)

// WithUserHeader tells callees who calls: CALLs have the session's user in a header of this
// name, such as "user", and none of that name where there is no user. See
// [WithCallHeader].
func WithUserHeader(header string) Option {
	return callHeaderOption("WithUserHeader", header, func(s Session) (string, bool) {
		user := s.User()
		return user, user != ""
	})
}

// WithAttributeHeader tells callees an attribute of the caller's [Identity], such as its
// tenant, in a header of CALLs: of several with that name the first. See [WithCallHeader].
func WithAttributeHeader(attribute, header string) Option {
	return callHeaderOption("WithAttributeHeader", header, func(s Session) (string, bool) { return s.Attribute(attribute) })
}

// WithCallHeader sets a header of each CALL to what value says of its session, where ok is
// true. Callees can trust it: what clients send under this name, in any case of letters, is
// taken off their CALLs, and off their PUBs, which have the header of nobody. A callee
// reads it by calleekit's Call.Header, in exactly the case that is given here. Middleware
// and the authorizer see it as well.
//
// value never waits: like that of [WithNonBlockingMiddleware] it runs on the event loop.
// Each header may be given once. Default: none.
func WithCallHeader(header string, value func(Session) (value string, ok bool)) Option {
	return callHeaderOption("WithCallHeader", header, value)
}

// A callHeader is a header that the node sets.
type callHeader struct {
	name  string
	value func(Session) (string, bool)
}

func callHeaderOption(option, header string, value func(Session) (string, bool)) Option {
	return optionFunc(func(c *config) {
		if !c.problems.NotNil(option, value, "a function") {
			return
		}
		if header == "" {
			c.problems.Add(option + `(""): want the name of a header`)
			return
		}
		for _, h := range c.callHeaders {
			if strings.EqualFold(h.name, header) {
				c.problems.Add(fmt.Sprintf("%s(%q): another option sets this header, too", option, header))
				return
			}
		}
		c.callHeaders = append(c.callHeaders, callHeader{header, value})
	})
}

// addCallHeaders has the headers set before all other middleware.
func (c *config) addCallHeaders() {
	if len(c.callHeaders) == 0 {
		return
	}
	m := NonBlockingMiddleware(c.setCallHeaders)
	c.nonBlocking = append([]NonBlockingMiddleware{m}, c.nonBlocking...)
	c.middleware = append([]Middleware{m.wrap}, c.middleware...)
}

// setCallHeaders is a NonBlockingMiddleware.
func (c *config) setCallHeaders(_ context.Context, r *Request) (func(error) error, error) {
	if r.typ != frame.Call && r.typ != frame.Pub {
		return nil, nil
	}
	for _, h := range c.callHeaders {
		value, ok := "", false
		if r.typ == frame.Call { // publications go to clients, whom it does not concern who publishes
			value, ok = h.value(r.Session())
		}
		if ok {
			r.SetHeader(h.name, value)
		} else {
			r.DeleteHeader(h.name)
		}
	}
	return nil, nil
}
