package brokertest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// longEnough is the timeout of calls that do not expire within a case.
const longEnough = time.Hour

// A lifeline checks rule 6 for the callbacks of one connection.
type lifeline struct {
	x       *trial
	name    string
	running atomic.Int64 // callbacks
	closed  atomic.Bool
}

// callback is called at the beginning of each callback, and what it returns at
// the end.
func (l *lifeline) callback() (ended func()) {
	l.running.Add(1)
	if l.closed.Load() {
		l.x.errorf("a callback of the %s began after its Close had returned", l.name)
	}
	return func() { l.running.Add(-1) }
}

// close closes a connection as often as it likes.
func (l *lifeline) close(conn interface{ Close() error }) {
	if err := conn.Close(); err != nil {
		l.x.errorf("Close of the %s: %v", l.name, err)
	}
	if l.running.Load() > 0 {
		l.x.errorf("Close of the %s returned while a callback of it ran", l.name)
	}
	l.closed.Store(true)
}

// slowly is a callback that says when it has begun and then takes its time, but
// waits for nothing: it ends when Close has returned, though that should wait.
func (l *lifeline) slowly(begun chan<- struct{}) {
	select {
	case begun <- struct{}{}:
	default:
	}
	const long = 50 * time.Millisecond
	for end := time.Now().Add(long); time.Now().Before(end) && !l.closed.Load(); {
		runtime.Gosched()
	}
}

// A node is a CallerConn with the results that it got.
type node struct {
	lifeline
	id   broker.ID
	conn broker.CallerConn
	refs atomic.Uint64

	mu      sync.Mutex // guards the following
	results []broker.Result
	hook    func(broker.Result) // called in the callback, if not nil
}

// node opens a node; the end of the case closes it.
func (x *trial) node(r Roles) *node {
	n := &node{lifeline: lifeline{x: x, name: "CallerConn"}, id: newID()}
	x.must("OpenCaller", x.within(func(ctx context.Context) (err error) {
		n.conn, err = r.Caller.OpenCaller(ctx, n.id, n.deliver)
		return err
	}))
	x.cleanup(n.close)
	return n
}

func (n *node) close() { n.lifeline.close(n.conn) }

func (n *node) deliver(results []broker.Result) {
	defer n.callback()()
	n.mu.Lock()
	for _, r := range results {
		n.results = append(n.results, cloneResult(r))
	}
	hook := n.hook
	n.mu.Unlock()
	if hook != nil {
		for _, r := range results {
			hook(cloneResult(r))
		}
	}
}

func (n *node) setHook(hook func(broker.Result)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = hook
}

// address returns an address that is used for nothing else.
func (n *node) address() broker.Address {
	a := broker.Address{Node: n.id}
	binary.BigEndian.PutUint64(a.Ref[4:], n.refs.Add(1))
	return a
}

// send makes the call that c is.
func (n *node) send(c *broker.Call) error {
	return n.x.within(func(ctx context.Context) error { return n.conn.Call(ctx, c) })
}

// try makes a call and returns its address and what Call returned.
func (n *node) try(uri, args string, timeout time.Duration) (broker.Address, error) {
	c := broker.Call{URI: uri, ReplyTo: n.address(), Timeout: timeout, Args: []byte(args)}
	return c.ReplyTo, n.send(&c)
}

// call makes a call, which must succeed.
func (n *node) call(uri, args string) broker.Address {
	to, err := n.try(uri, args, longEnough)
	n.x.must("Call of "+uri, err)
	return to
}

// cancel cancels a call.
func (n *node) cancel(uri string, to broker.Address) {
	n.x.must("Cancel", n.x.within(func(ctx context.Context) error { return n.conn.Cancel(ctx, uri, to) }))
}

// find returns the first result of a call, if there is one.
func (n *node) find(to broker.Address) (broker.Result, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.IndexFunc(n.results, func(r broker.Result) bool { return r.To == to })
	if i < 0 {
		return broker.Result{}, false
	}
	return n.results[i], true
}

// result waits for the first result of a call.
func (n *node) result(to broker.Address) broker.Result {
	n.x.await("the result of a call was delivered", func() bool {
		_, ok := n.find(to)
		return ok
	})
	r, _ := n.find(to)
	return r
}

// A callee is a CalleeConn with the cancellations that it was told of.
type callee struct {
	lifeline
	conn broker.CalleeConn

	mu        sync.Mutex // guards the following
	cancelled []broker.Address
	hook      func(broker.Address) // called in the callback, if not nil
}

// callee opens a callee; the end of the case closes it.
func (x *trial) callee(r Roles, uris ...string) *callee {
	c := &callee{lifeline: lifeline{x: x, name: "CalleeConn"}}
	x.must("OpenCallee", x.within(func(ctx context.Context) (err error) {
		c.conn, err = r.Callee.OpenCallee(ctx, uris, c.onCancelled)
		return err
	}))
	x.cleanup(c.close)
	return c
}

func (c *callee) close() { c.lifeline.close(c.conn) }

func (c *callee) onCancelled(to []broker.Address) {
	defer c.callback()()
	c.mu.Lock()
	c.cancelled = append(c.cancelled, to...)
	hook := c.hook
	c.mu.Unlock()
	if hook != nil {
		for _, a := range slices.Clone(to) {
			hook(a)
		}
	}
}

func (c *callee) setHook(hook func(broker.Address)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = hook
}

func (c *callee) toldOf(to broker.Address) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.cancelled, to)
}

// tryTake is one Take of up to most calls.
func (c *callee) tryTake(ctx context.Context, most int) ([]broker.Call, error) {
	dst := make([]broker.Call, most)
	n, err := c.conn.Take(ctx, dst)
	switch {
	case n < 0 || n > most:
		c.x.errorf("Take with room for %d calls returned %d", most, n)
		return nil, fmt.Errorf("took %d calls", n)
	case n > 0 && err != nil:
		c.x.errorf("Take returned %d calls and the error %v", n, err)
	case n == 0 && err == nil:
		c.x.errorf("Take returned neither a call nor an error")
		return nil, errors.New("took nothing")
	}
	for _, call := range dst[:n] {
		if call.Timeout <= 0 {
			c.x.errorf("Take returned a call with %v left", call.Timeout)
		}
	}
	return dst[:n], err
}

// takeSome is one Take that must succeed.
func (c *callee) takeSome(most int) []broker.Call {
	var calls []broker.Call
	c.x.must("Take", c.x.within(func(ctx context.Context) (err error) {
		calls, err = c.tryTake(ctx, most)
		return err
	}))
	return calls
}

// take takes one call.
func (c *callee) take() broker.Call { return c.takeSome(1)[0] }

// takeInTime has calls made that have a short time until one is taken before that is
// over: a machine that is busy with other work stands still for longer, now and then.
func (c *callee) takeInTime(short time.Duration, call func()) broker.Call {
	for end := time.Now().Add(c.x.patience); ; {
		call()
		ctx, cancel := context.WithTimeout(context.Background(), min(short, c.x.patience))
		calls, err := c.tryTake(ctx, 1)
		cancel()
		if err == nil {
			return calls[0]
		}
		if !errors.Is(err, context.DeadlineExceeded) || time.Now().After(end) {
			c.x.fatalf("Take of a call with %v to go: %v", short, err)
		}
	}
}

// takeAll takes n calls, up to most at a time.
func (c *callee) takeAll(n, most int) []broker.Call {
	var calls []broker.Call
	for len(calls) < n {
		calls = append(calls, c.takeSome(min(most, n-len(calls)))...)
	}
	return calls
}

// reply answers calls with results, without error.
func (c *callee) reply(results ...broker.Result) {
	c.x.must("Reply", c.tryReply(results...))
}

func (c *callee) tryReply(results ...broker.Result) error {
	return c.x.within(func(ctx context.Context) error { return c.conn.Reply(ctx, results) })
}

// echo answers a call with its arguments.
func (c *callee) echo(call broker.Call) {
	c.reply(echoed(call))
}

// serve takes calls, up to most at a time, and answers them with what answer
// makes of them, until the callee closes. It bears outages.
func (c *callee) serve(most int, answer func(broker.Call) broker.Result) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			calls, err := c.tryTake(context.Background(), most)
			switch {
			case c.x.engine.Outage != nil && errors.Is(err, broker.ErrUnavailable):
				pass(pollInterval)
				continue
			case errors.Is(err, broker.ErrClosed):
				return
			case err != nil:
				c.x.errorf("Take: %v", err)
				return
			}
			results := make([]broker.Result, len(calls))
			for i, call := range calls {
				results[i] = answer(call)
			}
			c.checkReply(c.conn.Reply(context.Background(), results))
		}
	}()
	return done
}

// checkReply records an error of a Reply that nothing explains.
func (c *callee) checkReply(err error) {
	lost := errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrUnknownOutcome)
	if err != nil && !errors.Is(err, broker.ErrClosed) && !(lost && c.x.engine.Outage != nil) {
		c.x.errorf("Reply: %v", err)
	}
}

// echoed makes the result of a call that is answered with its arguments.
func echoed(call broker.Call) broker.Result {
	return broker.Result{To: call.ReplyTo, Args: call.Args}
}

// A subscriber is a SubscriberConn with the deliveries that it got.
type subscriber struct {
	lifeline
	roles Roles
	conn  broker.SubscriberConn

	mu   sync.Mutex // guards the following
	got  []broker.Delivery
	hook func(broker.Delivery) // called in the callback, if not nil
}

// fence is the channel that fence publishes on; its deliveries do not count.
const fence = "brokertest.fence"

func isFence(d broker.Delivery) bool { return d.Event.Channel == fence }

// subscriber opens a subscriber of topics; the end of the case closes it.
func (x *trial) subscriber(r Roles, topics ...broker.Topic) *subscriber {
	s := &subscriber{lifeline: lifeline{x: x, name: "SubscriberConn"}, roles: r}
	x.must("OpenSubscriber", x.within(func(ctx context.Context) (err error) {
		s.conn, err = r.PubSub.OpenSubscriber(ctx, s.deliver)
		return err
	}))
	x.cleanup(s.close)
	s.subscribe(topics...)
	return s
}

func (s *subscriber) close() { s.lifeline.close(s.conn) }

func (s *subscriber) deliver(batch []broker.Delivery) {
	defer s.callback()()
	s.mu.Lock()
	for _, d := range batch {
		s.got = append(s.got, cloneDelivery(d))
	}
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		for _, d := range batch {
			if !isFence(d) {
				hook(cloneDelivery(d))
			}
		}
	}
}

func (s *subscriber) setHook(hook func(broker.Delivery)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

func (s *subscriber) subscribe(topics ...broker.Topic) {
	for _, t := range topics {
		s.x.must("Subscribe", s.x.within(func(ctx context.Context) error { return s.conn.Subscribe(ctx, t) }))
	}
}

func (s *subscriber) unsubscribe(t broker.Topic) {
	s.x.must("Unsubscribe", s.x.within(func(ctx context.Context) error { return s.conn.Unsubscribe(ctx, t) }))
}

// deliveries returns what has arrived, without fences.
func (s *subscriber) deliveries() []broker.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.got), isFence)
}

// await waits for n deliveries.
func (s *subscriber) await(n int) []broker.Delivery {
	if !s.x.poll(func() bool { return len(s.deliveries()) >= n }) {
		s.x.fatalf("%d of %d deliveries arrived in %v", len(s.deliveries()), n, s.x.patience)
	}
	return s.deliveries()
}

// exactly waits for n deliveries and makes sure that no more come, now or
// until the subscriber closes.
func (s *subscriber) exactly(n int) []broker.Delivery {
	s.await(n)
	s.subscribe(broker.Topic{Name: fence})
	s.x.publish(s.roles, fence, "")
	s.x.await("an event published last was delivered", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.got, func(d broker.Delivery) bool { return d.Topic == channel(fence) && isFence(d) })
	})
	s.close()
	got := s.deliveries()
	if len(got) != n {
		s.x.fatalf("%d deliveries arrived instead of %d:%s", len(got), n, listDeliveries(got))
	}
	return got
}

func listDeliveries(deliveries []broker.Delivery) string {
	var b bytes.Buffer
	for i, d := range deliveries {
		if i == 20 {
			fmt.Fprintf(&b, "\n\tand %d more", len(deliveries)-i)
			break
		}
		fmt.Fprintf(&b, "\n\tof %+v: gap %v, channel %q, args %.40q", d.Topic, d.Gap, d.Event.Channel, d.Event.Args)
	}
	return b.String()
}

// publish publishes an event, which must succeed, and returns its ID.
func (x *trial) publish(r Roles, channel, args string) broker.ID {
	e := broker.Event{ID: newID(), Channel: channel, Args: []byte(args)}
	x.publishEvent(r, &e)
	return e.ID
}

func (x *trial) publishEvent(r Roles, e *broker.Event) {
	x.must("Publish on "+e.Channel, x.within(func(ctx context.Context) error { return r.PubSub.Publish(ctx, e) }))
}

// tryPublish publishes an event and returns what Publish returned.
func (x *trial) tryPublish(r Roles, channel, args string) error {
	e := broker.Event{ID: newID(), Channel: channel, Args: []byte(args)}
	return x.within(func(ctx context.Context) error { return r.PubSub.Publish(ctx, &e) })
}

func cloneResult(r broker.Result) broker.Result {
	r.Args = bytes.Clone(r.Args)
	if r.Err != nil {
		e := *r.Err
		e.Data = bytes.Clone(e.Data)
		r.Err = &e
	}
	return r
}

func cloneDelivery(d broker.Delivery) broker.Delivery {
	d.Event.Headers = bytes.Clone(d.Event.Headers)
	d.Event.Args = bytes.Clone(d.Event.Args)
	return d
}

// known returns those of topics that the engine has: all, or the exact ones.
func (x *trial) known(topics ...broker.Topic) []broker.Topic {
	return slices.DeleteFunc(topics, func(t broker.Topic) bool { return t.Pattern && x.engine.NoPatterns })
}

func channel(name string) broker.Topic { return broker.Topic{Name: name} }

func pattern(glob string) broker.Topic { return broker.Topic{Name: glob, Pattern: true} }
