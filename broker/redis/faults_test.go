package redis_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// quick are options with which faults are noticed soon.
func quick(more ...redis.Option) []redis.Option {
	return append([]redis.Option{
		redis.WithCalleeLease(time.Second),
		redis.WithCalleeGrace(testGrace),
		redis.WithReplyTimeout(time.Second),
		redis.WithBackoff(10*time.Millisecond, 100*time.Millisecond),
	}, more...)
}

// calm are those of quick for tests that break nothing: a machine that is slow
// is not gone.
func calm(more ...redis.Option) []redis.Option {
	return quick(append(more, redis.WithReplyTimeout(10*time.Second))...)
}

// calmCluster keeps a cluster from taking a slow machine for a dead master.
var calmCluster = []string{"--cluster-node-timeout", "20000"}

func TestServerRestarts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	heard := listen(t, a, broker.Topic{Name: "news"})
	l := startLoad(t, a, b, 8)
	for range 3 {
		l.flows()
		server.Kill()
		await(t, "calls are refused", func() bool { return l.failed(broker.ErrUnavailable) > 0 })
		server.Restart()
	}
	l.flows()
	heard.hearsAgain(t, b, "news")
	l.finish(true)
	wantExpiry(t, server.Client(), "juggler")
	if s := a.Stats(); s.LinksLost == 0 || s.Gaps == 0 {
		t.Errorf("the counts know of no fault: %+v", s)
	}
}

func TestServerPaused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	heard := listen(t, a, broker.Topic{Name: "news"})
	l := startLoad(t, a, b, 8)
	l.flows()
	server.Pause()
	await(t, "calls are refused", func() bool { return l.failed(broker.ErrUnavailable) > 100 })
	// Nobody hangs longer than it takes to give the connection up.
	start := time.Now()
	if err := l.one(); !errors.Is(err, broker.ErrUnavailable) || time.Since(start) > time.Second {
		t.Errorf("during the pause Call returned %v after %v", err, time.Since(start))
	}
	await(t, "subscriptions are refused", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return errors.Is(heard.conn.Subscribe(ctx, broker.Topic{Name: "more"}), broker.ErrUnavailable)
	})
	server.Resume()
	l.flows()
	heard.hearsAgain(t, b, "news")
	l.finish(true)
	wantExpiry(t, server.Client(), "juggler")
}

func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	a, b := newBroker(t, quick(withAddr(proxy.Addr))...), newBroker(t, quick(withAddr(proxy.Addr))...)
	heard := listen(t, a, broker.Topic{Name: "news"})
	l := startLoad(t, a, b, 8)
	for range 20 {
		l.flows()
		proxy.CutOnce()
	}
	l.flows()
	heard.hearsAgain(t, b, "news")
	l.finish(true)
	wantExpiry(t, server.Client(), "juggler")
}

// go-redis would repeat the command whose reply is lost, and run calls twice.
func TestRepliesLost(t *testing.T) {
	t.Parallel()
	t.Run("standalone", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		proxy := redistest.StartProxy(t, server.Addr)
		testRepliesLost(t, withAddr(proxy.Addr), server.Client(), proxy)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		cluster := redistest.StartCluster(t, calmCluster...)
		byAddr := map[string]*redistest.Proxy{}
		var proxies []*redistest.Proxy
		for _, addr := range cluster.Addrs() {
			byAddr[addr] = redistest.StartProxy(t, addr)
			proxies = append(proxies, byAddr[addr])
		}
		option := redis.WithCluster(&goredis.ClusterOptions{
			Addrs: cluster.Addrs(),
			Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, byAddr[addr].Addr)
			},
		})
		testRepliesLost(t, option, cluster.Client(), proxies...)
	})
}

func testRepliesLost(t *testing.T, option redis.Option, admin goredis.UniversalClient, proxies ...*redistest.Proxy) {
	a, b := newBroker(t, quick(option)...), newBroker(t, quick(option)...)
	heard := listen(t, a, broker.Topic{Name: "news"})
	l := startLoad(t, a, b, 8)
	l.flows()
	var lost atomic.Int64
	for _, proxy := range proxies {
		proxy.Swallow(func([]byte) bool {
			if rand.IntN(50) == 0 && lost.Load() < 20 {
				lost.Add(1)
				return true
			}
			return false
		})
	}
	await(t, "20 replies were lost", func() bool { return lost.Load() >= 20 })
	l.flows()
	heard.hears(t, b, "news")
	l.finish(true)
	if l.failed(broker.ErrUnknownOutcome) == 0 {
		t.Error("no call had an unknown outcome")
	}
	wantExpiry(t, admin, "juggler")
}

// The reply of a take that is lost leaves calls that are taken and that nobody
// runs: they end in 502, long before their time is over.
func TestTakeLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(proxy.Addr))...)
	l := startLoad(t, a, b, 0)
	const marker = "\x00\x00\x00\x00\x00\x00\x00\x00" // of the address, in the reply of a take
	var lost atomic.Bool
	proxy.Swallow(func(reply []byte) bool {
		return strings.Contains(string(reply), marker) && lost.CompareAndSwap(false, true)
	})
	if err := l.one(); err != nil {
		t.Fatal(err)
	}
	await(t, "the lost call was reported", func() bool { return l.answered() == 1 })
	proxy.Restore()
	l.finish(false)
	wantExpiry(t, server.Client(), "juggler")
	if r := l.calls[1].results[0]; r.Err == nil || r.Err.Code != broker.CodeCalleeLost {
		t.Errorf("the call ended in %+v", r)
	}
}

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	heard := listen(t, a, broker.Topic{Name: "news"})
	l := startLoad(t, a, b, 8)
	l.flows()
	for range 3 {
		config(t, admin, "maxmemory", "1")
		refused := l.failed(broker.ErrUnavailable)
		await(t, "calls are refused", func() bool { return l.failed(broker.ErrUnavailable) > refused })
		config(t, admin, "maxmemory", "0")
		l.flows()
	}
	heard.hears(t, b, "news")
	l.finish(false)
	wantExpiry(t, admin, "juggler")
}

// leaseEnds returns when the last of what callees and nodes have renewed ends.
func leaseEnds(t *testing.T, c *goredis.Client, prefix string) time.Time {
	t.Helper()
	longest := time.Duration(0)
	for _, key := range keysOf(t, c, prefix) {
		if strings.Contains(key, ":node:") || strings.Contains(key, ":callees:") {
			longest = max(longest, c.PTTL(context.Background(), key).Val())
		}
	}
	return c.Time(context.Background()).Val().Add(longest)
}

func config(t *testing.T, c *goredis.Client, name, value string) {
	t.Helper()
	if err := c.ConfigSet(context.Background(), name, value).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestReadOnlyReplica(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	heard := listen(t, a, broker.Topic{Name: "news"})
	l := startLoad(t, a, b, 4)
	l.flows()
	if err := admin.ReplicaOf(context.Background(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	await(t, "calls are refused", func() bool { return l.failed(broker.ErrUnavailable) > 0 })
	if err := admin.ReplicaOf(context.Background(), "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	l.flows()
	heard.hears(t, b, "news")
	l.finish(false)
	wantExpiry(t, admin, "juggler")
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "right")
	b := newBroker(t, quick(redis.WithServer(&goredis.Options{Addr: server.Addr, Password: "wrong"}))...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := b.OpenCaller(ctx, broker.ID{1}, func([]broker.Result) {})
	if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("OpenCaller: %v", err)
	}
	if _, err = b.OpenCallee(ctx, []string{"u"}, nil); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("OpenCallee: %v", err)
	}
	if err = b.Publish(ctx, &broker.Event{Channel: "c"}); !errors.Is(err, broker.ErrUnavailable) || broker.RetryAfter(err) <= 0 {
		t.Errorf("Publish: %v", err)
	}
	s, err := b.OpenSubscriber(ctx, func([]broker.Delivery) {})
	if err != nil {
		t.Fatal(err)
	}
	if err = s.Subscribe(ctx, broker.Topic{Name: "c"}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Subscribe: %v", err)
	}
}

func TestScriptsFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	l := startLoad(t, a, b, 8)
	for range 20 {
		l.flows()
		if err := admin.ScriptFlush(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	l.flows()
	l.finish(false)
	wantExpiry(t, admin, "juggler")
	if n := l.failed(broker.ErrUnavailable) + l.failed(broker.ErrUnknownOutcome); n != 0 {
		t.Errorf("%d calls failed", n)
	}
}

func TestCorruptValues(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	heard := listen(t, a, broker.Topic{Name: "news"})
	l := startLoad(t, a, b, 2)
	l.flows()
	for _, garbage := range []string{"", "x", "C", "C1234567890123", strings.Repeat("C9", 40), strings.Repeat("R", 30), strings.Repeat("E", 30)} {
		for _, key := range keysOf(t, admin, "juggler") {
			if strings.Contains(key, ":node:") {
				results := strings.Replace(key, ":node:", ":results:", 1)
				admin.RPush(context.Background(), results, garbage)
				admin.RPush(context.Background(), strings.Split(key, ":node:")[0]+":calls:"+loadURI, garbage)
			}
		}
		admin.Publish(context.Background(), "juggler:event:news", garbage)
	}
	l.flows()
	if err := b.Publish(t.Context(), &broker.Event{Channel: "news", Args: []byte("fine")}); err != nil {
		t.Fatal(err)
	}
	await(t, "a sound event arrived", func() bool { return heard.got() == "fine" })
	l.finish(false)
	wantExpiry(t, admin, "juggler")
	if na, nb := a.Stats().Corrupt, b.Stats().Corrupt; na < 10 || nb < 4 {
		t.Errorf("%d corrupt values were counted by the node, %d by the callee", na, nb)
	}
}

// A foreign value under one of our keys spoils the calls of its URI only.
func TestForeignKey(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr), redis.WithCalleeDiscovery(false))...)
	l := startLoad(t, a, b, 2)
	l.flows()
	var tag string
	for _, key := range keysOf(t, server.Client(), "juggler") {
		if prefix, _, ok := strings.Cut(key, ":node:"); ok {
			tag = prefix
		}
	}
	if err := server.Client().Set(context.Background(), tag+":calls:foreign", "1", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	node := broker.ID{2}
	conn, err := b.OpenCaller(t.Context(), node, func([]broker.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Call(t.Context(), &broker.Call{URI: "foreign", ReplyTo: broker.Address{Node: node}, Timeout: time.Second})
	if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("Call: %v", err)
	}
	l.flows()
	l.finish(false)
}

// What the server refuses and nobody waits for is logged: nothing else tells why
// callees are taken for dead, or are not.
func TestRefusedIsLogged(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	var caller, callee lockedBuffer
	a, b := newBroker(t, quick(withAddr(server.Addr), withLog(&caller))...), newBroker(t, quick(withAddr(server.Addr), withLog(&callee))...)
	l := startLoad(t, a, b, 2)
	l.flows()
	for _, key := range keysOf(t, admin, "juggler") {
		if strings.HasSuffix(key, ":callees") {
			if err := admin.Set(context.Background(), key, "foreign", time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	await(t, "it is logged", func() bool {
		return strings.Contains(caller.String(), "look for calls of dead callees") && strings.Contains(callee.String(), "renew a lease")
	})
	close(l.stop)
	l.running.Wait()
}
