package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// dispatchCases are about which call is taken by whom, when, and which never.
var dispatchCases = []testCase{
	{"take waits", "Take waits until at least one call is there.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		took := make(chan []broker.Call)
		go func() { took <- c.takeSome(8) }()
		for i := range 3 {
			select {
			case calls := <-took:
				x.fatalf("Take returned %d calls before one was made", len(calls))
			default:
			}
			pass(time.Duration(i) * 5 * time.Millisecond)
		}
		to := n.call("u", "x")
		if calls := receive(x, "Take returned", took); len(calls) != 1 || calls[0].ReplyTo != to {
			x.errorf("Take returned %+v", calls)
		}
	}},
	{"take fills", "Take moves up to len(dst) calls into dst, and what it leaves is taken later.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		var made []broker.Address
		for range 50 {
			made = append(made, n.call("u", ""))
		}
		var took []broker.Address
		for most := 1; len(took) < len(made); most++ {
			for _, call := range c.takeSome(most) {
				took = append(took, call.ReplyTo)
				c.echo(call)
			}
		}
		if !slices.Equal(made, took) {
			x.errorf("%d calls were made, others or in another order were taken", len(made))
		}
	}},
	{"order of calls", "Calls that one goroutine makes one after the other to one URI are taken in that order.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "a", "b", "c")
		const calls = 600
		var last [3]int
		done := make(chan struct{})
		var taken atomic.Int64
		c.serve(7, func(call broker.Call) broker.Result {
			var i int
			fmt.Sscan(string(call.Args), &i)
			if u := call.URI[0] - 'a'; i <= last[u] {
				x.errorf("call %d to %s was taken after call %d", i, call.URI, last[u])
			} else {
				last[u] = i
			}
			if taken.Add(1) == calls {
				close(done)
			}
			return echoed(call)
		})
		for i := 1; i <= calls; i++ {
			x.retryFull(func() error {
				_, err := n.try(string(rune('a'+i%3)), fmt.Sprint(i), longEnough)
				return err
			})
		}
		receive(x, "all calls were taken", done)
		c.close()
	}},
	{"fair to callees", "No callee that waits in Take is left out for ever while others are served.", rpc, func(x *trial) {
		n := x.node(x.process())
		const callees = 4
		var served [callees]atomic.Int64
		for i := range callees {
			c := x.callee(x.process(), "u")
			c.serve(1, func(call broker.Call) broker.Result {
				served[i].Add(1)
				return echoed(call)
			})
		}
		x.await("each of 4 callees was served", func() bool {
			n.result(n.call("u", "x"))
			return allCounted(served[:])
		})
	}},
	{"fair to URIs", "A callee of several URIs is given calls of each: none is left out for ever while another has calls.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "busy", "quiet")
		for range 20 {
			n.call("busy", "")
		}
		quiet := n.call("quiet", "")
		x.await("the one call to the quiet URI was taken", func() bool {
			call := c.take()
			c.echo(call)
			n.call("busy", "")
			return call.ReplyTo == quiet
		})
	}},
	{"one callee each", "A call is taken by one callee only, and once.", rpc, func(x *trial) {
		nodes := []*node{x.node(x.process()), x.node(x.process())}
		const calls = 400
		var times [calls]atomic.Int64
		for i := range 4 {
			x.callee(x.process(), "u").serve(1+i*5, func(call broker.Call) broker.Result {
				var k int
				fmt.Sscan(string(call.Args), &k)
				times[k].Add(1)
				return echoed(call)
			})
		}
		x.concurrently(8, func(g int) {
			for i := g; i < calls; i += 8 {
				x.retryFull(func() error {
					_, err := nodes[g%2].try("u", fmt.Sprint(i), longEnough)
					return err
				})
			}
		})
		x.await("all calls were taken", func() bool { return allCounted(times[:]) })
		x.await("all calls were answered", func() bool { return nodes[0].count()+nodes[1].count() >= calls })
		for i := range times {
			if n := times[i].Load(); n != 1 {
				x.errorf("call %d was taken %d times", i, n)
			}
		}
	}},
	{"cancel queued", "Cancel of a call that is queued: it is never taken.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		var wanted []broker.Address
		for i := range 20 {
			to := n.call("u", "")
			if i%3 == 0 {
				n.cancel("u", to)
			} else {
				wanted = append(wanted, to)
			}
		}
		for _, call := range c.takeAll(len(wanted), 4) {
			if !slices.Contains(wanted, call.ReplyTo) {
				x.errorf("a call that had been cancelled was taken")
			}
			c.echo(call)
		}
	}},
	{"cancel taken", "Cancel of a call that was taken: its callee's callback is told.", rpc, func(x *trial) {
		n, c, other := x.node(x.process()), x.callee(x.process(), "u"), x.callee(x.process(), "v")
		n.call("u", "kept")
		kept := c.take()
		to := n.call("u", "cancelled")
		call := c.take()
		n.cancel("u", to)
		x.await("the callee was told", func() bool { return c.toldOf(to) })
		if c.toldOf(kept.ReplyTo) {
			x.errorf("the callee was told of a call that is still wanted")
		}
		if other.toldOf(to) {
			x.errorf("a callee was told of a call that it had not taken")
		}
		c.echo(call)
		c.echo(kept)
		n.result(kept.ReplyTo)
	}},
	{"cancel without callback", "The cancelled callback may be nil.", rpc, func(x *trial) {
		r := x.process()
		n := x.node(r)
		conn, err := r.Callee.OpenCallee(context.Background(), []string{"u"}, nil)
		x.must("OpenCallee", err)
		c := &callee{lifeline: lifeline{x: x, name: "CalleeConn"}, conn: conn}
		x.cleanup(c.close)
		to := n.call("u", "")
		call := c.take()
		n.cancel("u", to)
		c.echo(call)
		n.call("u", "")
		c.echo(c.take())
	}},
	{"cancel nothing", "Cancel of a call that is unknown or answered is ignored.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		n.cancel("u", n.address())
		n.cancel("nobody", n.address())
		to := n.call("u", "x")
		c.echo(c.take())
		n.result(to)
		n.cancel("u", to)
		n.cancel("u", to)
		next := n.call("u", "y")
		if call := c.take(); call.ReplyTo != next {
			x.errorf("took %+v", call)
		}
		if c.toldOf(to) {
			x.errorf("the callee was told of a call that it had answered")
		}
	}},
	{"expired", "Take never takes a call whose time is over.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		const timeout = 100 * time.Millisecond
		for range 10 {
			_, err := n.try("u", "expired", timeout)
			x.must("Call", err)
		}
		pass(timeout + timeout/2)
		n.call("u", "alive")
		if call := c.take(); string(call.Args) != "alive" {
			x.errorf("a call was taken %v after its time was over", timeout/2)
		}
	}},
	{"time left", "From Take, Timeout is what is left of it at that moment.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		n.call("u", "")
		made := time.Now()
		pass(200 * time.Millisecond)
		waited := time.Since(made)
		const rounding = 10 * time.Millisecond
		if left := c.take().Timeout; left > longEnough-waited+rounding {
			x.errorf("a call with %v to go waited %v and was taken with %v left", longEnough, waited, left)
		} else if left < longEnough-x.patience-time.Minute {
			x.errorf("a call with %v to go was taken with %v left", longEnough, left)
		}
	}},
	{"queue full", "A Call that finds the queue of its URI full gets ErrQueueFull, with a time to retry after, and is not queued.", rpc | capacity, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u", "v")
		queued := x.fill(n, "u")
		if queued != x.engine.QueueCapacity {
			x.errorf("the queue took %d calls, its capacity is %d", queued, x.engine.QueueCapacity)
		}
		n.call("v", "another URI's queue")
		took := make(map[string]int)
		for _, call := range c.takeAll(queued+1, 16) {
			took[string(call.Args)]++
			c.echo(call)
		}
		n.call("u", "afterwards")
		call := c.take()
		took[string(call.Args)]++
		if took["filling"] != queued || took["another URI's queue"] != 1 || took["afterwards"] != 1 || took["refused"] != 0 {
			x.errorf("%d calls were queued, these were taken: %v", queued, took)
		}
	}},
	{"queue full of expired calls", "Calls whose time is over do not keep others out of a queue.", rpc | capacity, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		for range x.engine.QueueCapacity {
			n.try("u", "expired", 300*time.Millisecond)
		}
		x.await("a queue full of expired calls accepted another", func() bool {
			_, err := n.try("u", "alive", longEnough)
			return err == nil
		})
		x.await("the call that is not expired was taken", func() bool { return string(c.take().Args) == "alive" })
	}},
}

// fill makes calls until the queue of uri is full, and returns how many. The
// last one, which was refused, has the arguments "refused".
func (x *trial) fill(n *node, uri string) int {
	for i := range x.engine.QueueCapacity {
		if _, err := n.try(uri, "filling", longEnough); err != nil {
			return i
		}
	}
	_, err := n.try(uri, "refused", longEnough)
	switch after := broker.RetryAfter(err); {
	case err == nil:
		x.fatalf("%d calls were queued, the capacity is %d", x.engine.QueueCapacity+1, x.engine.QueueCapacity)
	case !errors.Is(err, broker.ErrQueueFull):
		x.fatalf("Call returned %v", err)
	case after <= 0 || after > time.Minute:
		x.errorf("the time to retry after is %v", after)
	}
	return x.engine.QueueCapacity
}

// retryFull makes a call again while the queue is full.
func (x *trial) retryFull(call func() error) {
	var err error
	x.poll(func() bool {
		err = call()
		return !errors.Is(err, broker.ErrQueueFull)
	})
	if err != nil {
		x.errorf("Call: %v", err)
	}
}

// concurrently runs f on n goroutines and waits for them. f must not end the
// case.
func (x *trial) concurrently(n int, f func(g int)) {
	done := make(chan struct{}, n)
	for g := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			f(g)
		}()
	}
	for range n {
		<-done
	}
}

// count returns how many results have arrived.
func (n *node) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.results)
}

// allCounted reports whether none of counts is 0.
func allCounted(counts []atomic.Int64) bool {
	for i := range counts {
		if counts[i].Load() == 0 {
			return false
		}
	}
	return true
}
