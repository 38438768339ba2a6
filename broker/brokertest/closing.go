package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// closeCases are about the end of connections. That no callback runs after
// Close has returned is checked in every case, by lifeline.
var closeCases = []testCase{
	{"close caller", "Rule 6: after Close of a CallerConn its methods return ErrClosed, its callback runs no more, and Close may be called twice.", rpc, func(x *trial) {
		c := x.callee(x.process(), "u")
		c.serve(4, echoed)
		for range 30 {
			n := x.node(x.process())
			for i := range 5 {
				x.retryFull(func() error {
					_, err := n.try("u", fmt.Sprint(i), longEnough)
					return err
				})
			}
			n.close()
			n.close()
			if _, err := n.try("u", "", longEnough); !errors.Is(err, broker.ErrClosed) {
				x.errorf("Call returned %v", err)
			}
			if err := n.conn.Cancel(context.Background(), "u", n.address()); !errors.Is(err, broker.ErrClosed) {
				x.errorf("Cancel returned %v", err)
			}
		}
		n := x.node(x.process())
		var to broker.Address
		x.retryFull(func() (err error) {
			to, err = n.try("u", "x", longEnough)
			return err
		})
		if string(n.result(to).Args) != "x" {
			x.errorf("another node's call was answered wrongly")
		}
	}},
	{"close callee", "Rule 6: after Close of a CalleeConn its methods return ErrClosed, its callback runs no more, and Close may be called twice.", rpc, func(x *trial) {
		n := x.node(x.process())
		for range 30 {
			c := x.callee(x.process(), "u")
			to := n.call("u", "")
			call := c.take()
			n.cancel("u", to)
			c.close()
			c.close()
			if _, err := c.tryTake(context.Background(), 1); !errors.Is(err, broker.ErrClosed) {
				x.errorf("Take returned %v", err)
			}
			if err := c.conn.Reply(context.Background(), []broker.Result{echoed(call)}); !errors.Is(err, broker.ErrClosed) {
				x.errorf("Reply returned %v", err)
			}
		}
	}},
	{"close subscriber", "Rule 6: after Close of a SubscriberConn its methods return ErrClosed, its callback runs no more, and Close may be called twice.", pubSub, func(x *trial) {
		publisher := x.process()
		other := x.subscriber(x.process(), channel("c"))
		stop := x.repeat(func(int) { x.check("Publish", x.tryPublish(publisher, "c", "x")) })
		for range 30 {
			s := x.subscriber(x.process(), x.known(channel("c"), pattern("*"))...)
			s.await(1)
			s.close()
			s.close()
			if err := s.conn.Subscribe(context.Background(), channel("d")); !errors.Is(err, broker.ErrClosed) {
				x.errorf("Subscribe returned %v", err)
			}
			if err := s.conn.Unsubscribe(context.Background(), channel("c")); !errors.Is(err, broker.ErrClosed) {
				x.errorf("Unsubscribe returned %v", err)
			}
		}
		other.exactly(stop())
	}},
	{"close caller waits", "Rule 6: Close of a CallerConn returns when its callback does not run any more.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		begun, replied := make(chan struct{}, 1), make(chan error, 1)
		n.setHook(func(broker.Result) { n.slowly(begun) })
		n.call("u", "")
		call := c.take()
		go func() { replied <- c.tryReply(echoed(call)) }()
		receive(x, "the result was delivered", begun)
		n.close()
		x.must("Reply", receive(x, "Reply returned", replied))
	}},
	{"ended", "The channel of an Ender is closed by Close of its CallerConn, when no callback runs any more, and not before.", rpc | ender, func(x *trial) {
		n, other, c := x.node(x.process()), x.node(x.process()), x.callee(x.process(), "u")
		ended := n.conn.(broker.Ender).Ended()
		to := n.call("u", "")
		c.echo(c.take())
		n.result(to)
		other.close()
		select {
		case <-ended:
			x.errorf("the channel is closed before Close")
		default:
		}
		n.close()
		receive(x, "the channel was closed", ended)
	}},
	{"close callee waits", "Rule 6: Close of a CalleeConn returns when its callback does not run any more.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		begun := make(chan struct{}, 1)
		c.setHook(func(broker.Address) { c.slowly(begun) })
		to := n.call("u", "")
		c.take()
		n.cancel("u", to)
		receive(x, "the callee was told", begun)
		c.close()
	}},
	{"close subscriber waits", "Rule 6: Close of a SubscriberConn returns when its callback does not run any more.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process(), channel("c"))
		begun, published := make(chan struct{}, 1), make(chan error, 1)
		s.setHook(func(broker.Delivery) { s.slowly(begun) })
		go func() { published <- x.tryPublish(r, "c", "") }()
		receive(x, "the event was delivered", begun)
		s.close()
		x.must("Publish", receive(x, "Publish returned", published))
	}},
	{"close wakes take", "Rule 6: Close of a CalleeConn ends a Take that waits, with ErrClosed.", rpc, func(x *trial) {
		for i := range 20 {
			c := x.callee(x.process(), "u")
			took := make(chan error, 1)
			go func() {
				_, err := c.tryTake(context.Background(), 1)
				took <- err
			}()
			pass(time.Duration(i%3) * time.Millisecond)
			c.close()
			if err := receive(x, "Take returned", took); !errors.Is(err, broker.ErrClosed) {
				x.errorf("Take returned %v", err)
			}
		}
	}},
	{"callee lost", "Close of a CalleeConn answers the calls that were taken and not answered with code 502, and no others.", rpc, func(x *trial) {
		a, b := x.node(x.process()), x.node(x.process())
		c := x.callee(x.process(), "u")
		answered := a.call("u", "answered")
		c.echo(c.take())
		lost := []broker.Address{a.call("u", "1"), a.call("u", "2"), a.call("u", "3")}
		lostOfB := b.call("u", "4")
		calls := c.takeAll(4, 4)
		queued := a.call("u", "queued")
		c.close()
		for _, to := range lost {
			x.wantLost(a.result(to))
		}
		x.wantLost(b.result(lostOfB))
		if r := a.result(answered); r.Err != nil {
			x.errorf("a call that had been answered ended in %+v", r.Err)
		}
		if string(calls[0].Args) != "1" {
			x.errorf("Close changed the arguments of a call that may still run to %q", calls[0].Args)
		}
		if x.engine.Grace == 0 {
			return
		}
		next := x.callee(x.process(), "u")
		next.echo(next.take())
		if r := a.result(queued); string(r.Args) != "queued" {
			x.errorf("a call that was queued at Close ended in %+v", r)
		}
	}},
	{"close one of two callees", "Calls that a callee leaves in the queue when it closes are taken by another.", rpc, func(x *trial) {
		n, stays := x.node(x.process()), x.callee(x.process(), "u")
		stays.serve(2, echoed)
		x.concurrently(2, func(g int) {
			if g == 0 {
				for range 20 {
					c := x.callee(x.process(), "u")
					took := make(chan struct{})
					go func() {
						defer close(took)
						for {
							calls, err := c.tryTake(context.Background(), 2)
							if err != nil {
								return
							}
							for _, call := range calls {
								c.conn.Reply(context.Background(), []broker.Result{echoed(call)})
							}
						}
					}()
					pass(time.Millisecond)
					c.close()
					<-took
				}
				return
			}
			for i := range 200 {
				if r := n.result(n.call("u", fmt.Sprint(i))); r.Err == nil && string(r.Args) != fmt.Sprint(i) {
					x.errorf("call %d was answered with %q", i, r.Args)
				} else if r.Err != nil && r.Err.Code != broker.CodeCalleeLost {
					x.errorf("call %d was answered with %+v", i, r.Err)
				}
			}
		})
	}},
	{"grace", "During the grace after the last callee of a URI has closed calls are queued; after it they get ErrNoCallee.", rpc | grace, func(x *trial) {
		n := x.node(x.process())
		c := x.callee(x.process(), "u")
		c.close()
		to := n.call("u", "during the grace")
		c = x.callee(x.process(), "u")
		c.echo(c.take())
		if r := n.result(to); string(r.Args) != "during the grace" {
			x.errorf("the call ended in %+v", r)
		}
		c.close()
		pass(x.engine.Grace)
		x.await("Call returned ErrNoCallee after the grace", func() bool {
			_, err := n.try("u", "", time.Millisecond)
			if err != nil && !errors.Is(err, broker.ErrNoCallee) {
				x.errorf("Call returned %v", err)
			}
			pass(10 * time.Millisecond)
			return err != nil
		})
	}},
	{"end of the grace", "When the grace of a URI is over, the calls that wait in its queue end in code 404 and are never taken, those of other URIs are not touched.", rpc | discovery, func(x *trial) {
		a, b, third := x.node(x.process()), x.node(x.process()), x.process()
		c, stays := x.callee(x.process(), "u", "v"), x.callee(x.process(), "w")
		elsewhere := a.call("w", "elsewhere")
		var waiting []broker.Address
		for i := range 10 { // some before the last callee closes
			waiting = append(waiting, a.call("u", fmt.Sprint(i)), b.call([]string{"u", "v"}[i%2], ""))
		}
		cancelled := a.call("v", "cancelled")
		a.cancel("v", cancelled)
		c.close()
		if x.engine.Grace > 0 { // and one while there is no callee
			waiting = append(waiting, b.call("v", "during the grace"))
		}
		for _, to := range waiting {
			if to.Node == a.id {
				x.wantUnserved(a.result(to))
			} else {
				x.wantUnserved(b.result(to))
			}
		}
		next := x.callee(third, "u", "v")
		want := a.call("u", "to the next")
		if took := next.take(); took.ReplyTo != want {
			x.errorf("a call that had been answered was taken: %+v", took)
		}
		if took := stays.take(); took.ReplyTo != elsewhere {
			x.errorf("took %+v of a URI whose callee is there", took)
		}
		if r, ok := a.find(elsewhere); ok {
			x.errorf("a call that waits for its callee ended in %+v", r)
		}
	}},
	{"return in the grace", "Calls that wait in the queue are left there when a callee returns in the grace, and as long as it stays.", rpc | grace, func(x *trial) {
		n := x.node(x.process())
		x.callee(x.process(), "u").close()
		to := n.call("u", "patient")
		back := x.callee(x.process(), "u")
		pass(x.engine.Grace + x.engine.Grace/2)
		back.echo(back.take())
		if r := n.result(to); string(r.Args) != "patient" {
			x.errorf("the call ended in %+v", r)
		}
	}},
	{"no grace needed", "The grace begins when the last callee closes: as long as another is open, calls are queued for it.", rpc | discovery, func(x *trial) {
		n, stays := x.node(x.process()), x.callee(x.process(), "u")
		x.callee(x.process(), "u").close()
		pass(x.engine.Grace + x.engine.Grace/2)
		to := n.call("u", "x")
		stays.echo(stays.take())
		n.result(to)
	}},
	{"close in a callback", "Rule 5: a callback may call methods of the engine, such as Close of another connection.", rpc, func(x *trial) {
		n, other, c := x.node(x.process()), x.node(x.process()), x.callee(x.process(), "u")
		var once atomic.Bool
		n.setHook(func(broker.Result) {
			if once.CompareAndSwap(false, true) {
				other.close()
			}
		})
		to := n.call("u", "")
		c.echo(c.take())
		n.result(to)
		x.await("the other connection was closed", other.closed.Load)
	}},
}

// wantUnserved checks the result of a call that waited longer than the grace.
func (x *trial) wantUnserved(r broker.Result) {
	if r.Err == nil || r.Err.Code != broker.CodeNoCallee {
		x.errorf("a call that waited when the grace was over ended in %+v", r)
	}
}

// wantLost checks the result of a call whose callee has closed.
func (x *trial) wantLost(r broker.Result) {
	if r.Err == nil || r.Err.Code != broker.CodeCalleeLost {
		x.errorf("a call whose callee has closed ended in %+v", r)
	}
}
