package redis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goredis.SetLogger(silence{}) // it reports each connection that a test breaks
	goleak.VerifyTestMain(m)
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

const (
	testGrace    = 400 * time.Millisecond
	testCapacity = 64
)

// engine returns an Engine whose processes are brokers of their own, which
// share nothing but the server and a prefix that nobody used before.
func engine(t *testing.T, server redis.Option, more ...redis.Option) brokertest.Engine {
	prefix := fmt.Sprint("test-", rand.Text())
	return brokertest.Engine{
		Grace:         testGrace,
		QueueCapacity: testCapacity,
		Open: func() brokertest.Roles {
			b := newBroker(t, append([]redis.Option{
				server,
				redis.WithPrefix(prefix),
				redis.WithCalleeGrace(testGrace),
				redis.WithCalleeLease(time.Second),
				redis.WithQueueCapacity(testCapacity),
				redis.WithBackoff(10*time.Millisecond, 100*time.Millisecond),
			}, more...)...)
			return brokertest.Roles{Caller: b, Callee: b, PubSub: b}
		},
	}
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

// proxied returns an Engine on the server at addr with a way to be cut off.
func proxied(t *testing.T, addr string, more ...redis.Option) brokertest.Engine {
	proxy := redistest.StartProxy(t, addr)
	e := engine(t, withAddr(proxy.Addr), more...)
	e.Outage = func() func() {
		proxy.Cut()
		return proxy.Restore
	}
	return e
}

func TestStandalone(t *testing.T) {
	server := redistest.Start(t)
	brokertest.Run(t, func(t *testing.T) brokertest.Engine { return proxied(t, server.Addr) })
}

func TestStandaloneWithLanes(t *testing.T) {
	server := redistest.Start(t)
	brokertest.Run(t, func(t *testing.T) brokertest.Engine { return proxied(t, server.Addr, redis.WithLanes(5)) })
}

func TestMiniredis(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		server := miniredis.RunT(t)
		passTime(t, server)
		return proxied(t, server.Addr())
	})
}

// passTime makes keys of a miniredis expire, which they do not do by
// themselves.
func passTime(t *testing.T, server *miniredis.Miniredis) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		const tick = 10 * time.Millisecond
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				server.FastForward(tick)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
}
