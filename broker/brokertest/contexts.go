package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// contextCases are about the end of contexts, and about what callbacks may do.
var contextCases = []testCase{
	{"take ends with its context", "Rule 2: the end of its context makes Take return the context's error soon.", rpc, func(x *trial) {
		c := x.callee(x.process(), "u")
		ctx, cancel := context.WithCancel(context.Background())
		took := make(chan error, 1)
		go func() {
			_, err := c.tryTake(ctx, 1)
			took <- err
		}()
		pass(5 * time.Millisecond)
		cancel()
		if err := receive(x, "Take returned", took); !errors.Is(err, context.Canceled) {
			x.errorf("Take returned %v", err)
		}
		if _, err := c.tryTake(ctx, 1); !errors.Is(err, context.Canceled) {
			x.errorf("with a context that has ended, Take returned %v", err)
		}
		ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if _, err := c.tryTake(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			x.errorf("past the deadline of its context, Take returned %v", err)
		}
	}},
	{"take loses nothing", "When the context of a Take ends, nothing has been taken: each call is in what some Take returned.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		const calls = 200
		made := make(chan struct{})
		go func() {
			defer close(made)
			for i := range calls {
				x.retryFull(func() error {
					_, err := n.try("u", fmt.Sprint(i), longEnough)
					return err
				})
			}
		}()
		next := 0
		// On an engine or a machine that is slower than these contexts, nothing
		// is taken, so the rounds end by number.
		for round := 0; next < calls && round < 20*calls; round++ {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(round%20)*50*time.Microsecond)
			took, err := c.tryTake(ctx, 3)
			cancel()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				x.fatalf("Take: %v", err)
			}
			for _, call := range took {
				if string(call.Args) != fmt.Sprint(next) {
					x.fatalf("call %s was taken instead of call %d", call.Args, next)
				}
				c.echo(call)
				next++
			}
		}
		for ; next < calls; next++ {
			if call := c.take(); string(call.Args) != fmt.Sprint(next) {
				x.fatalf("call %s was taken instead of call %d", call.Args, next)
			} else {
				c.echo(call)
			}
		}
		<-made
	}},
	{"calls with an ended context", "Rule 2: with a context that has ended, methods return soon, done or not.", rpc, func(x *trial) {
		r := x.process()
		n, c := x.node(r), x.callee(r, "u")
		n.call("u", "")
		call := c.take()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		x.wantContextError("Call", n.conn.Call(ctx, &broker.Call{URI: "u", ReplyTo: n.address(), Timeout: longEnough}))
		x.wantContextError("Cancel", n.conn.Cancel(ctx, "u", n.address()))
		x.wantContextError("Reply", c.conn.Reply(ctx, []broker.Result{echoed(call)}))
		if conn, err := r.Caller.OpenCaller(ctx, newID(), func([]broker.Result) {}); err == nil {
			conn.Close()
		} else {
			x.wantContextError("OpenCaller", err)
		}
		if conn, err := r.Callee.OpenCallee(ctx, []string{"v"}, nil); err == nil {
			conn.Close()
		} else {
			x.wantContextError("OpenCallee", err)
		}
	}},
	{"events with an ended context", "Rule 2: with a context that has ended, methods return soon, done or not.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(r)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		x.wantContextError("Publish", r.PubSub.Publish(ctx, &broker.Event{ID: newID(), Channel: "c"}))
		x.wantContextError("Subscribe", s.conn.Subscribe(ctx, channel("c")))
		x.wantContextError("Unsubscribe", s.conn.Unsubscribe(ctx, channel("c")))
		if conn, err := r.PubSub.OpenSubscriber(ctx, func([]broker.Delivery) {}); err == nil {
			conn.Close()
		} else {
			x.wantContextError("OpenSubscriber", err)
		}
		// Whatever was done or not, the subscriber works on.
		s.subscribe(channel("d"))
		x.publish(r, "d", "x")
		s.await(1)
	}},
	{"openings outlive their context", "The context of an opening bounds the opening only.", rpc | pubSub, func(x *trial) {
		r := x.process()
		n, c, s := x.node(r), x.callee(r, "u"), x.subscriber(r, channel("c")) // each with a context that has ended
		to := n.call("u", "x")
		c.echo(c.take())
		n.result(to)
		x.publish(r, "c", "x")
		s.await(1)
	}},
	{"call in deliver", "Rule 5: a callback may call methods of the engine.", rpc, func(x *trial) {
		r := x.process()
		n, c := x.node(r), x.callee(x.process(), "u")
		c.serve(4, echoed)
		const hops = 20
		var made atomic.Int64
		n.setHook(func(broker.Result) {
			if made.Add(1) <= hops {
				_, err := n.try("u", "again", longEnough)
				x.check("Call", err)
			}
		})
		n.call("u", "first")
		x.await("20 calls, each made when the one before was answered, were answered", func() bool { return n.count() >= hops+1 })
	}},
	{"reply in cancelled", "Rule 5: a callback may call methods of the engine.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		replied := make(chan struct{}, 1)
		c.setHook(func(to broker.Address) {
			x.check("Reply", c.tryReply(broker.Result{To: to, Args: []byte("cancelled")}))
			replied <- struct{}{}
		})
		to := n.call("u", "")
		c.take()
		n.cancel("u", to)
		receive(x, "the callback answered the call", replied)
	}},
	{"publish in deliver", "Rule 5: a callback may call methods of the engine.", pubSub, func(x *trial) {
		r := x.process()
		const hops = 20
		s := x.subscriber(r)
		for i := range hops + 1 {
			s.subscribe(channel(fmt.Sprint("hop.", i)))
		}
		s.setHook(func(d broker.Delivery) {
			var i int
			fmt.Sscanf(d.Event.Channel, "hop.%d", &i)
			if i < hops {
				x.check("Publish", x.tryPublish(r, fmt.Sprint("hop.", i+1), ""))
			}
		})
		x.publish(r, "hop.0", "")
		s.exactly(hops + 1)
	}},
	{"subscribe in deliver", "Rule 5: a callback of an Immediate SubscriberConn may change its topics.", pubSub | immediateSubscriber, func(x *trial) {
		r := x.process()
		s := x.subscriber(r, channel("a"))
		s.setHook(func(d broker.Delivery) {
			if d.Event.Channel == "a" {
				s.subscribe(channel("b"))
				s.unsubscribe(channel("a"))
			}
		})
		x.publish(r, "a", "1")
		s.await(1)
		x.publish(r, "a", "2")
		x.publish(r, "b", "3")
		s.exactly(2)
	}},
	{"immediate", "The methods of what is Immediate do not wait for a callee, its callbacks or a Take.", rpc | immediateCaller, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		release := make(chan struct{})
		defer close(release)
		c.setHook(func(broker.Address) { <-release })
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			for range 10 {
				to := n.call("u", "")
				c.take()
				n.cancel("u", to)
			}
		}()
		receive(x, "Cancel returned", returned)
		to := n.call("u", "x")
		c.echo(c.take())
		n.result(to)
	}},
}

// wantContextError accepts what a method may return when its context had
// ended before it was called.
func (x *trial) wantContextError(method string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, broker.ErrUnknownOutcome) && !errors.Is(err, broker.ErrUnavailable) {
		x.errorf("with a context that has ended, %s returned %v", method, err)
	}
}
