package caller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/worker"
)

// A Caller calls URIs through a broker, on which it is a node of its own. Make one with
// [New]. Its methods may be called concurrently; one Caller is enough for all calls of a
// program.
type Caller struct {
	broker  broker.Caller
	node    broker.ID
	timeout time.Duration
	hooks   []CallHook

	opening chan struct{} // has an element while a call opens the connection
	conn    atomic.Pointer[connection]

	life context.Context // ends with Close; of all calls
	end  context.CancelFunc

	// A broker that may wait is told of cancellations on a goroutine of its own.
	cancelling  worker.Backlog
	running     sync.WaitGroup
	telling     context.Context // ends when it has no more time for that
	stopTelling context.CancelFunc

	mu      sync.Mutex // guards the following
	last    uint64     // reference of a call
	pending map[uint64]chan<- broker.Result
	calls   int           // under way
	closed  bool          // no call begins any more
	idle    chan struct{} // closed when closed is set and no call is under way
	over    chan struct{} // closed when closing is over; nil before it began
}

// A connection is one to the broker, with what it can do beyond the contract.
type connection struct {
	broker.CallerConn
	ended      <-chan struct{} // nil: it cannot say
	neverWaits bool
}

// New returns a caller on b. It connects with its first call. The error tells of all
// options with a value out of bounds and wraps [ErrInvalidOption] for each.
//
// A caller must be closed, by [Caller.Shutdown] or [Caller.Close], before its broker is.
func New(b broker.Caller, opts ...Option) (*Caller, error) {
	if b == nil {
		return nil, errors.New("caller: New needs a broker")
	}
	cfg := defaultConfig()
	option.Apply(&cfg.problems, opts, func(o Option) { o.applyCaller(&cfg) })
	option.Check(&cfg.problems, cfg.settings())
	if err := cfg.problems.Err(); err != nil {
		return nil, err
	}
	c := &Caller{
		broker:  b,
		node:    broker.NewID(),
		timeout: cfg.timeout,
		hooks:   cfg.hooks,
		opening: make(chan struct{}, 1),
		pending: make(map[uint64]chan<- broker.Result),
		idle:    make(chan struct{}),
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.cancelling.Running = &c.running
	c.telling, c.stopTelling = context.WithCancel(context.Background())
	return c, nil
}

// connect returns the connection, which it opens if there is none yet.
func (c *Caller) connect(ctx context.Context) (*connection, error) {
	if conn := c.conn.Load(); conn != nil {
		return conn, nil
	}
	select {
	case c.opening <- struct{}{}:
		defer func() { <-c.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if conn := c.conn.Load(); conn != nil {
		return conn, nil
	}
	opened, err := c.broker.OpenCaller(ctx, c.node, c.deliver)
	if err != nil {
		return nil, err
	}
	conn := &connection{CallerConn: opened}
	if e, ok := opened.(broker.Ender); ok {
		conn.ended = e.Ended()
	}
	_, conn.neverWaits = opened.(broker.Immediate)
	c.conn.Store(conn)
	return conn, nil
}

// begin counts a call as under way, unless the caller closes. end must follow.
func (c *Caller) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.calls++
	return nil
}

func (c *Caller) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls--; c.calls == 0 && c.closed {
		close(c.idle)
	}
}

// Shutdown lets no call begin any more and waits for those under way until ctx ends;
// then it does what [Caller.Close] does and returns an error that wraps that of ctx and
// says how many calls were given up. When it returns, no goroutine of the caller is left.
func (c *Caller) Shutdown(ctx context.Context) error {
	first := c.beginClosing()
	given := 0
	select {
	case <-c.idle:
	case <-ctx.Done():
		given = c.underWay()
	}
	if first {
		c.close()
		close(c.over)
	} else {
		c.end()
	}
	<-c.over
	if given > 0 {
		return fmt.Errorf("caller: %d calls given up: %w", given, ctx.Err())
	}
	return nil
}

// Close ends the calls under way, which return [ErrClosed] and are cancelled at their
// callees, and closes the connection to the broker. It always returns nil.
func (c *Caller) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.Shutdown(ctx) //nolint:errcheck // the calls say that they were given up
	return nil
}

// beginClosing lets no call begin any more, and reports whether that was new.
func (c *Caller) beginClosing() (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.closed, c.over = true, make(chan struct{})
	if c.calls == 0 {
		close(c.idle)
	}
	return true
}

func (c *Caller) underWay() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// lastMoment is how long Close lets a broker that waits be told of calls that are not
// wanted any more.
const lastMoment = 500 * time.Millisecond

// close ends the calls and the connection.
func (c *Caller) close() {
	c.end()
	<-c.idle
	select {
	case <-c.cancelling.Idle():
	case <-time.After(lastMoment):
	}
	c.stopTelling()
	if conn := c.conn.Load(); conn != nil {
		conn.Close() //nolint:errcheck // results are not wanted any more
	}
	c.running.Wait()
}
