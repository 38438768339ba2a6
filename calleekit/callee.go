package calleekit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/ratelog"
)

// A Callee answers the calls to the URIs that functions were registered for.
// Make one with [New], register with [Callee.Handle], then either [Callee.Run]
// or [Callee.Start] it. Its methods may be called concurrently. A callee that
// was stopped stays so.
type Callee struct {
	broker       broker.Callee
	log          *slog.Logger
	logs         *ratelog.Limit // of log
	observers    []any
	concurrency  int
	drainTimeout time.Duration
	errorTexts   bool
	strictArgs   bool

	panics  atomic.Uint64
	stopped sync.Once
	done    chan struct{} // closed once stopped, by stopped

	mu          sync.Mutex // guards the following
	state       calleeState
	routes      []*route
	middleware  []func(Handler) Handler
	cancelStart context.CancelCauseFunc // while starting
	startEnded  chan struct{}           // closed when the Start under way ends
	pools       []*pool                 // once running
	failure     error                   // what stopped the callee, if it was not asked to
}

type calleeState uint8

const (
	calleeIdle calleeState = iota
	calleeStarting
	calleeRunning
	calleeStopped // or about to; done tells when it has
)

// New returns a callee on b without functions. The error tells of all options
// with a value out of bounds, and wraps [ErrInvalidOption] for each.
func New(b broker.Callee, opts ...Option) (*Callee, error) {
	if b == nil {
		return nil, errors.New("calleekit: New needs a broker")
	}
	cfg := defaultConfig()
	option.Apply(&cfg.problems, opts, func(o Option) { o.applyCallee(&cfg) })
	option.Check(&cfg.problems, cfg.settings())
	if err := cfg.problems.Err(); err != nil {
		return nil, err
	}
	log, logs := ratelog.New(cfg.logger.With("component", "callee"))
	return &Callee{
		broker:       b,
		log:          log,
		logs:         logs,
		observers:    cfg.observers,
		concurrency:  cfg.concurrency,
		drainTimeout: cfg.drainTimeout,
		errorTexts:   cfg.errorTexts,
		strictArgs:   cfg.strictArgs,
		middleware:   cfg.middleware,
		done:         make(chan struct{}),
	}, nil
}

// Handle registers f for the calls to uri. A [Handler] is registered by its
// method: c.Handle(uri, h.ServeCall).
//
// It panics if uri is empty or registered already, if f is nil, if a limit is
// out of bounds, or if the callee has been started.
func (c *Callee) Handle(uri string, f HandlerFunc, opts ...HandleOption) {
	c.handle(uri, f, nil, opts)
}

func (c *Callee) handle(uri string, f HandlerFunc, group []func(Handler) Handler, opts []HandleOption) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state != calleeIdle:
		panic(fmt.Sprintf("calleekit: Handle(%q) after the callee was started", uri))
	case uri == "":
		panic("calleekit: Handle with an empty URI")
	case f == nil:
		panic(fmt.Sprintf("calleekit: Handle(%q) with a nil function", uri))
	case slices.ContainsFunc(c.routes, func(r *route) bool { return r.uri == uri }):
		panic(fmt.Sprintf("calleekit: Handle(%q) twice", uri))
	}
	r := &route{uri: uri, handler: f, middleware: slices.Clone(group), strictArgs: c.strictArgs, about: describe(f)}
	for _, o := range opts {
		o.applyRoute(r)
	}
	if r.limited && (r.limit < 1 || r.limit > c.concurrency) {
		panic(fmt.Sprintf("calleekit: Handle(%q) with WithConcurrency(%d): want 1 to %d, the callee's",
			uri, r.limit, c.concurrency))
	}
	c.routes = append(c.routes, r)
}

// Use wraps every function of the callee, also those registered before, in
// middleware. The first that was ever given is the outermost. It panics if the
// callee has been started.
func (c *Callee) Use(mw ...func(Handler) Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != calleeIdle {
		panic("calleekit: Use after the callee was started")
	}
	c.middleware = append(c.middleware, mw...)
}

// A Group registers functions whose URIs begin alike. Make one with
// [Callee.Group].
type Group struct {
	callee     *Callee
	prefix     string
	middleware []func(Handler) Handler
}

// Group returns a group whose URIs begin with prefix, as it stands: "math."
// and "add" make "math.add". Its functions are wrapped in the middleware,
// inside of what [Callee.Use] adds.
func (c *Callee) Group(prefix string, mw ...func(Handler) Handler) *Group {
	return &Group{c, prefix, slices.Clone(mw)}
}

// Handle is [Callee.Handle] for the group's prefix followed by uri.
func (g *Group) Handle(uri string, f HandlerFunc, opts ...HandleOption) {
	g.callee.handle(g.prefix+uri, f, g.middleware, opts)
}

// Start announces the URIs and begins to answer calls on goroutines of its
// own. When it returns nil, calls are accepted. While the broker is out of
// reach it tries again until ctx ends; after an error the callee may be
// started again. Functions' contexts have the values of ctx, not its end.
//
// A callee that was started must be stopped, by [Callee.Shutdown] or
// [Callee.Close]. If the broker is closed, the callee logs that and stops.
func (c *Callee) Start(ctx context.Context) error {
	opening, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pools, err := c.beginStart(cancel)
	if err != nil {
		return err
	}
	var opened []*pool
	for _, p := range pools {
		if err = p.open(opening); err != nil {
			break
		}
		opened = append(opened, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.startEnded)
	if err == nil && c.state == calleeStopped {
		err = ErrStopped
	}
	if err != nil {
		for _, p := range opened {
			p.stop()
		}
		if c.state == calleeStarting {
			c.state = calleeIdle
		}
		return err
	}
	c.state = calleeRunning
	c.pools = pools
	for _, p := range pools {
		p.start()
	}
	return nil
}

// beginStart makes the pools. cancel will be called to end the start early.
func (c *Callee) beginStart(cancel context.CancelCauseFunc) ([]*pool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case calleeStopped:
		return nil, ErrStopped
	case calleeStarting, calleeRunning:
		return nil, errors.New("calleekit: the callee has been started already")
	}
	pools, err := c.makePools()
	if err != nil {
		return nil, err
	}
	c.state = calleeStarting
	c.cancelStart = cancel
	c.startEnded = make(chan struct{})
	return pools, nil
}

// makePools divides the routes, and the callee's limit, among pools: one for
// each URI with a limit of its own, one for all others.
func (c *Callee) makePools() ([]*pool, error) {
	if len(c.routes) == 0 {
		return nil, errors.New("calleekit: no function is registered")
	}
	left, shared := c.concurrency, 0
	for _, r := range c.routes {
		if r.limited {
			left -= r.limit
		} else {
			shared++
		}
	}
	if left < 0 || left == 0 && shared > 0 {
		return nil, fmt.Errorf("calleekit: the limits of single URIs add up to %d, of %d for the callee and %d URIs without one: %w",
			c.concurrency-left, c.concurrency, shared, ErrInvalidOption)
	}
	var pools []*pool
	var common *pool
	for _, r := range c.routes {
		p := common
		if p == nil || r.limited {
			limit := left
			if r.limited {
				limit = r.limit
			}
			p = newPool(c, limit)
			pools = append(pools, p)
			if !r.limited {
				common = p
			}
		}
		p.add(r, wrap(wrap(r.handler, r.middleware), c.middleware))
	}
	return pools, nil
}

// wrap puts middleware around h, the first outermost.
func wrap(h Handler, middleware []func(Handler) Handler) Handler {
	for _, mw := range slices.Backward(middleware) {
		h = mw(h)
	}
	return h
}

// Run starts the callee and answers calls until it is stopped or ctx ends;
// then it drains, for at most the time of [WithDrainTimeout]. It returns nil
// once every call has been answered, or once Shutdown or Close was called, and
// an error if it could not start before ctx ended, if its own draining had to
// abandon calls, or if the broker was closed.
func (c *Callee) Run(ctx context.Context) error {
	if err := c.Start(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.drainTimeout)
		defer cancel()
		return c.Shutdown(drain)
	case <-c.done: // by Shutdown or Close, or it failed
		return c.failed()
	}
}

// Shutdown drains the callee: it takes no more calls, waits until those that
// it has taken are finished and their results stored, and withdraws its URIs.
// Meanwhile calls to them still queue in the broker, for other callees or the
// next start.
//
// If ctx ends first it does what [Callee.Close] does and returns an error that
// wraps the cause and says how many calls were abandoned. So it does if the broker is
// closed meanwhile, for calls whose results could not be stored; the cause then is the
// broker's error. When it returns nil, no goroutine of the callee is left. It must
// not be called by a function, for which it would wait. Shutdown of a callee that
// was not started prevents its start.
func (c *Callee) Shutdown(ctx context.Context) error {
	defer c.logs.Close()
	pools := c.beginStop()
	for _, p := range pools {
		p.drain()
	}
	left, cause := stopAll(ctx, pools)
	c.stopped.Do(func() { close(c.done) })
	if left > 0 {
		c.log.Warn("stopped with unfinished calls", "calls", left)
		return fmt.Errorf("calleekit: %d calls abandoned: %w", left, cmp.Or(cause, context.Cause(ctx), c.failed(), ErrStopped))
	}
	for _, p := range pools {
		p.workers.Wait()
	}
	return nil
}

// stopAll stops each pool once it has settled or ctx has ended, beside the others: a broker
// that does not answer holds up each. It returns how many calls were abandoned, and why.
func stopAll(ctx context.Context, pools []*pool) (abandoned int, cause error) {
	left, causes := make([]int, len(pools)), make([]error, len(pools))
	var all sync.WaitGroup
	for i, p := range pools {
		all.Go(func() {
			select {
			case <-p.settled:
			case <-ctx.Done():
			}
			left[i], causes[i] = p.stop()
		})
	}
	all.Wait()
	for _, n := range left {
		abandoned += n
	}
	return abandoned, cmp.Or(causes...)
}

// Close stops the callee: it withdraws the URIs at once and ends the contexts
// of the calls that run, with the cause [ErrStopped]. The broker answers 502
// for every call that was taken and not answered; an error says how many. The
// functions of these may run on, if they do not heed their contexts.
func (c *Callee) Close() error {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(ErrStopped)
	return c.Shutdown(ctx)
}

// beginStop lets no Start succeed any more and returns the pools that run.
func (c *Callee) beginStop() []*pool {
	c.mu.Lock()
	starting := c.state == calleeStarting
	c.state = calleeStopped
	cancelStart, startEnded := c.cancelStart, c.startEnded
	c.mu.Unlock()
	if starting {
		cancelStart(ErrStopped)
		<-startEnded
	}
	return c.runningPools()
}

func (c *Callee) runningPools() []*pool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pools
}

// failed returns why the callee has stopped by itself, or nil.
func (c *Callee) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// fail stops the callee because of what the broker returned.
func (c *Callee) fail(err error) {
	c.mu.Lock()
	first := c.failure == nil // of the pools
	if first {
		c.failure = err
	}
	c.mu.Unlock()
	if first {
		c.log.Error("the callee stops: the broker failed for good", "error", err)
	}
	c.Close()
}
