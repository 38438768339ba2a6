package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/juggler-go/juggler/broker"
)

// batchCases are about the optional interfaces for many requests at once.
var batchCases = []testCase{
	{"batch of calls", "CallBatch does what Call does for each of its calls, in order, and owns no slice when it returns.", rpc | batchCaller, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "a", "b")
		calls := make([]broker.Call, 40)
		errs := make([]error, len(calls))
		for i := range calls {
			errs[i] = errors.New("left from before")
			calls[i] = broker.Call{URI: "a", ReplyTo: n.address(), Timeout: longEnough, Headers: []byte("h"), Args: fmt.Append(nil, i)}
			if i%2 == 1 {
				calls[i].URI = "b"
			}
		}
		x.callBatch(n, calls, errs)
		for i, err := range errs {
			if err != nil {
				x.errorf("call %d: %v", i, err)
			}
			scribble(calls[i].Headers, calls[i].Args)
		}
		next := map[string]int{"a": 0, "b": 1}
		for _, call := range c.takeAll(len(calls), 7) {
			if string(call.Args) != fmt.Sprint(next[call.URI]) || string(call.Headers) != "h" {
				x.errorf("took %q of %s instead of %d", call.Args, call.URI, next[call.URI])
			}
			next[call.URI] += 2
			c.echo(call)
		}
		for i, call := range calls {
			if r := n.result(call.ReplyTo); string(r.Args) != fmt.Sprint(i) {
				x.errorf("call %d was answered with %q", i, r.Args)
			}
		}
	}},
	{"batch of calls, some refused", "CallBatch sets errs[i] to what Call would have returned for calls[i].", rpc | discovery | batchCaller, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		calls := make([]broker.Call, 10)
		errs := make([]error, len(calls))
		for i := range calls {
			calls[i] = broker.Call{URI: []string{"u", "nobody"}[i%2], ReplyTo: n.address(), Timeout: longEnough}
		}
		x.callBatch(n, calls, errs)
		for i, err := range errs {
			if refused := errors.Is(err, broker.ErrNoCallee); refused != (i%2 == 1) || err != nil && !refused {
				x.errorf("call %d to %s: %v", i, calls[i].URI, err)
			}
		}
		for range len(calls) / 2 {
			c.echo(c.take())
		}
		x.callBatch(n, nil, nil)
	}},
	{"batch of calls, too many", "CallBatch sets errs[i] to what Call would have returned for calls[i].", rpc | capacity | batchCaller, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		calls := make([]broker.Call, x.engine.QueueCapacity+5)
		errs := make([]error, len(calls))
		for i := range calls {
			calls[i] = broker.Call{URI: "u", ReplyTo: n.address(), Timeout: longEnough}
		}
		x.callBatch(n, calls, errs)
		for i, err := range errs {
			if full := errors.Is(err, broker.ErrQueueFull); full != (i >= x.engine.QueueCapacity) || err != nil && !full {
				x.errorf("call %d: %v", i, err)
			}
		}
		c.takeAll(x.engine.QueueCapacity, 16)
	}},
	{"batch of events", "PublishBatch does what Publish does for each of its events, in order, and owns no slice when it returns.", pubSub | batchPublisher, func(x *trial) {
		r := x.process()
		a, all := x.subscriber(x.process(), channel("a")), x.subscriber(x.process(), channel("a"), channel("b"))
		events := make([]broker.Event, 40)
		errs := make([]error, len(events))
		for i := range events {
			errs[i] = errors.New("left from before")
			events[i] = broker.Event{ID: newID(), Channel: []string{"a", "b"}[i%2], Headers: []byte("h"), Args: fmt.Append(nil, i)}
		}
		r.PubSub.(broker.BatchPublisher).PublishBatch(context.Background(), events, errs)
		for i, err := range errs {
			if err != nil {
				x.errorf("event %d: %v", i, err)
			}
			scribble(events[i].Headers, events[i].Args)
		}
		next := map[string]int{"a": 0, "b": 1}
		for _, d := range all.await(len(events)) {
			if string(d.Event.Args) != fmt.Sprint(next[d.Event.Channel]) || string(d.Event.Headers) != "h" {
				x.errorf("%q arrived on %s instead of %d", d.Event.Args, d.Event.Channel, next[d.Event.Channel])
			}
			next[d.Event.Channel] += 2
		}
		for i, d := range a.exactly(len(events) / 2) {
			if string(d.Event.Args) != fmt.Sprint(2*i) {
				x.errorf("%q arrived instead of %d", d.Event.Args, 2*i)
			}
		}
	}},
	{"concurrent batches", "Rule 1: methods may be called concurrently.", rpc | batchCaller, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		var mu sync.Mutex
		taken := make(map[string]int)
		c.serve(16, func(call broker.Call) broker.Result {
			mu.Lock()
			defer mu.Unlock()
			taken[string(call.Args)]++
			return echoed(call)
		})
		const goroutines, rounds, size = 4, 20, 8
		x.concurrently(goroutines, func(g int) {
			calls, errs := make([]broker.Call, size), make([]error, size)
			for round := range rounds {
				for i := range calls {
					calls[i] = broker.Call{URI: "u", ReplyTo: n.address(), Timeout: longEnough, Args: fmt.Append(nil, g, round, i)}
				}
				x.callBatch(n, calls, errs)
				for i := range calls {
					if errs[i] != nil {
						x.retryFull(func() error { return n.send(&calls[i]) })
					}
				}
			}
		})
		x.await("all calls were answered", func() bool { return n.count() >= goroutines*rounds*size })
		mu.Lock()
		defer mu.Unlock()
		for args, times := range taken {
			if times != 1 {
				x.errorf("call %s was taken %d times", args, times)
			}
		}
	}},
}

func (x *trial) callBatch(n *node, calls []broker.Call, errs []error) {
	x.within(func(ctx context.Context) error {
		n.conn.(broker.BatchCaller).CallBatch(ctx, calls, errs)
		return nil
	})
}
