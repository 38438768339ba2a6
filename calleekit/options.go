package calleekit

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	defaultConcurrency  = 64
	maxConcurrency      = 1 << 16
	defaultDrainTimeout = 10 * time.Second
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
	concurrency  int
	drainTimeout time.Duration
	logger       *slog.Logger
	observers    []any
}

func defaultConfig() config {
	return config{
		concurrency:  defaultConcurrency,
		drainTimeout: defaultDrainTimeout,
		logger:       slog.Default(),
	}
}

// validate returns everything that is wrong with the options.
func (c *config) validate() error {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("calleekit: %w: %s", ErrInvalidOption, fmt.Sprintf(format, args...)))
	}
	if c.concurrency < 1 || c.concurrency > maxConcurrency {
		refuse("WithConcurrency(%d): want 1 to %d", c.concurrency, maxConcurrency)
	}
	if c.drainTimeout < 0 {
		refuse("WithDrainTimeout(%v): want 0 or more", c.drainTimeout)
	}
	if c.logger == nil {
		refuse("WithLogger(nil): want a logger")
	}
	for _, o := range c.observers {
		_, starts := o.(StartObserver)
		_, ends := o.(EndObserver)
		if !starts && !ends {
			refuse("WithObserver(%T): want a StartObserver or an EndObserver", o)
		}
	}
	return errors.Join(errs...)
}

type option func(*config)

func (f option) applyCallee(c *config) { f(c) }

// Concurrency is the option that [WithConcurrency] returns.
type Concurrency int

// WithConcurrency bounds how many calls run at a time, from 1 to 65536.
//
// For [New] the bound is for the whole callee; the default is 64. For
// [Callee.Handle] it is for that URI: so many of the callee's calls are set
// aside for it, so that it neither uses more nor waits for the calls of other
// URIs. What is left is shared by the URIs without a limit of their own;
// [Callee.Start] refuses limits that add up to more than the callee's, or that
// leave nothing.
func WithConcurrency(n int) Concurrency { return Concurrency(n) }

func (n Concurrency) applyCallee(c *config) { c.concurrency = int(n) }
func (n Concurrency) applyRoute(r *route)   { r.limit, r.limited = int(n), true }

// WithDrainTimeout bounds how long [Callee.Run] lets calls finish after its
// context ended. The default is 10 seconds; 0 cancels them at once.
// [Callee.Shutdown] heeds its own context instead.
func WithDrainTimeout(d time.Duration) Option {
	return option(func(c *config) { c.drainTimeout = d })
}

// WithLogger says where panics, results that cannot be encoded, and outages of
// the broker are logged. Default: slog.Default(), as it is
// when [New] is called.
func WithLogger(l *slog.Logger) Option {
	return option(func(c *config) { c.logger = l })
}

// WithObserver adds an observer, which implements [StartObserver],
// [EndObserver] or both. Observers are called in the order they were added.
func WithObserver(o any) Option {
	return option(func(c *config) { c.observers = append(c.observers, o) })
}

type handleOption func(*route)

func (f handleOption) applyRoute(r *route) { f(r) }

// WithMiddleware wraps the function of one URI, inside of what [Callee.Use]
// and [Callee.Group] added. The first given is the outermost.
func WithMiddleware(mw ...func(Handler) Handler) HandleOption {
	return handleOption(func(r *route) { r.middleware = append(r.middleware, mw...) })
}
