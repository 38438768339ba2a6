package client

import (
	"context"

	"github.com/juggler-go/juggler/frame"
)

// RequestInfo is what a [RequestHook] is told of a request.
type RequestInfo struct {
	Type   frame.Type // frame.Call or frame.Pub
	Name   string     // the URI, or the channel
	Stream bool       // a call of [Client.Stream]
}

// RequestEnd is how a request ended.
type RequestEnd struct {
	Err   error // what the application gets, without the name of the request; nil: it succeeded
	Parts int   // of the answer to a [Stream], how many came
}

// A RequestHook is called for each call and publication before it is sent, with the
// context that the application gave it. The headers that it returns are added to those of
// the request, in place of any of the same name in whatever case of letters; a session that
// speaks juggler.0 goes without them. done, if not nil, is called once with the outcome,
// from any goroutine: it must not wait, nor call the client.
type RequestHook func(ctx context.Context, r RequestInfo) (headers map[string]string, done func(RequestEnd))

// WithRequestHook adds a hook for calls and publications, such as one that traces them: see
// package jugglerotel. A request that is sent again, as its connection was lost, is still
// one request. Several hooks are called in the order in which they were added, and told of
// ends in the reverse. Default: none.
func WithRequestHook(hook RequestHook) Option {
	return set("WithRequestHook", hook, "a function", func(c *config, hook RequestHook) {
		c.onRequest = append(c.onRequest, hook)
	})
}

// requestEnds are to be told how a request ended.
type requestEnds []func(RequestEnd)

func (ends requestEnds) tell(e RequestEnd) {
	for i := len(ends) - 1; i >= 0; i-- {
		ends[i](e)
	}
}

// callHooks calls the hooks for r.
func (c *Client) callHooks(ctx context.Context, r *request) (ends requestEnds) {
	for _, hook := range c.cfg.onRequest {
		headers, done := hook(ctx, RequestInfo{Type: r.typ, Name: string(r.name), Stream: r.stream() != nil})
		for name, value := range headers {
			r.hooked = frame.SetHeader(nil, r.headersFor(frame.Juggler1), name, value)
		}
		if done != nil {
			ends = append(ends, done)
		}
	}
	return ends
}

// headersFor returns the headers of r as they are sent in p.
func (r *request) headersFor(p frame.Protocol) []byte {
	if p == frame.Juggler1 && r.hooked != nil {
		return r.hooked
	}
	return r.headers
}
