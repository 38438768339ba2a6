//go:build long

package redis_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A server that is out of memory for long makes nobody dead. It refused to
// renew the leases of callees and nodes like calls, and when they were over what
// ran ended in 502.
func TestOutOfMemoryLong(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	b := newBroker(t, calm(withAddr(server.Addr))...)
	p := newParent(t, b)
	cancelled := make(chan []broker.Address, 1)
	callee, err := b.OpenCallee(t.Context(), []string{"child"}, func(to []broker.Address) { cancelled <- slices.Clone(to) })
	if err != nil {
		t.Fatal(err)
	}
	held, unwanted := p.call("held"), p.call("unwanted")
	p.call("queued")
	taken := make([]broker.Call, 2)
	for n := 0; n < len(taken); {
		more, err := callee.Take(t.Context(), taken[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += more
	}
	config(t, admin, "maxmemory", "1")
	end := leaseEnds(t, admin, "juggler")
	await(t, "leases are over that were not renewed", func() bool {
		return admin.Time(context.Background()).Val().After(end.Add(time.Second))
	})
	p.conn.Cancel(t.Context(), "child", unwanted) //nolint:errcheck // a call in the queue could not be marked
	select {
	case to := <-cancelled:
		if !slices.Equal(to, []broker.Address{unwanted}) {
			t.Errorf("cancelled: %x", to)
		}
	case <-time.After(patience):
		t.Error("the callee was not told of a cancellation")
	}
	config(t, admin, "maxmemory", "0")
	if err := callee.Reply(t.Context(), []broker.Result{{To: held, Args: []byte("done")}}); err != nil {
		t.Fatal(err)
	}
	if r := p.result(held); string(r.Args) != "done" {
		t.Errorf("the call ended in %+v", r)
	}
}

// After everything was closed, nothing is left but the grace.
func TestNothingLeft(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	heard := listen(t, a, broker.Topic{Name: "news"}, broker.Topic{Name: "n*", Pattern: true})
	l := startLoad(t, a, b, 8)
	l.flows()
	wantExpiry(t, admin, "juggler")
	l.finish(false)
	heard.conn.Close()
	l.caller.Close()
	l.callee.Close()
	a.Close()
	b.Close()
	await(t, "no key is left", func() bool { return len(keysOf(t, admin, "juggler")) == 0 })
	await(t, "no connection is left", func() bool {
		clients, err := admin.ClientList(context.Background()).Result()
		return err == nil && strings.Count(clients, "\n") == 1
	})
}

// The results of a node that died are dropped: its list does not grow while
// callees go on answering.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	var log lockedBuffer
	b := newBroker(t, quick(withAddr(server.Addr), withLog(&log))...)
	conn, err := b.OpenCallee(t.Context(), []string{"parent"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := startChild(t, "node "+server.Addr)
	var dst [20]broker.Call
	for n := 0; n < len(dst); {
		more, err := conn.Take(t.Context(), dst[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += more
	}
	c.kill()
	reply := func(calls []broker.Call) {
		t.Helper()
		for _, call := range calls {
			if err := conn.Reply(t.Context(), []broker.Result{{To: call.ReplyTo, Args: []byte("late")}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	waiting := func() (results int64) {
		t.Helper()
		for _, key := range keysOf(t, admin, "juggler") {
			if strings.Contains(key, ":results:") {
				results += admin.LLen(context.Background(), key).Val()
			}
		}
		return results
	}
	// Until its heartbeat ends, the node might live. One result may have been
	// popped for it by its connection, which the server takes for open.
	reply(dst[:10])
	if n := waiting(); n < 9 || n > 10 {
		t.Errorf("%d results wait for the node, want 9 or 10", n)
	}
	before := waiting()
	await(t, "the node is forgotten", func() bool {
		for _, key := range keysOf(t, admin, "juggler") {
			if strings.Contains(key, ":node:") {
				return false
			}
		}
		return true
	})
	reply(dst[10:])
	await(t, "10 results are dropped", func() bool { return b.Stats().ResultsDropped == 10 })
	await(t, "dropped results are logged", func() bool {
		text := log.String()
		return strings.Contains(text, "results for a node dropped") && strings.Contains(text, "it is gone")
	})
	if n := waiting(); n != before {
		t.Errorf("%d results wait for a dead node, before it was forgotten %d", n, before)
	}
	wantExpiry(t, admin, "juggler")
}
