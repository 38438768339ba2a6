package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// soon has brokers look at servers often.
var soon = redis.WithCalleeLease(400 * time.Millisecond)

// A server that evicts keys is warned of at the start and when that changes.
func TestEvictingServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
	var log lockedBuffer
	b := newBroker(t, quick(withAddr(server.Addr), withLog(&log), soon)...)
	if err := b.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "a warning names the policy", func() bool {
		return strings.Contains(log.String(), "noeviction") && strings.Contains(log.String(), "policy=volatile-lru") && b.Stats().Evicting == 1
	})
	if err := b.Publish(t.Context(), &broker.Event{Channel: "c"}); err != nil {
		t.Fatal(err)
	}
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	await(t, "the end is noticed", func() bool {
		return strings.Contains(log.String(), "evicts no keys any more") && b.Stats().Evicting == 0
	})
	server.Do("SET", "key", "value")
	server.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1mb") // it has more
	await(t, "evictions are noticed", func() bool {
		return strings.Contains(log.String(), "policy=allkeys-random") && strings.Contains(log.String(), "has evicted keys")
	})
	server.Do("CONFIG", "SET", "maxmemory", "0")
	await(t, "that there is no limit is noticed", func() bool { return b.Stats().Evicting == 0 })
}
