package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// A holder is a callee that holds calls until it is told to answer them.
type holder struct {
	t    *testing.T
	conn broker.CalleeConn
	held []broker.Call
}

// hold takes n calls of p.
func hold(t *testing.T, b *redis.Broker, p *parent, n int) *holder {
	t.Helper()
	h := &holder{t: t}
	var err error
	if h.conn, err = b.OpenCallee(t.Context(), []string{"child"}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.conn.Close() })
	for range n {
		p.call("")
	}
	for dst := make([]broker.Call, n); len(h.held) < n; {
		m, err := h.conn.Take(t.Context(), dst)
		if err != nil {
			t.Fatal(err)
		}
		h.held = append(h.held, dst[:m]...)
	}
	return h
}

// answers answers the calls, and checks that p gets these results before any other.
func (h *holder) answers(p *parent) {
	h.t.Helper()
	for _, c := range h.held {
		if err := h.conn.Reply(h.t.Context(), []broker.Result{{To: c.ReplyTo, Args: []byte("done")}}); err != nil {
			h.t.Fatal(err)
		}
	}
	for _, c := range h.held {
		if r := p.result(c.ReplyTo); string(r.Args) != "done" {
			h.t.Errorf("a call ended in %+v", r)
		}
	}
}

// found makes calls until one is queued, and checks that none is told that nobody
// answers its URI.
func (p *parent) found() {
	p.t.Helper()
	await(p.t, "calls are queued", func() bool {
		p.calls++
		err := p.conn.Call(p.t.Context(), &broker.Call{
			URI: "child", ReplyTo: broker.Address{Node: p.node, Ref: [16]byte{p.calls}}, Timeout: time.Minute,
		})
		if err != nil && (!errors.Is(err, broker.ErrUnavailable) || broker.RetryAfter(err) <= 0) {
			p.t.Fatalf("Call: %v, retry after %v", err, broker.RetryAfter(err))
		}
		return err == nil
	})
}

// The server forgets while the connections live. Calls were told that nobody
// answers them, and results were dropped, until the next heartbeat.
func TestServerForgets(t *testing.T) {
	t.Parallel()
	remove := func(part string) func(*testing.T, *goredis.Client) {
		return func(t *testing.T, admin *goredis.Client) {
			for _, key := range keysOf(t, admin, "juggler") {
				if strings.Contains(key, part) {
					admin.Del(context.Background(), key)
				}
			}
		}
	}
	for name, forget := range map[string]func(*testing.T, *goredis.Client){
		"everything":     func(t *testing.T, admin *goredis.Client) { admin.FlushAll(context.Background()) },
		"each key":       remove(""),
		"who is served":  remove(":served:"),
		"who serves":     remove(":callees"),
		"the node":       remove(":node:"),
		"who looks":      remove(":watch"),
		"what was taken": remove(":taken:"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			a, b := newBroker(t, calm(withAddr(server.Addr))...), newBroker(t, calm(withAddr(server.Addr))...)
			p := newParent(t, a)
			h := hold(t, b, p, 3)
			awaitWatch(t, server.Client())
			forget(t, server.Client())
			p.found()
			h.answers(p)
			forget(t, server.Client())
			p.found()
			if n := a.Stats().Lost + b.Stats().ResultsDropped; n != 0 {
				t.Errorf("%d calls or results were lost", n)
			}
		})
	}
}

// awaitWatch waits until a node looks after the lane.
func awaitWatch(t *testing.T, admin *goredis.Client) {
	t.Helper()
	await(t, "somebody looks", func() bool { return strings.Contains(fmt.Sprint(keysOf(t, admin, "juggler")), ":watch") })
}

// The server refuses all writes for longer than leases last, and has forgotten the
// node. Running calls ended in 502 or not at all, new ones got 404.
func TestWritesRefused(t *testing.T) {
	t.Parallel()
	for name, forgets := range map[string]bool{"remembers": false, "forgets": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			admin := server.Client()
			a, b := newBroker(t, calm(withAddr(server.Addr))...), newBroker(t, calm(withAddr(server.Addr))...)
			p := newParent(t, a)
			early, late := hold(t, b, p, 3), hold(t, b, p, 3)
			awaitWatch(t, admin)
			if forgets {
				admin.FlushAll(context.Background())
			}
			config(t, admin, "min-replicas-to-write", "1")
			end := admin.Time(context.Background()).Val().Add(4 * time.Second)
			for _, c := range early.held {
				if err := early.conn.Reply(t.Context(), []broker.Result{{To: c.ReplyTo, Args: []byte("done")}}); err != nil {
					t.Fatal(err)
				}
			}
			await(t, "leases are over", func() bool { return admin.Time(context.Background()).Val().After(end) })
			config(t, admin, "min-replicas-to-write", "0")
			p.found()
			late.answers(p)
			for _, c := range early.held {
				if r := p.result(c.ReplyTo); string(r.Args) != "done" {
					t.Errorf("a call ended in %+v", r)
				}
			}
			if n := a.Stats().Lost + b.Stats().ResultsDropped; n != 0 {
				t.Errorf("%d calls or results were lost", n)
			}
		})
	}
}

// A server that stands still for longer than leases last kills nobody, whether the
// connections outlive it or not.
func TestServerPausedForLong(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]func(...redis.Option) []redis.Option{"connections live": calm, "connections are lost": quick} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			var holders []*holder
			a := newBroker(t, with(withAddr(server.Addr))...)
			p := newParent(t, a)
			for range 5 {
				holders = append(holders, hold(t, newBroker(t, with(withAddr(server.Addr))...), p, 2))
			}
			awaitWatch(t, server.Client())
			server.Pause()
			<-time.After(3 * time.Second) // of the server's clock, which nobody can ask
			server.Resume()
			p.found()
			for _, h := range holders {
				h.answers(p)
			}
			if n := a.Stats().Lost; n != 0 {
				t.Errorf("%d calls were reported lost", n)
			}
		})
	}
}

// Many callees died together, with calls of a node that died, too, and nobody
// reports those. Their leftovers hid the callees that die later.
func TestManyDeadCallees(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	p := newParent(t, newBroker(t, quick(withAddr(server.Addr))...))
	c := startChild(t, "callee "+server.Addr)
	held := p.call("hold")
	c.says("took hold")
	var callees string
	for _, key := range keysOf(t, admin, "juggler") {
		if strings.HasSuffix(key, ":callees") {
			callees = key
		}
	}
	ctx := context.Background()
	now := float64(admin.Time(ctx).Val().UnixMilli())
	pipe := admin.TxPipeline() // nobody looks at half of it, as callees never leave half
	leave := func(callee string, addresses ...any) {
		taken := strings.TrimSuffix(callees, "callees") + "taken:" + callee
		pipe.ZAdd(ctx, callees, goredis.Z{Score: now - 1000, Member: callee})
		pipe.SAdd(ctx, taken, addresses...)
		pipe.PExpire(ctx, taken, 2*patience)
	}
	for i := range 1200 {
		leave(fmt.Sprint("dead", i), fmt.Sprintf("%032d", i))
	}
	// One of them had more than is looked through at a time, some of which are ours.
	const many, ours = 3000, 100
	var addresses []any
	for i := range many {
		addresses = append(addresses, fmt.Sprintf("node of the dead%016d", i))
	}
	for i := range ours {
		addresses = append(addresses, string(p.node[:])+fmt.Sprintf("%016d", i))
	}
	leave("busy", addresses...)
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range ours {
		if r := p.result(broker.Address{Node: p.node, Ref: [16]byte([]byte(fmt.Sprintf("%016d", i)))}); r.Err == nil || r.Err.Code != broker.CodeCalleeLost {
			t.Fatalf("a call of a callee that died ended in %+v", r)
		}
	}
	c.kill()
	if r := p.result(held); r.Err == nil || r.Err.Code != broker.CodeCalleeLost {
		t.Errorf("a call of a callee that was killed ended in %+v", r)
	}
}

// A server that comes back with a snapshot brings back calls that were answered
// since it was made. They ran a second time.
func TestSnapshotRestored(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := newBroker(t, calm(withAddr(server.Addr))...), newBroker(t, calm(withAddr(server.Addr), redis.WithCalleeDiscovery(false))...)
	p := newParent(t, a)
	h := hold(t, b, p, 1)
	for range 50 {
		p.call("queued")
	}
	server.Snapshot()
	ran := map[broker.Address]int{}
	take := func() {
		dst := make([]broker.Call, 100)
		n, err := h.conn.Take(t.Context(), dst)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range dst[:n] {
			ran[c.ReplyTo]++
		}
		h.held = dst[:n]
		h.answers(p)
	}
	for len(ran) < 50 {
		take()
	}
	server.RestoreSnapshot()
	p.found()
	for len(ran) < 51 { // until what was called after that has been taken
		take()
	}
	for to, n := range ran {
		if n != 1 {
			t.Errorf("call %x ran %d times", to.Ref[0], n)
		}
	}
}
