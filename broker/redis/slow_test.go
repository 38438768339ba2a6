//go:build long

package redis_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A node or a callee behind a slow link gets all that is under way to it, and
// sends all that it has, although that takes many times the reply timeout, and
// longer than a lease.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	const (
		rate    = 1 << 20 // bytes a second: twice the slowest link that is waited for
		large   = 600 << 10
		calls   = 20
		lease   = 3 * time.Second
		timeout = 8 * time.Second // less than it takes; a quarter of it is patience enough for a busy machine
	)
	for name, test := range map[string]struct {
		nodeIsSlow     bool
		argument, back int // bytes
		count          int
	}{
		"many calls":                {count: calls, argument: large},
		"many results":              {count: calls, back: large, nodeIsSlow: true},
		"one call":                  {count: 1, argument: calls * large},
		"one result":                {count: 1, back: calls * large, nodeIsSlow: true},
		"many calls to be queued":   {count: calls, argument: large, nodeIsSlow: true},
		"many results to be stored": {count: calls, back: large},
		"one call to be queued":     {count: 1, argument: calls * large, nodeIsSlow: true},
		"one result to be stored":   {count: 1, back: calls * large},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.StartProxy(t, server.Addr)
			times := []redis.Option{redis.WithCalleeLease(lease), redis.WithReplyTimeout(timeout)}
			slow := newBroker(t, append(times, withAddr(proxy.Addr))...)
			fast := newBroker(t, append(times, withAddr(server.Addr))...)
			node, callee := fast, slow
			if test.nodeIsSlow {
				node, callee = slow, fast
			}
			proxy.Slow(rate, 0)
			callSlowly(t, node, callee, test.count, test.argument, test.back)
			for name, b := range map[string]*redis.Broker{"node": node, "callee": callee} {
				if s := b.Stats(); s.LinksLost > 0 || s.Lost > 0 {
					t.Errorf("%s lost links or calls: %+v", name, s)
				}
			}
		})
	}
}

// callSlowly makes calls at once with arguments and results of these sizes, and
// wants each to run once and to have its result.
func callSlowly(t *testing.T, node, callee *redis.Broker, count, argument, back int) {
	t.Helper()
	var mu sync.Mutex
	got := map[uint64][]broker.Result{}
	id := broker.ID{'s', 'l', 'o', 'w'}
	caller, err := node.OpenCaller(t.Context(), id, func(batch []broker.Result) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range batch {
			serial := binary.BigEndian.Uint64(r.To.Ref[:])
			got[serial] = append(got[serial], r)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	answers, err := callee.OpenCallee(t.Context(), []string{"u"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Close()
	runs := map[broker.Address]int{}
	go func() {
		dst := make([]broker.Call, 2*count)
		for {
			n, err := answers.Take(context.Background(), dst)
			if err != nil {
				return
			}
			results := make([]broker.Result, n)
			mu.Lock()
			for i, c := range dst[:n] {
				runs[c.ReplyTo]++
				results[i] = broker.Result{To: c.ReplyTo, Args: bytes.Repeat([]byte("x"), back)}
				if len(c.Args) != argument {
					t.Errorf("a call has %d bytes", len(c.Args))
				}
			}
			mu.Unlock()
			go answers.Reply(context.Background(), results) // ends by the calls' deadline
		}
	}()
	var all sync.WaitGroup
	for i := range count {
		c := broker.Call{URI: "u", ReplyTo: broker.Address{Node: id}, Timeout: time.Minute, Args: bytes.Repeat([]byte("x"), argument)}
		binary.BigEndian.PutUint64(c.ReplyTo.Ref[:], uint64(i))
		all.Go(func() {
			if err := caller.Call(context.Background(), &c); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	all.Wait()
	await(t, "all calls are answered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == count || t.Failed()
	})
	mu.Lock()
	defer mu.Unlock()
	for serial, results := range got {
		if len(results) != 1 || results[0].Err != nil || len(results[0].Args) != back {
			t.Errorf("call %d has %d results: %v", serial, len(results), results[0].Err)
		}
	}
	for to, n := range runs {
		if n != 1 {
			t.Errorf("call %x ran %d times", to.Ref, n)
		}
	}
}
