//go:build long

package redis_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// soon has brokers look at servers and at each other often.
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
		{"a right of a script that names commands by short names", nil, []any{"~juggler:*", "&*", "+@all", "-llen"}, "commands=LLEN"},
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

// Processes of one system with different settings are warned of on both sides, and
// so are halves of a system with different prefixes; what is as it should be is not.
func TestPeers(t *testing.T) {
	t.Parallel()
	const other, apart = "other settings", "with another prefix"
	for name, test := range map[string]struct {
		node, callee []redis.Option
		want         string // what both log
		says         []string
	}{
		"the same":   {nil, nil, "", nil},
		"lanes":      {[]redis.Option{redis.WithLanes(4)}, nil, other, []string{"lanes=4", "lanes=1"}},
		"sharding":   {nil, []redis.Option{redis.WithShardedPubSub()}, other, []string{"channels=classic", "channels=sharded"}},
		"prefixes":   {[]redis.Option{redis.WithPrefix("a")}, []redis.Option{redis.WithPrefix("b")}, apart, []string{"prefix=a ", "prefix=b "}},
		"one prefix": {[]redis.Option{redis.WithPrefix("a")}, nil, apart, []string{"prefix=a ", "prefix=juggler "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			var logs [2]lockedBuffer
			node := newBroker(t, quick(append(test.node, withAddr(server.Addr), withLog(&logs[0]), soon)...)...)
			callee := newBroker(t, quick(append(test.callee, withAddr(server.Addr), withLog(&logs[1]), soon)...)...)
			openPair(t, node, callee)
			for i := range logs {
				if test.want == "" {
					continue
				}
				await(t, "both are named", func() bool {
					text := logs[i].String()
					named := strings.Contains(text, test.want)
					for _, says := range test.says {
						named = named && strings.Contains(text, says)
					}
					return named
				})
			}
			if test.want == "" {
				awaitLooks(t, server, 2)
				for i := range logs {
					if text := logs[i].String(); strings.Contains(text, other) || strings.Contains(text, apart) {
						t.Error(text)
					}
				}
			}
		})
	}
}

// openPair opens a node and a callee.
func openPair(t *testing.T, node, callee *redis.Broker) {
	t.Helper()
	caller, err := node.OpenCaller(t.Context(), broker.ID{1}, func([]broker.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caller.Close() })
	conn, err := callee.OpenCallee(t.Context(), []string{"u"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
}

// awaitLooks waits until the processes have told each other their settings so often.
func awaitLooks(t *testing.T, server *redistest.Server, times int) {
	t.Helper()
	admin, last := server.Client(), ""
	await(t, "the settings are told", func() bool {
		all, _ := admin.HGetAll(t.Context(), "juggler:{peers}:systems").Result()
		text := fmt.Sprint(all)
		if text != last && strings.Contains(text, "role=node") && strings.Contains(text, "role=callee") {
			last = text
			times--
		}
		return times == 0
	})
}

// In a cluster the processes use masters that have nothing to do with each other.
func TestPeersInCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, calmCluster...)
	var logs [2]lockedBuffer
	node := newBroker(t, quick(withCluster(cluster), withLog(&logs[0]), soon, redis.WithLanes(4))...)
	callee := newBroker(t, quick(withCluster(cluster), withLog(&logs[1]), soon)...)
	openPair(t, node, callee)
	for i := range logs {
		await(t, "both are named", func() bool {
			return strings.Contains(logs[i].String(), "lanes=4") && strings.Contains(logs[i].String(), "lanes=16")
		})
	}
}
