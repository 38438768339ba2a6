package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/calleekit"
)

// counters count what the tests ask about.
type counters struct {
	cancelled atomic.Int64 // calls of test.wait and test.parts that were cancelled
	called    atomic.Int64 // calls of test.count
	published atomic.Int64 // the last number of /control/publish
	sent      atomic.Int64 // parts that the newest call of test.parts has sent
	paced     atomic.Int64 // calls of test.paced
	released  chan struct{}
}

// register registers the callees:
//
//	test.echo     returns its args, byte for byte
//	test.reverse  returns a text backwards
//	test.add      adds two numbers
//	test.delay    returns after so many milliseconds
//	test.wait     waits until it is cancelled
//	test.count    returns how often it was called
//	test.last     returns the number that was last published by /control/publish
//	test.fail     fails with code 422 and data
//	test.broken   fails without a code
//	test.header   returns one of the call's headers
//	test.parts    answers in parts: the numbers from 1 to its argument, which it returns
//	test.paced    so, too, but each part waits for /control/release; returns how often it was called
func register(c *calleekit.Callee) *counters {
	n := &counters{released: make(chan struct{}, 100)}
	c.Handle("test.echo", func(_ context.Context, call *calleekit.Call) (any, error) { return call.Args, nil })
	c.Handle("test.reverse", calleekit.Typed(func(_ context.Context, text string) (string, error) {
		runes := []rune(text)
		slices.Reverse(runes)
		return string(runes), nil
	}))
	c.Handle("test.add", calleekit.Typed(func(_ context.Context, in [2]float64) (float64, error) { return in[0] + in[1], nil }))
	c.Handle("test.delay", calleekit.Typed(func(ctx context.Context, ms int) (int, error) {
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			return ms, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}), calleekit.WithConcurrency(32))
	c.Handle("test.wait", func(ctx context.Context, _ *calleekit.Call) (any, error) {
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), calleekit.ErrCancelled) {
			n.cancelled.Add(1)
		}
		return nil, ctx.Err()
	})
	c.Handle("test.count", func(context.Context, *calleekit.Call) (any, error) { return n.called.Add(1), nil })
	c.Handle("test.last", func(context.Context, *calleekit.Call) (any, error) { return n.published.Load(), nil })
	c.Handle("test.fail", func(context.Context, *calleekit.Call) (any, error) {
		return nil, &calleekit.Error{Code: 422, Message: "not a number", Data: json.RawMessage(`{"field":"a"}`)}
	})
	c.Handle("test.broken", func(context.Context, *calleekit.Call) (any, error) { return nil, errors.New("broken") })
	c.Handle("test.header", calleekit.Typed(func(ctx context.Context, name string) (string, error) {
		return calleekit.CallFrom(ctx).Header(name), nil
	}))
	c.Handle("test.parts", calleekit.Typed(n.parts), calleekit.WithConcurrency(32))
	c.Handle("test.paced", calleekit.Typed(n.pace))
	return n
}

func (n *counters) parts(ctx context.Context, last int) (int, error) {
	for i := range last {
		if err := calleekit.CallFrom(ctx).Send(ctx, i+1); err != nil {
			if errors.Is(context.Cause(ctx), calleekit.ErrCancelled) {
				n.cancelled.Add(1)
			}
			return 0, err
		}
		n.sent.Store(int64(i + 1))
	}
	return last, nil
}

func (n *counters) pace(ctx context.Context, last int) (int64, error) {
	called := n.paced.Add(1)
	for i := range last {
		select {
		case <-n.released:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if err := calleekit.CallFrom(ctx).Send(ctx, i+1); err != nil {
			return 0, err
		}
	}
	return called, nil
}
