package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	peer "github.com/centrifugal/centrifuge"
	"github.com/juggler-go/juggler/bench/internal/redisd"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/oklog/ulid/v2"
	goredis "github.com/redis/go-redis/v9"
)

const (
	presentUsers    = 10_000
	presentChannels = 100
	presentNodes    = 3
)

// BenchmarkPresence has 10,000 users in 100 channels, at three nodes, and prints what that
// costs one Redis, with the leases of the defaults: commands a second, those of scripts
// included, and CPU, while nobody comes or goes; both for each who comes or leaves; and bytes.
// Nobody watches.
//
//	cd bench && go test -run '^$' -bench Presence -benchtime 1x .
func BenchmarkPresence(b *testing.B) {
	for name, open := range map[string]func(testing.TB, string) presentEngine{"juggler": openJuggler, "centrifuge": openCentrifuge} {
		b.Run(name, func(b *testing.B) {
			server, err := redisd.Start()
			if err != nil {
				b.Fatal(err)
			}
			defer server.Stop()
			client := goredis.NewClient(&goredis.Options{Addr: server.Addr})
			defer client.Close()
			e := open(b, server.Addr)
			defer e.close()
			empty := redisUsage(b, client)
			e.join()
			full := redisUsage(b, client)
			b.ReportMetric(float64(full.bytes-empty.bytes)/presentUsers, "bytes/member")
			b.ReportMetric(float64(full.commands-empty.commands)/presentUsers, "commands/join")
			b.ReportMetric(float64((full.cpu-empty.cpu).Microseconds())/presentUsers, "us/join")
			seconds := e.rest()
			rested := redisUsage(b, client)
			b.ReportMetric(float64(rested.commands-full.commands)/seconds, "idle-commands/s")
			b.ReportMetric(float64((rested.cpu-full.cpu).Microseconds())/seconds, "idle-us/s")
			e.leave()
			left := redisUsage(b, client)
			b.ReportMetric(float64(left.commands-rested.commands)/presentUsers, "commands/leave")
		})
	}
}

// A presentEngine has all users come and leave. rest lets nothing happen, and returns for how
// many seconds that counts.
type presentEngine struct {
	join, leave, close func()
	rest               func() (seconds float64)
}

func openJuggler(tb testing.TB, addr string) presentEngine {
	var brokers []*redis.Broker
	var conns []broker.PresenceConn
	for range presentNodes {
		b, err := redis.New(redis.WithServer(&goredis.Options{Addr: addr}))
		if err != nil {
			tb.Fatal(err)
		}
		c, err := b.OpenPresence(tb.Context(), broker.ID(ulid.Make()), func([]broker.HereChange) {})
		if err != nil {
			tb.Fatal(err)
		}
		brokers, conns = append(brokers, b), append(conns, c)
	}
	put := func(sessions int) {
		for i := range presentUsers {
			m := broker.Member{User: fmt.Sprint("user-", i), Sessions: sessions, Info: []byte(`{"name":"Somebody"}`)}
			conns[i%presentNodes].Put(fmt.Sprint("room.", i%presentChannels), []broker.Member{m})
		}
		for _, c := range conns {
			if err := c.Flush(context.Background()); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return presentEngine{
		join:  func() { put(1) },
		leave: func() { put(0) },
		rest: func() float64 {
			start := time.Now()
			time.Sleep(10 * time.Second) // two leases
			return time.Since(start).Seconds()
		},
		close: func() {
			for _, b := range brokers {
				b.Close()
			}
		},
	}
}

// openCentrifuge opens a node: three would cost the same, since each session costs.
func openCentrifuge(tb testing.TB, addr string) presentEngine {
	node, err := peer.New(peer.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	shard, err := peer.NewRedisShard(node, peer.RedisShardConfig{Address: addr})
	if err != nil {
		tb.Fatal(err)
	}
	m, err := peer.NewRedisPresenceManager(node, peer.RedisPresenceManagerConfig{Shards: []*peer.RedisShard{shard}})
	if err != nil {
		tb.Fatal(err)
	}
	each := func(do func(channel, client, user string) error) {
		for i := range presentUsers {
			if err := do(fmt.Sprint("room.", i%presentChannels), fmt.Sprintf("client-%029d", i), fmt.Sprint("user-", i)); err != nil {
				tb.Fatal(err)
			}
		}
	}
	add := func(channel, client, user string) error {
		return m.AddPresence(channel, client, &peer.ClientInfo{ClientID: client, UserID: user, ConnInfo: []byte(`{"name":"Somebody"}`)})
	}
	return presentEngine{
		join:  func() { each(add) },
		leave: func() { each(m.RemovePresence) },
		rest: func() float64 { // as its clients do, once in ClientPresenceUpdateInterval
			each(add)
			return (25 * time.Second).Seconds()
		},
		close: func() { shard.Close() },
	}
}

type redisUse struct {
	commands, bytes int64
	cpu             time.Duration
}

func redisUsage(tb testing.TB, client *goredis.Client) (u redisUse) {
	tb.Helper()
	text, err := client.Info(context.Background(), "all").Result()
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.SplitSeq(text, "\r\n") {
		key, value, _ := strings.Cut(line, ":")
		var n int64
		var seconds float64
		switch {
		case strings.HasPrefix(key, "cmdstat_") && key != "cmdstat_info":
			fmt.Sscanf(value, "calls=%d", &n) //nolint:errcheck // it is a number
			u.commands += n
		case key == "used_memory_dataset":
			fmt.Sscan(value, &u.bytes) //nolint:errcheck // likewise
		case key == "used_cpu_user" || key == "used_cpu_sys":
			fmt.Sscan(value, &seconds) //nolint:errcheck // likewise
			u.cpu += time.Duration(seconds * float64(time.Second))
		}
	}
	return u
}
