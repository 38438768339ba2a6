package caller

import (
	"fmt"
	"time"

	"github.com/juggler-go/juggler/internal/option"
)

// An Option changes what [New] makes.
type Option interface{ applyCaller(*config) }

type optionFunc func(*config)

func (f optionFunc) applyCaller(c *config) { f(c) }

type config struct {
	problems option.Problems
	timeout  time.Duration
	hooks    []CallHook
}

func defaultConfig() config {
	c := config{problems: option.Problems{Package: "caller"}}
	option.Reset(c.settings())
	return c
}

// settings says where the values of the options are kept that have a range.
func (c *config) settings() []option.Setting {
	return []option.Setting{option.CallerCallTimeout.In(&c.timeout)}
}

// WithCallTimeout sets the time of calls whose context has no deadline. Default: 30 s;
// 1 ms to 24 h.
func WithCallTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.timeout = d })
}

// A CallOption changes one call, or those of a [Typed] function.
type CallOption interface{ applyCall(*callOptions) }

type callOption func(*callOptions)

func (f callOption) applyCall(o *callOptions) { f(o) }

type callOptions struct {
	timeout time.Duration
	headers map[string]string
	problem error
}

// WithTimeout sets the time of a call, from 1 ms to 24 h, counted from now. If the
// deadline of its context comes before, that counts.
func WithTimeout(d time.Duration) CallOption {
	return callOption(func(o *callOptions) {
		if limits := option.CallerCallTimeout; d < limits.Min || d > limits.Max {
			o.problem = fmt.Errorf("%w: WithTimeout(%v): want %v to %v", ErrInvalidOption, d, limits.Min, limits.Max)
		}
		o.timeout = d
	})
}

// WithHeaders sends headers along to the callee, such as a traceparent. The map may not
// be changed before the call returns.
func WithHeaders(headers map[string]string) CallOption {
	return callOption(func(o *callOptions) { o.headers = headers })
}
