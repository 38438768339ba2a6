package calleekit

import (
	"context"
	"encoding/json"
	"iter"
	"maps"

	"github.com/juggler-go/juggler/broker"
)

// A Call is one request to a function. It is valid until the function
// returns, and then used for another call. Until then its methods may be
// called by one goroutine at a time. A test of a function may make one of its
// own.
type Call struct {
	URI string

	// Args is any JSON value, as the caller sent it, or empty. It is valid,
	// and not to be changed, until the function returns. Returning it, or a
	// pointer to it, which saves an allocation, sends it back as it is.
	Args json.RawMessage

	// RawHeaders is a JSON object of strings, or empty: what travels beside
	// the arguments, such as a traceparent or an authenticated user's id.
	// It is valid as long as Args.
	RawHeaders json.RawMessage

	key     string // see Key
	attempt uint8
	headers map[string]string // RawHeaders, once decoded
	strict  bool              // see WithStrictArgs

	// send is nil if the caller wants no parts. It is set once, before the function is
	// called, and only in a Call that is not used again: so whoever calls Send late does
	// no harm.
	send SendFunc
}

// reset makes c the call in, or no call if that is empty. It leaves send alone.
func (c *Call) reset(in broker.Call, strict bool) {
	c.URI, c.Args, c.RawHeaders = in.URI, in.Args, in.Headers
	c.key, c.attempt, c.headers, c.strict = "", in.Attempt, nil, strict
	if !in.Key.IsZero() {
		c.key = in.Key.String()
	}
}

// Key returns what names the call if its caller gave it a key, else "". It is made of the
// URI, the scope (the user, unless the server says otherwise) and the caller's key, so that no
// two of them have the same: 22 letters, digits, "-" and "_". Should the call run again, as
// after a loss of the broker's data, it has the same. A function whose effect must happen once
// stores it in the transaction of the effect, and does nothing if it is there.
func (c *Call) Key() string { return c.key }

// Attempt returns how often the call of its Key was made: 1, or more where the server says that
// calls to the URI may run again ([juggler.OutcomeRule]); 255 is so often or more. What was
// certainly never taken by a callee does not count. An earlier attempt may run still. It is 0
// without a Key.
//
// [juggler.OutcomeRule]: https://pkg.go.dev/github.com/juggler-go/juggler#OutcomeRule
func (c *Call) Attempt() int { return int(c.attempt) }

// Header returns the header with the key, in exactly that case, or "". Clients send what
// they like; what the node sets can be trusted: the user and other things of the session,
// by juggler.WithUserHeader, WithAttributeHeader and WithCallHeader or the flags
// --user-header and --attribute-headers of juggler serve. In a function of [Typed] the
// call is that of [CallFrom].
func (c *Call) Header(key string) string {
	return c.decodeHeaders()[key]
}

// Headers iterates over the headers, in no particular order.
func (c *Call) Headers() iter.Seq2[string, string] {
	return maps.All(c.decodeHeaders())
}

// decodeHeaders returns the headers, of which there are none when RawHeaders
// is not an object of strings: nodes let no other pass.
func (c *Call) decodeHeaders() map[string]string {
	if c.headers == nil && len(c.RawHeaders) > 0 {
		c.headers = map[string]string{}
		if err := json.Unmarshal(c.RawHeaders, &c.headers); err != nil {
			clear(c.headers)
		}
	}
	return c.headers
}

type callKey struct{}

// CallFrom returns the call that a function's context belongs to, so that a
// [Typed] function and what it calls can read URI and headers. It returns nil
// if ctx is not one, or derived from one, that the kit made. The Call is valid
// until the function returns.
func CallFrom(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}
