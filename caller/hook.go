package caller

import (
	"context"
	"maps"
	"strings"
)

// A CallHook is called for each call before it is made, with the context that the
// application gave it. The headers that it returns are added to those of the call, in place
// of any of the same name in whatever case of letters. done, if not nil, is called once, on
// the goroutine of the call, with what the application gets without the URI.
type CallHook func(ctx context.Context, uri string) (headers map[string]string, done func(error))

// WithCallHook adds a hook for calls, such as one that traces them: see package
// jugglerotel. Several hooks are called in the order in which they were added, and told of
// ends in the reverse. Default: none.
func WithCallHook(hook CallHook) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithCallHook", hook, "a function") {
			c.hooks = append(c.hooks, hook)
		}
	})
}

// callHooks calls the hooks for a call and adds their headers to o.
func (c *Caller) callHooks(ctx context.Context, uri string, o *callOptions) (ends []func(error)) {
	for _, hook := range c.hooks {
		headers, done := hook(ctx, uri)
		if len(headers) > 0 {
			o.headers = withHeaders(o.headers, headers)
		}
		if done != nil {
			ends = append(ends, done)
		}
	}
	return ends
}

// withHeaders returns a map of both, in which what is added counts.
func withHeaders(headers, added map[string]string) map[string]string {
	all := maps.Clone(added)
	for name, value := range headers {
		taken := false
		for a := range added {
			taken = taken || strings.EqualFold(a, name)
		}
		if !taken {
			all[name] = value
		}
	}
	return all
}
