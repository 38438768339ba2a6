package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// idleCallee opens a callee of "child" that takes nothing until it is told to.
func idleCallee(t *testing.T, b *redis.Broker) broker.CalleeConn {
	t.Helper()
	c, err := b.OpenCallee(t.Context(), []string{"child"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// takes checks that the next call of a callee is this one, and answers it.
func takes(t *testing.T, c broker.CalleeConn, want broker.Address) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dst := make([]broker.Call, 1)
	if _, err := c.Take(ctx, dst); err != nil {
		t.Fatal(err)
	}
	if dst[0].ReplyTo != want {
		t.Errorf("the callee took the call %x, want %x", dst[0].ReplyTo.Ref, want.Ref)
	}
	if err := c.Reply(ctx, []broker.Result{{To: want, Args: []byte("done")}}); err != nil {
		t.Fatal(err)
	}
}

// refused checks that a call ends in 404.
func (p *parent) refused(to broker.Address) {
	p.t.Helper()
	if r := p.result(to); r.Err == nil || r.Err.Code != broker.CodeNoCallee {
		p.t.Errorf("a call that waited when the grace was over ended in %+v", r)
	}
}

// Calls in the queue of callees that died or were cut off end when lease and grace are
// over. Nobody takes them after that, also a callee that comes back.
func TestCalleeCutOff(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	p := newParent(t, newBroker(t, quick(withAddr(server.Addr))...))
	c := idleCallee(t, newBroker(t, quick(withAddr(proxy.Addr))...))
	waiting := []broker.Address{p.call("1"), p.call("2")}
	proxy.Cut()
	for _, to := range waiting {
		p.refused(to)
	}
	proxy.Restore()
	to := broker.Address{Node: p.node, Ref: [16]byte{100}}
	await(t, "the callee is back", func() bool {
		return p.conn.Call(t.Context(), &broker.Call{URI: "child", ReplyTo: to, Timeout: time.Minute}) == nil
	})
	takes(t, c, to)
	wantExpiry(t, server.Client(), "juggler")
}

// A reply with the calls that were taken out of a queue is lost. They end all the same.
func TestRefusalLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	p := newParent(t, newBroker(t, quick(withAddr(proxy.Addr))...))
	c := idleCallee(t, newBroker(t, quick(withAddr(server.Addr))...))
	to := p.call("")
	var lost atomic.Bool
	proxy.Swallow(func(reply []byte) bool {
		return bytes.Contains(reply, append(to.Node[:], to.Ref[:]...)) && lost.CompareAndSwap(false, true)
	})
	c.Close()
	p.refused(to)
	if !lost.Load() {
		t.Error("no reply was lost")
	}
}

// What a node without callee discovery has queued waits for a callee, also among calls
// of one that has it.
func TestRefusalsOfOneNode(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := newParent(t, newBroker(t, quick(withAddr(server.Addr))...))
	patient, err := newBroker(t, quick(withAddr(server.Addr), redis.WithCalleeDiscovery(false))...).
		OpenCaller(t.Context(), broker.ID{'q'}, func(results []broker.Result) {
			for _, r := range results {
				p.results <- r
			}
		})
	if err != nil {
		t.Fatal(err)
	}
	defer patient.Close()
	c := idleCallee(t, newBroker(t, quick(withAddr(server.Addr))...))
	var waits []broker.Address
	var ends []broker.Address
	for i := range 3 {
		to := broker.Address{Node: broker.ID{'q'}, Ref: [16]byte{byte(i)}}
		if err := patient.Call(t.Context(), &broker.Call{URI: "child", ReplyTo: to, Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
		waits, ends = append(waits, to), append(ends, p.call(fmt.Sprint(i)))
	}
	c.Close()
	for _, to := range ends {
		p.refused(to)
	}
	c = idleCallee(t, newBroker(t, quick(withAddr(server.Addr))...))
	for _, to := range waits {
		takes(t, c, to)
		if r := p.result(to); string(r.Args) != "done" {
			t.Errorf("a call that may wait ended in %+v", r)
		}
	}
}

// The server stands still for longer than lease and grace last. Who lives had no time to
// say so, so calls in the queue are left to their callee, also when nodes look first.
func TestQueueOfPausedServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	proxy := redistest.StartProxy(t, server.Addr)
	lease := redis.WithCalleeLease(2 * time.Second)
	p := newParent(t, newBroker(t, calm(withAddr(server.Addr), lease)...))
	c := idleCallee(t, newBroker(t, calm(withAddr(proxy.Addr), lease)...))
	to := p.call("")
	awaitWatch(t, admin)
	looked := func() float64 { return admin.ZScore(context.Background(), "juggler:{0.0}:watch", "last").Val() }
	before := looked()
	proxy.Hold()
	server.Pause()
	<-time.After(3 * time.Second) // of the server's clock, which nobody can ask
	server.Resume()
	await(t, "the node looks", func() bool { return looked() > before+2000 })
	proxy.Restore()
	takes(t, c, to)
	if r := p.result(to); string(r.Args) != "done" {
		t.Errorf("a call that waited for its callee ended in %+v", r)
	}
}

// Out of memory calls in the queue end as well.
func TestRefusalsOutOfMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	p := newParent(t, newBroker(t, calm(withAddr(server.Addr))...))
	c := idleCallee(t, newBroker(t, calm(withAddr(server.Addr))...))
	to := p.call("")
	config(t, admin, "maxmemory", "1")
	c.Close()
	p.refused(to)
}
