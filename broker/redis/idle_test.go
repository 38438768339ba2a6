package redis

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
)

// An observedBroker keeps what it says of its connections.
type observedBroker struct {
	*Broker
	t *testing.T

	mu   sync.Mutex // guards the following
	log  bytes.Buffer
	idle map[string]int // by role
}

func (w *observedBroker) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// observed returns a broker with slow heartbeats, so that its connections are idle.
func observed(t *testing.T, server Option, more ...Option) *observedBroker {
	t.Helper()
	w := &observedBroker{t: t, idle: map[string]int{}}
	b, err := New(append([]Option{
		server,
		WithCalleeLease(time.Minute),
		WithBackoff(10*time.Millisecond, 100*time.Millisecond),
		WithLogger(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))),
		WithLinkObserver(func(c LinkChange) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if c.Idle {
				w.idle[c.Role]++
			}
		}),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	w.Broker = b
	return w
}

// ends waits until connections of a role have been ended while they were idle.
func (w *observedBroker) ends(role string, times int) {
	w.t.Helper()
	waiting.Until(w.t, "an idle connection has ended: "+role, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.idle[role] >= times
	})
}

// unharmed checks that nothing is told as a fault.
func (w *observedBroker) unharmed() {
	w.t.Helper()
	if s := w.Stats(); s.LinksLost != 0 || s.Gaps != 0 || s.Lost != 0 {
		w.t.Errorf("counted as lost: %+v", s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.Contains(w.log.String(), "connection") || strings.Contains(w.log.String(), "missed") {
		w.t.Errorf("told as a fault: %s", w.log.String())
	}
}

func withName(server *redistest.Server, name string) Option {
	return WithServer(&goredis.Options{Addr: server.Addr, ClientName: name})
}

// connected counts the connections of a name.
func connected(t *testing.T, server *redistest.Server, name string) int {
	t.Helper()
	return strings.Count(server.Do("CLIENT", "LIST").(string), " name="+name+" ")
}

// A server with a timeout ends connections that are idle. Each time that was a lost
// connection, after which the node believed for a lease that the server had forgotten.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--timeout", "1")
	w := observed(t, withName(server, "idle"))
	node, err := w.OpenCaller(t.Context(), broker.ID{'n'}, func([]broker.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan broker.Delivery, 1)
	sub, err := w.OpenSubscriber(t.Context(), func(d []broker.Delivery) { heard <- d[0] })
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if err := w.Publish(t.Context(), &broker.Event{Channel: "news"}); err != nil {
			t.Error(err)
		}
		err := node.Call(t.Context(), &broker.Call{URI: "nobody", ReplyTo: broker.Address{Node: broker.ID{'n'}}, Timeout: time.Second})
		if !errors.Is(err, broker.ErrNoCallee) {
			t.Errorf("a call to nobody: %v", err)
		}
		w.ends("writer", n+1)
	}
	if err := w.Health(); err != nil {
		t.Error(err)
	}
	if err := sub.Subscribe(t.Context(), broker.Topic{Name: "news"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Publish(t.Context(), &broker.Event{Channel: "news"}); err != nil {
		t.Error(err)
	}
	if d := <-heard; d.Gap {
		t.Error("a gap was told")
	}
	w.unharmed()
}

// While a callee takes no calls, its connection to take some is idle.
func TestIdleWhileBusy(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--timeout", "1")
	w := observed(t, withName(server, "busy"))
	node := observed(t, withName(server, "node"))
	results := make(chan broker.Result, 2)
	caller, err := node.OpenCaller(t.Context(), broker.ID{'n'}, func(r []broker.Result) { results <- r[0] })
	if err != nil {
		t.Fatal(err)
	}
	callee, err := w.OpenCallee(t.Context(), []string{"slow"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	call := func(ref byte) {
		t.Helper()
		to := broker.Address{Node: broker.ID{'n'}, Ref: [16]byte{ref}}
		if err := caller.Call(t.Context(), &broker.Call{URI: "slow", ReplyTo: to, Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
		var calls [1]broker.Call
		if _, err := callee.Take(t.Context(), calls[:]); err != nil || calls[0].ReplyTo != to {
			t.Fatalf("took %+v, %v", calls[0], err)
		}
	}
	call(1)
	waiting.Until(t, "the server has ended all", func() bool { return connected(t, server, "busy") == 0 })
	node.ends("writer", 1) // not at the moment of the second call
	call(2)
	w.ends("take", 1)
	w.unharmed()
	node.unharmed()
}

// Nobody subscribes any more, and somebody ends the connection for events.
func TestIdleFeed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	w := observed(t, withName(server, "idle"))
	sub, err := w.OpenSubscriber(t.Context(), func([]broker.Delivery) {})
	if err != nil {
		t.Fatal(err)
	}
	news := broker.Topic{Name: "news"}
	if err := sub.Subscribe(t.Context(), news); err != nil {
		t.Fatal(err)
	}
	if err := sub.Unsubscribe(t.Context(), news); err != nil {
		t.Fatal(err)
	}
	waiting.Until(t, "nobody subscribes", func() bool {
		return len(server.Do("PUBSUB", "CHANNELS", "*news").([]any)) == 0
	})
	server.Do("CLIENT", "KILL", "TYPE", "pubsub")
	w.ends("pubsub", 1)
	waiting.Until(t, "it is there again", func() bool { return sub.Subscribe(t.Context(), news) == nil })
	w.unharmed()
	server.Do("CLIENT", "KILL", "TYPE", "pubsub")
	waiting.Until(t, "a subscription is lost", func() bool { return w.Stats().LinksLost == 1 })
}

// In a cluster, classic channels may lose events with a master. That one ends an idle
// connection is no sign of it.
func TestIdleTimeoutInCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "20000", "--timeout", "1")
	w := observed(t, WithCluster(&goredis.ClusterOptions{Addrs: cluster.Addrs()}))
	sub, err := w.OpenSubscriber(t.Context(), func([]broker.Delivery) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Subscribe(t.Context(), broker.Topic{Name: "news"}); err != nil {
		t.Fatal(err)
	}
	for _, channel := range strings.Fields("a b c d e f g h") {
		if err := w.Publish(t.Context(), &broker.Event{Channel: channel}); err != nil {
			t.Fatal(err)
		}
	}
	w.ends("writer", 4)
	w.unharmed()
}

// A server that ends an idle connection because it stops forgets all the same.
func TestIdleWhenServerRestarts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	w := observed(t, withName(server, "idle"))
	publish := func() {
		t.Helper()
		waiting.Until(t, "an event is published", func() bool {
			return w.Publish(context.Background(), &broker.Event{Channel: "news"}) == nil
		})
	}
	publish()
	waiting.Until(t, "the first survey is over", func() bool {
		return server.Do("EXISTS", "juggler:{peers}:systems").(int64) == 1
	})
	server.Do("CLIENT", "KILL", "TYPE", "normal")
	w.ends("writer", 1)
	publish()
	if w.lane(0).mayHaveLostState() {
		t.Error("in doubt after an idle connection was ended")
	}
	w.unharmed()
	server.Kill()
	w.ends("writer", 2)
	server.Restart()
	publish()
	if !w.lane(0).mayHaveLostState() {
		t.Error("a server that was started anew is relied on")
	}
}
