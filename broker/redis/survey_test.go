package redis_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
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

// What a server or user lacks is named at the start. What can be done without is not.
func TestRestrictedServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		args    []string
		rules   []any // of the user
		missing string
	}{
		{"nothing is missing", nil, nil, ""},
		{"CLIENT and INFO", []string{"--rename-command", "CLIENT", "", "--rename-command", "INFO", ""}, nil, ""},
		{"EVALSHA", []string{"--rename-command", "EVALSHA", ""}, nil, "commands=EVALSHA"},
		{"EVAL", []string{"--rename-command", "EVAL", ""}, nil, "commands=EVAL"},
		{"BRPOP", []string{"--rename-command", "BRPOP", ""}, nil, "commands=BRPOP"},
		{"SUBSCRIBE", []string{"--rename-command", "SUBSCRIBE", ""}, nil, "commands=SUBSCRIBE"},
		{"PUBLISH and TIME", []string{"--rename-command", "PUBLISH", "", "--rename-command", "TIME", ""}, nil, `commands="PUBLISH TIME"`},
		{"a right", nil, []any{"~juggler:*", "&*", "+@all", "-lpush", "-info"}, "commands=LPUSH"},
		{"a right to channels", nil, []any{"~juggler:*", "resetchannels", "+@all"}, `commands="PUBLISH SUBSCRIBE"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, test.args...)
			if test.rules == nil {
				test.rules = []any{"allkeys", "allchannels", "+@all"}
			}
			server.Do(append([]any{"ACL", "SETUSER", "app", "on", ">secret"}, test.rules...)...)
			var log lockedBuffer
			b := newBroker(t, quick(redis.WithServer(&goredis.Options{Addr: server.Addr, Username: "app", Password: "secret"}),
				redis.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))...)
			if err := b.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			if test.missing != "" {
				await(t, "it is named", func() bool { return strings.Contains(log.String(), test.missing+" ") })
				return
			}
			conn, err := b.OpenCallee(t.Context(), []string{"u"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			await(t, "it is found", func() bool { return strings.Contains(log.String(), "the server has what is needed") })
		})
	}
}
