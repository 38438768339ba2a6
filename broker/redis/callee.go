package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/chanlock"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/oklog/ulid/v2"
)

// calleeConn is a callee's hold on the broker.
type calleeConn struct {
	broker  *Broker
	id      string    // a ULID, made at the opening
	ulid    broker.ID // the same
	pullers []*puller // one for each lane that has URIs of this callee

	cancels *mailbox[broker.Address] // nil: the callee does not want to know
	grants  *grants                  // nil: the callee sends no parts
	opening sync.WaitGroup           // who announces the callee
	watches sync.WaitGroup           // who looks whether nodes live
	life    context.Context          // ends with Close
	endLife context.CancelFunc

	// turn is held by the puller that takes for the Take in progress.
	taking chanlock.Lock

	mu        sync.Mutex // guards the following
	changed   sync.Cond  // demand, unstored or closed did
	demand    *demand    // of the Take in progress
	held      map[broker.Address]*heldCall
	answered  answered
	unstored  int  // letters that are under way
	owed      int  // of these, those that Reply was given; once abandoned, those that are lost
	flushing  int  // calls of Flush under way
	abandoned bool // what is not stored is given up
	skipFlush bool // a Flush was in vain: Close does not wait any more
	closed    bool
	nodes     nodeWatch

	timer     atomic.Pointer[time.Timer] // of Reply, to be used again
	closeOnce sync.Once
}

var (
	_ broker.ResultKeeper     = (*calleeConn)(nil)
	_ broker.StreamCalleeConn = (*calleeConn)(nil)
)

// A demand is a Take that waits.
type demand struct {
	calls []broker.Call // what Take was given, as long as the demand is not met
	done  chan struct{} // closed when calls are those that were taken
}

// A heldCall is a call that was taken here and that the server counts as taken.
type heldCall struct {
	to        broker.Address
	puller    *puller
	deadline  time.Time
	answering bool // its result is on the way, or stored
	forgotten bool // the server does not count it as taken any more
	cancelled bool // the callee was told
	orphaned  bool // because its node seemed to be gone
	streams   bool // it has a Window
}

// cancelBytes bounds the cancellations that wait for a callback.
const cancelBytes = 1 << 20

// OpenCallee implements [broker.Callee].
func (b *Broker) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	c, err := b.openCallee(ctx, uris, cancelled, nil)
	if err != nil {
		return nil, wrap("open callee of", strings.Join(uris, ", "), err)
	}
	return c, nil
}

func (b *Broker) openCallee(ctx context.Context, uris []string, cancelled func([]broker.Address), granted func([]broker.Grant)) (*calleeConn, error) {
	byLane := map[int][]string{}
	seen := map[string]bool{}
	for _, uri := range uris {
		switch {
		case uri == "":
			return nil, errors.New("empty URI")
		case seen[uri]:
			return nil, fmt.Errorf("duplicate URI %q", uri)
		}
		seen[uri] = true
		i := b.keys.laneOf(uri)
		byLane[i] = append(byLane[i], uri)
	}
	if len(byLane) == 0 {
		return nil, errors.New("no URI")
	}
	id := ulid.Make()
	c := &calleeConn{
		broker:   b,
		id:       id.String(),
		ulid:     broker.ID(id),
		taking:   chanlock.New(),
		held:     map[broker.Address]*heldCall{},
		answered: newAnswered(),
	}
	c.changed.L = &c.mu
	c.life, c.endLife = context.WithCancel(background)
	for i, uris := range byLane {
		l := b.lane(i)
		if l == nil {
			return nil, broker.ErrClosed
		}
		c.pullers = append(c.pullers, newPuller(c, l, uris))
	}
	if cancelled != nil {
		c.cancels = newMailbox(cancelBytes, func(batch []broker.Address) { c.deliverCancellations(batch, cancelled) })
		c.cancels.start()
	}
	if granted != nil {
		c.grants = newGrants(c, granted)
	}
	for _, p := range c.pullers {
		p.start()
	}
	err := c.announce(ctx)
	if err == nil {
		err = b.register(c)
	}
	if err != nil {
		c.Close() //nolint:errcheck // the opening has failed for a better reason
		return nil, err
	}
	return c, nil
}

// message implements [listener]: a call is not wanted any more.
func (c *calleeConn) message(_ subject, _, payload string) {
	if to, ok := parseAddress(payload); ok {
		c.cancels.put(to, addressLength)
	}
}

// gap implements [listener]. Cancellations are a best effort.
func (c *calleeConn) gap(subject) {}

// tell passes on the cancellations of calls that are running here.
func (c *calleeConn) deliverCancellations(batch []broker.Address, cancelled func([]broker.Address)) {
	c.mu.Lock()
	ours := batch[:0]
	for _, to := range batch {
		if h, ok := c.held[to]; ok && !h.answering && !h.cancelled {
			h.cancelled = true
			ours = append(ours, to)
		}
	}
	c.mu.Unlock()
	if len(ours) > 0 {
		cancelled(ours)
	}
}

// Take implements [broker.CalleeConn]. Outages do not end it: it waits until
// the server is in reach again.
func (c *calleeConn) Take(ctx context.Context, dst []broker.Call) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, wrap("take for", c.id, err)
	}
	if len(dst) == 0 {
		return 0, nil
	}
	d := &demand{calls: dst, done: make(chan struct{})}
	c.mu.Lock()
	if !c.closed {
		c.demand = d
		c.changed.Broadcast()
	}
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return 0, wrap("take for", c.id, broker.ErrClosed)
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		if c.withdraw(d) {
			return 0, wrap("take for", c.id, ctx.Err())
		}
		<-d.done
	}
	if len(d.calls) == 0 {
		return 0, wrap("take for", c.id, broker.ErrClosed)
	}
	return len(d.calls), nil
}

// withdraw ends a demand, unless it was met already. A puller that takes for
// it just now gives back what it gets.
func (c *calleeConn) withdraw(d *demand) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.demand != d {
		return false
	}
	c.demand = nil
	if len(c.pullers) == 1 {
		c.pullers[0].interrupt()
	}
	return true
}

// awaitTake waits until a Take waits. It returns false once the callee closes.
func (c *calleeConn) awaitTake() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.demand == nil && !c.closed {
		c.changed.Wait()
	}
	return !c.closed
}

// takeMost is how many calls are taken at once at most: so many giveback.lua can
// put back, and take.lua could not return many more.
const takeMost = 2000

// room is how many calls the Take that waits gets at most; 0: none waits.
func (c *calleeConn) room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.demand == nil {
		return 0
	}
	return min(len(c.demand.calls), takeMost)
}

// handOver gives calls to the Take that waits, and returns those for which
// there is none any more.
func (c *calleeConn) handOver(calls []takenCall) (unwanted []takenCall) {
	if len(calls) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.demand
	calls = slices.DeleteFunc(calls, c.taken)
	if d == nil || len(calls) == 0 {
		return calls
	}
	n := min(len(d.calls), len(calls))
	held := make([]heldCall, n)
	now := time.Now()
	for i := range held {
		t := &calls[i]
		d.calls[i] = t.call
		held[i] = heldCall{to: t.call.ReplyTo, puller: t.puller, deadline: now.Add(t.call.Timeout), streams: !t.call.Window.IsZero()}
		if held[i].streams && !isKeyed(t.call.ReplyTo.Node) {
			c.watchNodes()
		}
		c.held[t.call.ReplyTo] = &held[i]
	}
	d.calls = d.calls[:n]
	c.demand = nil
	close(d.done)
	return calls[n:]
}

// taken reports whether a call was taken here before: a failover brings calls
// back whose pop had not been replicated, a snapshot those that were queued when it
// was made. mu is held.
func (c *calleeConn) taken(t takenCall) bool {
	to := t.call.ReplyTo
	switch {
	case c.held[to] != nil:
		return true
	case !c.answered.has(to):
		return false
	}
	// The server notes it as taken once more.
	t.puller.done = append(t.puller.done, &heldCall{to: to, puller: t.puller})
	return true
}

// heldIn counts the calls held of one puller. mu is held.
func (c *calleeConn) heldIn(p *puller) int {
	if len(c.pullers) == 1 {
		return len(c.held)
	}
	n := 0
	for _, h := range c.held {
		if h.puller == p {
			n++
		}
	}
	return n
}

// Close implements [broker.CalleeConn].
func (c *calleeConn) Close() error {
	c.closeOnce.Do(c.close)
	return nil
}

func (c *calleeConn) close() {
	c.mu.Lock()
	c.closed = true
	if c.demand != nil {
		c.demand.calls = nil
		close(c.demand.done)
		c.demand = nil
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	c.endLife()

	var all sync.WaitGroup
	for _, p := range c.pullers {
		all.Go(p.stop)
	}
	all.Wait()
	c.opening.Wait()
	c.watches.Wait()
	if c.grants != nil {
		c.grants.stop()
	}
	for _, p := range c.pullers {
		p.lane.removeHeartbeat(p.heartbeat)
	}
	if c.cancels != nil {
		for _, p := range c.pullers {
			c.broker.hub.unsubscribe(p.cancellations(), c)
		}
		c.cancels.stop()
	}
	c.leave()
	c.broker.unregister(c)
}

// leave ends the announcement and answers what was taken and not answered. If
// the server cannot be told, the reapers do that when the lease is over.
func (c *calleeConn) leave() {
	ctx, cancel := context.WithTimeout(background, c.broker.closeTimeout())
	defer cancel()
	var all sync.WaitGroup
	for _, p := range c.pullers {
		all.Go(func() { c.leaveLane(ctx, p) })
	}
	all.Wait()
	if c.skipsFlush() {
		cancel()
	}
	if c.Flush(ctx) != nil {
		c.abandon()
		return
	}
	// All is answered: the reapers need not look after it.
	for _, p := range c.pullers {
		if p.left {
			all.Go(func() {
				keys := []string{c.broker.keys.callees(p.lane.index), c.broker.keys.taken(p.lane.index, c.id)}
				p.lane.writer.do(ctx, resp.NewCommand("DEL", keys[1])) //nolint:errcheck // what is left expires
				p.lane.writer.do(ctx, reapScript.Command(keys, c.id))  //nolint:errcheck // as above
			})
		}
	}
	all.Wait()
}

// leaveLane ends the announcement in one lane and reports the calls that are not
// answered.
func (c *calleeConn) leaveLane(ctx context.Context, p *puller) {
	keys := c.broker.keys
	names := []string{keys.callees(p.lane.index), keys.taken(p.lane.index, c.id), keys.stop(p.lane.index, c.id), keys.uris(p.lane.index)}
	args := []any{c.id, c.broker.config.grace.Milliseconds(), len(p.bunches)}
	for _, b := range p.bunches {
		names, args = append(names, b.served, b.callees), append(args, len(b.uris))
	}
	for _, uri := range p.uris {
		names = append(names, keys.calls(p.lane.index, uri))
	}
	for _, h := range p.answered() {
		args = append(args, address(h.to))
	}
	withdrawn, err := p.lane.writer.do(ctx, withdrawScript.Command(names, args...))
	if err != nil {
		return
	}
	c.mu.Lock()
	p.left = len(withdrawn.List) > 0
	for _, s := range withdrawn.Texts() {
		// Also those that were taken by a script whose reply got lost.
		to, ok := parseAddress(s)
		if ok && c.held[to] == nil {
			c.held[to] = &heldCall{to: to, puller: p}
		}
	}
	var lost []outboxEntry
	for _, h := range c.held {
		if h.puller == p && !h.answering {
			lost = append(lost, c.lossEntry(h))
		}
	}
	c.mu.Unlock()
	c.broker.reportLost(lost)
}
