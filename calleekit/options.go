package calleekit

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/juggler-go/juggler/internal/option"
)

// An Option changes what [New] makes.
type Option interface {
	applyCallee(*config)
}

// A HandleOption changes how one function is registered by [Callee.Handle].
type HandleOption interface {
	applyRoute(*route)
}

type config struct {
	problems     option.Problems
	concurrency  int
	drainTimeout time.Duration
	logger       *slog.Logger
	observers    []any
	middleware   []func(Handler) Handler
	errorTexts   bool
	strictArgs   bool
}

func defaultConfig() config {
	c := config{problems: option.Problems{Package: "calleekit"}, logger: slog.Default()}
	option.Reset(c.settings())
	return c
}

// settings says where the values of the options are kept that have a range.
func (c *config) settings() []option.Setting {
	return []option.Setting{
		option.CalleeConcurrency.In(&c.concurrency),
		option.CalleeDrainTimeout.In(&c.drainTimeout),
	}
}

type optionFunc func(*config)

func (f optionFunc) applyCallee(c *config) { f(c) }

// Concurrency is the option that [WithConcurrency] returns.
type Concurrency int

// WithConcurrency bounds how many calls run at a time. Default: 256; 1 to 65,536.
//
// For [New] the bound is for the whole callee. For
// [Callee.Handle] it is for that URI: n of the callee's calls are reserved for
// it, so that it neither uses more nor waits for the calls of other
// URIs. The rest is shared by the URIs without a limit of their own;
// [Callee.Start] refuses limits that add up to more than the callee's, or that
// leave nothing.
func WithConcurrency(n int) Concurrency { return Concurrency(n) }

func (n Concurrency) applyCallee(c *config) { c.concurrency = int(n) }
func (n Concurrency) applyRoute(r *route)   { r.limit, r.limited = int(n), true }

// WithDrainTimeout bounds how long [Callee.Run] lets calls finish after its
// context ended; 0 cancels them at once. [Callee.Shutdown] heeds its own context
// instead. Default: 10 s; 0 to 24 h.
func WithDrainTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.drainTimeout = d })
}

// WithErrorTexts says whether callers get the texts of plain errors, of panics and of what
// keeps a result from being encoded, which otherwise become "internal error" and a log
// line. It is for development: such texts tell of databases, files and hosts. Default:
// false.
func WithErrorTexts(on bool) Option {
	return optionFunc(func(c *config) { c.errorTexts = on })
}

// WithLogger says where plain errors and panics of functions, results that cannot be
// encoded, and outages of the broker are logged. Default: slog.Default(), as it is when [New] is called.
func WithLogger(l *slog.Logger) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithLogger", l, "a logger") {
			c.logger = l
		}
	})
}

// WithObserver adds an observer, which implements [StartObserver],
// [EndObserver] or both. Observers are called in the order they were added.
func WithObserver(o any) Option {
	return optionFunc(func(c *config) {
		_, starts := o.(StartObserver)
		_, ends := o.(EndObserver)
		if !starts && !ends {
			c.problems.Refuse("WithObserver", fmt.Sprintf("%T", o), "a StartObserver or an EndObserver")
			return
		}
		c.observers = append(c.observers, o)
	})
}

// Middleware is the option that [WithMiddleware] returns.
type Middleware []func(Handler) Handler

// WithMiddleware wraps functions: for [Callee.Handle] that of one URI, inside of what
// [Callee.Use] and [Callee.Group] added; for [New] all of the callee, outside of what
// [Callee.Use] adds. The first given is the outermost.
func WithMiddleware(mw ...func(Handler) Handler) Middleware { return mw }

func (mw Middleware) applyCallee(c *config) { c.middleware = append(c.middleware, mw...) }
func (mw Middleware) applyRoute(r *route)   { r.middleware = append(r.middleware, mw...) }
