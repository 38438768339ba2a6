package redis_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childVariable); role != "" {
		childMain(role)
	}
	goredis.SetLogger(silence{}) // it reports each connection that a test breaks
	waiting.AtOnce(8)
	goleak.VerifyTestMain(m,
		// The thread that starts programs stays to the end of the process.
		goleak.IgnoreAnyFunction("github.com/juggler-go/juggler/internal/child.runOnOneThread"))
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

const (
	testGrace    = 400 * time.Millisecond
	testCapacity = 64
)

// engine returns an Engine whose processes are brokers of their own, which
// share nothing but the server and a prefix that nobody used before. The client is for what
// is done to the server; nil: that has no history.
func engine(t *testing.T, client goredis.UniversalClient, server redis.Option, more ...redis.Option) brokertest.Engine {
	prefix := fmt.Sprint("test-", rand.Text())
	if client == nil {
		return plainEngine(t, prefix, server, more...)
	}
	e := plainEngine(t, prefix, server, append(more, redis.WithHistory(suiteRule))...)
	e.History = suiteRule
	e.Rollback = func(channel string, newest int) { rollBack(t, client, prefix, channel, newest) }
	e.Unkept = func(publish func(args []byte)) {
		log := strings.Replace(keyOf(t, client, prefix, ":pos:"+strings.TrimSuffix(suiteRule.Channels, "*")+"c"), ":pos:", ":log:", 1)
		client.Set(t.Context(), log, "no list", 0)
		publish([]byte("1"))
	}
	return e
}

func plainEngine(t *testing.T, prefix string, server redis.Option, more ...redis.Option) brokertest.Engine {
	return brokertest.Engine{
		Grace:         testGrace,
		QueueCapacity: testCapacity,
		Parallel:      true,
		Patience:      patience,
		Open: func() brokertest.Roles {
			b := newBroker(t, append([]redis.Option{
				server,
				redis.WithPrefix(prefix),
				redis.WithCalleeGrace(testGrace),
				redis.WithCalleeLease(10 * time.Second),
				redis.WithQueueCapacity(testCapacity),
				redis.WithBackoff(10*time.Millisecond, 100*time.Millisecond),
				redis.WithReplyTimeout(time.Minute), // machines may be slow
			}, more...)...)
			return brokertest.Roles{Caller: b, Callee: b, PubSub: b}
		},
	}
}

// suiteRule is that of the conformance suite.
var suiteRule = broker.HistoryRule{Channels: "brokertest.kept.*", Events: 16, For: time.Hour}

// keyOf returns the key that ends in a way.
func keyOf(t testing.TB, client goredis.UniversalClient, prefix, end string) string {
	t.Helper()
	for _, key := range keysOf(t, client, prefix) {
		if strings.HasSuffix(key, end) {
			return key
		}
	}
	t.Fatalf("there is no key that ends in %q", end)
	return ""
}

// rollBack takes the newest events of a channel back, as a replica without them would that
// has taken over.
func rollBack(t testing.TB, client goredis.UniversalClient, prefix, channel string, newest int) {
	t.Helper()
	ctx := context.Background()
	pos := keyOf(t, client, prefix, ":pos:"+channel)
	log := strings.Replace(pos, ":pos:", ":log:", 1)
	entry, err := client.LIndex(ctx, log, -1-int64(newest)).Result()
	if err != nil {
		t.Fatal(err)
	}
	client.LTrim(ctx, log, 0, -1-int64(newest))
	client.Set(ctx, pos, entry[1:17]+client.Get(ctx, pos).Val()[16:], goredis.KeepTTL)
}

// newBroker returns a broker that is closed at the end of the test.
func newBroker(t testing.TB, opts ...redis.Option) *redis.Broker {
	t.Helper()
	b, err := redis.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

func withAddr(addr string) redis.Option { return redis.WithServer(&goredis.Options{Addr: addr}) }

func withLog(log *lockedBuffer) redis.Option {
	return redis.WithLogger(slog.New(slog.NewTextHandler(log, nil)))
}

// A lockedBuffer is one that may be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex // guards the following
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// proxied returns an Engine on the server at addr with a way to be cut off.
func proxied(t *testing.T, client goredis.UniversalClient, with func(addr string) redis.Option, addr string, more ...redis.Option) brokertest.Engine {
	proxy := redistest.StartProxy(t, addr)
	e := engine(t, client, with(proxy.Addr), more...)
	e.Outage = func() func() {
		proxy.Cut()
		return proxy.Restore
	}
	return e
}

// limitUser has Redis know the user "limited" with the password "secret", and the
// rights of the first blocks of access rules in docs/redis.md.
func limitUser(t *testing.T, do func(args ...any), blocks int) {
	t.Helper()
	text, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	args := []any{"ACL", "SETUSER", "limited", "on", ">secret"}
	rest := string(text)
	for range blocks {
		var rules string
		_, rest, _ = strings.Cut(rest, "```text\n")
		var ok bool
		if rules, rest, ok = strings.Cut(rest, "\n```"); !ok {
			t.Fatal("docs/redis.md has too few blocks of access rules")
		}
		for _, rule := range strings.Fields(rules) {
			args = append(args, strings.Replace(rule, "juggler:", "test-", 1))
		}
	}
	do(args...)
}

// onlyWhole leaves out the half of TestStandalone that hides optional roles of the broker.
// With the tag long, and without the race detector, it is false.
var onlyWhole = true

// The suite runs as a user with the rights that docs/redis.md says suffice, and in
// another database than the first.
func TestStandalone(t *testing.T) {
	server := redistest.Start(t)
	limitUser(t, func(args ...any) { server.Do(args...) }, 1)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr, DB: 3})
	t.Cleanup(func() { client.Close() })
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		e := proxied(t, client, func(addr string) redis.Option {
			return redis.WithServer(&goredis.Options{Addr: addr, Username: "limited", Password: "secret", DB: 3})
		}, server.Addr)
		e.WholeOnly = onlyWhole
		return e
	})
}

func withCluster(c *redistest.Cluster) redis.Option {
	return redis.WithCluster(&goredis.ClusterOptions{Addrs: c.Addrs()})
}
