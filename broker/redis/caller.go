package redis

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/oklog/ulid/v2"
)

const (
	// resultCapacity is how many results a node's list holds at most. A node
	// takes them at once; one that hangs must not fill the server.
	resultCapacity = 65536

	// nodeFor is how long a node that is silent is still taken for alive, at
	// least. What is stored for it meanwhile costs memory, no more.
	nodeFor = 10 * time.Second

	// resultsFor is how long, in ms, an untouched list of results lives.
	resultsFor = 60_000
)

// callerConn is a node's hold on the broker.
type callerConn struct {
	broker  *Broker
	node    broker.ID
	deliver func([]broker.Result)
	parts   func([]broker.Part)    // nil: the node takes none
	news    func([]broker.CallKey) // nil: the node makes no calls with keys

	home      *lane // of the node's keys
	heartbeat *heartbeat
	results   *results
	used      []atomic.Bool // by lane: calls are queued there, and a reaper looks for them

	mu      sync.Mutex // guards the following
	reapers []*reaper

	reader atomic.Pointer[partsReader] // from the first call with a Window or a key on

	closed    atomic.Bool
	closeOnce sync.Once
	ended     chan struct{} // closed with it
}

var (
	_ broker.BatchCaller = (*callerConn)(nil)
	_ broker.Divided     = (*callerConn)(nil)
	_ broker.Ender       = (*callerConn)(nil)

	_ broker.StreamCallerConn = (*callerConn)(nil)
	_ broker.KeyedCallerConn  = (*callerConn)(nil)
)

// OpenCaller implements [broker.Caller].
func (b *Broker) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	c, err := b.openCaller(ctx, node, deliver, nil, nil)
	if err != nil {
		return nil, wrap("open caller", ulid.ULID(node).String(), err)
	}
	return c, nil
}

func (b *Broker) openCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part), news func([]broker.CallKey)) (*callerConn, error) {
	home := b.lane(b.keys.laneOfNode(node))
	if home == nil {
		return nil, broker.ErrClosed
	}
	c := &callerConn{
		broker:  b,
		node:    node,
		deliver: deliver,
		parts:   parts,
		news:    news,
		home:    home,
		used:    make([]atomic.Bool, len(b.keys.tags)),
		ended:   make(chan struct{}),
	}
	c.heartbeat = newHeartbeat(func(bool) ([]*resp.Command, func()) { return c.announce(), func() {} })
	c.results = newResults(c)
	for _, command := range c.announce() {
		if _, err := home.writer.do(ctx, command); err != nil {
			return nil, err
		}
	}
	home.addHeartbeat(c.heartbeat)
	c.results.start()
	c.use(home)
	if err := b.register(c); err != nil {
		c.Close() //nolint:errcheck // never fails
		return nil, err
	}
	return c, nil
}

// nodeLives is how long a node that is silent is taken for alive.
func (b *Broker) nodeLives() time.Duration { return max(3*b.config.lease, nodeFor) }

// announce says that the node lives: results are stored for it.
func (c *callerConn) announce() []*resp.Command {
	keys := c.broker.keys
	node := keys.node(c.home.index, c.node)
	alive := c.broker.nodeLives().Milliseconds()
	commands := []*resp.Command{
		resp.NewCommand("PEXPIRE", node, alive), // which a server out of memory does not refuse
		resp.NewCommand("SET", node, "1", "PX", alive),
		resp.NewCommand("PEXPIRE", keys.results(c.home.index, c.node), resultsFor),
	}
	if c.reader.Load() != nil {
		commands = append(commands, c.renewParts()...)
	}
	return commands
}

// Call implements [broker.CallerConn].
func (c *callerConn) Call(ctx context.Context, call *broker.Call) error {
	w := newWaiter(1)
	o := &op{waiter: w}
	if err := c.prepare(o, call); err != nil {
		return wrap("call", call.URI, err)
	}
	c.lane(call.URI).writer.Submit(o)
	if err := w.wait(ctx); err != nil {
		return wrap("call", call.URI, err)
	}
	return wrap("call", call.URI, o.err)
}

// CallBatch implements [broker.BatchCaller].
func (c *callerConn) CallBatch(ctx context.Context, calls []broker.Call, errs []error) {
	w := newWaiter(len(calls))
	ops := make([]op, len(calls))
	bundle := bundle{size: len(calls)}
	for i := range calls {
		o := &ops[i]
		o.waiter = w
		if err := c.prepare(o, &calls[i]); err != nil {
			o.Finish(err)
			continue
		}
		bundle.add(c.lane(o.uri), o)
	}
	bundle.submit()
	if len(calls) == 0 {
		return
	}
	err := w.wait(ctx)
	for i := range calls {
		if err == nil {
			errs[i] = wrap("call", calls[i].URI, ops[i].err)
		} else {
			errs[i] = wrap("call", calls[i].URI, err)
		}
	}
}

// Ended implements [broker.Ender].
func (c *callerConn) Ended() <-chan struct{} { return c.ended }

// Part implements [broker.Divided]: lanes.
func (c *callerConn) Part(uri string) int { return c.broker.keys.laneOf(uri) }

// prepare makes o queue call.
func (c *callerConn) prepare(o *op, call *broker.Call) error {
	if c.closed.Load() {
		return broker.ErrClosed
	}
	if call.ReplyTo.Node != c.node {
		return fmt.Errorf("reply address of node %s, want %s", ulid.ULID(call.ReplyTo.Node), ulid.ULID(c.node))
	}
	l := c.lane(call.URI)
	if l == nil {
		return broker.ErrClosed
	}
	if err := c.unanswerable(l); err != nil {
		return err
	}
	if !call.Window.IsZero() {
		call = c.takeParts(call)
	}
	o.kind, o.uri = opCall, call.URI
	o.value, o.timeout = encodeCall(call), milliseconds(call.Timeout)
	return nil
}

// lane returns the lane of a URI, whose callees a reaper watches from now on; nil:
// the broker closes.
func (c *callerConn) lane(uri string) *lane {
	l := c.broker.lane(c.broker.keys.laneOf(uri))
	if l != nil && !c.used[l.index].Load() {
		c.use(l)
	}
	return l
}

// use starts the reaper of a lane.
func (c *callerConn) use(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() || c.used[l.index].Swap(true) {
		return
	}
	r := newReaper(c, l)
	c.reapers = append(c.reapers, r)
	r.start()
}

// stopReapers ends them all at once: one whose lane hangs takes its time.
func (c *callerConn) stopReapers() {
	c.mu.Lock()
	reapers := c.reapers // none is added any more, since closed is set
	c.mu.Unlock()
	var all sync.WaitGroup
	for _, r := range reapers {
		all.Go(r.stop)
	}
	all.Wait()
}

// Cancel implements [broker.CallerConn].
func (c *callerConn) Cancel(ctx context.Context, uri string, to broker.Address) error {
	if c.closed.Load() {
		return wrap("cancel a call to", uri, broker.ErrClosed)
	}
	l := c.lane(uri)
	if l == nil {
		return wrap("cancel a call to", uri, broker.ErrClosed)
	}
	keys := c.broker.keys
	_, err := l.writer.do(ctx, cancelScript.Command(
		[]string{keys.calls(l.index, uri), keys.cancelled(l.index, uri)},
		address(to), c.broker.config.queueCapacity, keys.cancelChannel(l.index), keys.publish()))
	return wrap("cancel a call to", uri, err)
}

// forget returns the commands that delete the node's keys.
func (c *callerConn) forget() []*resp.Command {
	keys := c.broker.keys
	del := resp.NewCommand("DEL", keys.node(c.home.index, c.node), keys.results(c.home.index, c.node))
	if c.reader.Load() == nil {
		return []*resp.Command{del}
	}
	return append(c.forgetParts(), del)
}

// Close implements [broker.CallerConn].
func (c *callerConn) Close() error {
	c.closeOnce.Do(func() {
		c.closed.Store(true)
		c.home.removeHeartbeat(c.heartbeat)
		c.stopReapers()
		c.results.stop()
		c.stopParts()
		close(c.ended)
		ctx, cancel := context.WithTimeout(background, c.broker.closeTimeout())
		defer cancel()
		// If the server cannot be reached the keys expire by themselves.
		c.home.doAll(ctx, c.forget())
		c.broker.unregister(c)
	})
	return nil
}
