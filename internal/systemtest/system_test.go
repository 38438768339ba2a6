package systemtest_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/waiting"
)

func TestMain(m *testing.M) {
	goredis.SetLogger(silence{}) // it reports each connection that a test breaks
	// go-redis tries for a second more to reach a server, by a goroutine that
	// does not notice at once that its client was closed.
	goleak.VerifyTestMain(m,
		// The thread that starts programs stays to the end of the process.
		goleak.IgnoreAnyFunction("github.com/juggler-go/juggler/internal/child.runOnOneThread"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// quiet is a logger for tests whose subject makes noise.
var quiet = slog.New(slog.DiscardHandler)

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

const patience = waiting.Most

// await waits until ok returns true.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	waiting.Until(t, what, ok)
}

// quick are options with which faults are noticed soon.
func quick(more ...redis.Option) []redis.Option {
	return append([]redis.Option{
		redis.WithCalleeLease(time.Second),
		redis.WithCalleeGrace(time.Second),
		redis.WithReplyTimeout(time.Second),
		redis.WithBackoff(10*time.Millisecond, 100*time.Millisecond),
	}, more...)
}

// calm are those of quick for tests in which nothing is to be given up: a server that
// is slow, or hangs for a moment, is not gone.
func calm(more ...redis.Option) []redis.Option {
	return quick(append(more, redis.WithReplyTimeout(time.Minute))...)
}

func withAddr(addr string) redis.Option { return redis.WithServer(&goredis.Options{Addr: addr}) }

// newBroker returns a broker that is closed at the end of the test.
func newBroker(t testing.TB, opts ...redis.Option) *redis.Broker {
	t.Helper()
	b, err := redis.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("broker: Close: %v", err)
		}
	})
	return b
}

// A node is a handler on a real socket, with a broker of its own.
type node struct {
	handler *juggler.Handler
	broker  *redis.Broker
	url     string
}

// startNode starts a node that is shut down at the end of the test.
func startNode(t testing.TB, opts ...redis.Option) *node {
	t.Helper()
	return startNodeOn(t, newBroker(t, opts...))
}

// startNodeOn is startNode with a broker, and with options of the handler.
func startNodeOn(t testing.TB, b *redis.Broker, opts ...juggler.Option) *node {
	t.Helper()
	opts = append(slices.Clone(keyOptions), opts...)
	opts = append(opts, juggler.WithBroker(b), juggler.WithDrainRate(1000), juggler.WithLogger(quiet))
	h, err := juggler.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		s.Close()
	})
	return &node{handler: h, broker: b, url: strings.Replace(s.URL, "http", "ws", 1)}
}

// dial returns a client of the node that is closed at the end of the test.
func (n *node) dial(t testing.TB, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), n.url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// startCallee starts a callee with a broker of its own, which is closed at the
// end of the test.
func startCallee(t testing.TB, functions map[string]calleekit.HandlerFunc, opts ...redis.Option) *calleekit.Callee {
	t.Helper()
	c, err := calleekit.New(newBroker(t, opts...), calleekit.WithLogger(quiet))
	if err != nil {
		t.Fatal(err)
	}
	for uri, f := range functions {
		c.Handle(uri, f)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// keysOf returns all keys of a server or of a cluster's masters, with the time
// after which they expire.
func keysOf(t testing.TB, c goredis.UniversalClient) map[string]time.Duration {
	t.Helper()
	keys := map[string]time.Duration{}
	var mu sync.Mutex // guards keys: the masters are asked at the same time
	scan := func(ctx context.Context, c *goredis.Client) error {
		names, err := c.Keys(ctx, "*").Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, name := range names {
			ttl, err := c.PTTL(ctx, name).Result()
			if err != nil {
				return err
			}
			if ttl != -2 { // expired meanwhile; go-redis hands -1 and -2 through
				keys[name] = ttl
			}
		}
		return nil
	}
	var err error
	switch c := c.(type) {
	case *goredis.ClusterClient:
		err = c.ForEachMaster(context.Background(), scan)
	case *goredis.Client:
		err = scan(context.Background(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// wantExpiry checks that each key expires.
func wantExpiry(t testing.TB, c goredis.UniversalClient) {
	t.Helper()
	for key, ttl := range keysOf(t, c) {
		if ttl < 0 {
			t.Errorf("key %q does not expire", key)
		}
	}
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex // guards the following
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
