package redis_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// BenchmarkRPC compares calls through the broker with the pure LPUSH and
// BRPOP pair, one goroutine each, on the same server in the same run. It
// prints, for each call, how many commands were sent at most (a script is one)
// and how many the server counts, the inner ones of scripts included.
//
//	go test -run '^$' -bench RPC -benchtime 20000x ./broker/redis
func BenchmarkRPC(b *testing.B) {
	server := redistest.Start(b)
	b.Run("ping", func(b *testing.B) { benchPing(b, server) })
	b.Run("pair", func(b *testing.B) { benchPair(b, server) })
	for _, load := range []struct{ callers, concurrency int }{{1, 8}, {100, 8}, {100, 64}} {
		b.Run(fmt.Sprintf("callers=%d/concurrency=%d", load.callers, load.concurrency), func(b *testing.B) {
			benchCalls(b, server, load.callers, load.concurrency)
		})
	}
}

// benchPing measures a bare round trip.
func benchPing(b *testing.B, server *redistest.Server) {
	c := server.Client()
	for b.Loop() {
		if err := c.Ping(context.Background()).Err(); err != nil {
			b.Fatal(err)
		}
	}
}

// benchPair measures what a queue without any guarantee does.
func benchPair(b *testing.B, server *redistest.Server) {
	ctx := context.Background()
	pusher, popper := server.Client(), server.Client()
	b.ResetTimer()
	done := make(chan error, 1)
	go func() {
		for range b.N {
			if err := popper.BRPop(ctx, 5*time.Second, "pair").Err(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range b.N {
		if err := pusher.LPush(ctx, "pair", "0123456789abcdef0123456789abcdef").Err(); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func benchCalls(b *testing.B, server *redistest.Server, callers, concurrency int) {
	counts := goredis.NewClient(&goredis.Options{Addr: server.Addr})
	defer counts.Close()
	node := newBroker(b, withAddr(server.Addr), redis.WithQueueCapacity(100_000))
	worker := newBroker(b, withAddr(server.Addr))
	echo(b, worker, concurrency)
	caller := newBenchCaller(b, node, callers)
	caller.call(0) // the scripts are loaded

	stats := commandStats(b, counts)
	b.ResetTimer()
	var next atomic.Int64
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := caller.call(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	after := commandStats(b, counts)
	sent, counted := 0, 0
	for name, n := range after {
		n -= stats[name]
		counted += n
		switch name {
		case "evalsha", "eval", "bzpopmin":
			sent += n
		case "brpop":
			// With its BRPOP a node sends an RPOP, of which the server's counts
			// do not tell whether a script did it: take them all for nodes'.
			sent += 2 * n
		}
	}
	b.ReportMetric(float64(sent)/float64(b.N), "sent/op")
	b.ReportMetric(float64(counted)/float64(b.N), "counted/op")
	b.ReportMetric(0, "allocs/op")
}

// echo answers calls to "echo", up to concurrency at a time, as calleekit
// does: a Take for as many as have room.
func echo(b *testing.B, worker *redis.Broker, concurrency int) {
	conn, err := worker.OpenCallee(context.Background(), []string{"echo"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	room := make(chan struct{}, concurrency)
	for range concurrency {
		room <- struct{}{}
	}
	b.Cleanup(func() { conn.Close() })
	go func() { // ends with Close
		dst := make([]broker.Call, concurrency)
		for {
			<-room
			free := 1
			for len(room) > 0 {
				<-room
				free++
			}
			n, err := conn.Take(context.Background(), dst[:free])
			if err != nil {
				return
			}
			for range free - n {
				room <- struct{}{}
			}
			for _, c := range dst[:n] {
				go func() { // ends with its reply
					room <- struct{}{}
					conn.Reply(context.Background(), []broker.Result{{To: c.ReplyTo, Args: c.Args}})
				}()
			}
		}
	}()
}

// A benchCaller makes calls, one at a time for each of its callers.
type benchCaller struct {
	conn    broker.CallerConn
	node    broker.ID
	results []chan struct{}
	serial  atomic.Uint64
}

func newBenchCaller(b *testing.B, node *redis.Broker, callers int) *benchCaller {
	c := &benchCaller{node: broker.ID{1, byte(callers)}, results: make([]chan struct{}, callers)}
	for i := range c.results {
		c.results[i] = make(chan struct{}, 1)
	}
	var err error
	c.conn, err = node.OpenCaller(context.Background(), c.node, func(results []broker.Result) {
		for _, r := range results {
			c.results[binary.BigEndian.Uint32(r.To.Ref[:])] <- struct{}{}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *benchCaller) call(i int) error {
	call := broker.Call{
		URI:     "echo",
		ReplyTo: broker.Address{Node: c.node},
		Timeout: time.Minute,
		Args:    []byte(`{"message":"hello, world"}`),
	}
	binary.BigEndian.PutUint32(call.ReplyTo.Ref[:], uint32(i))
	binary.BigEndian.PutUint64(call.ReplyTo.Ref[8:], c.serial.Add(1))
	if err := c.conn.Call(context.Background(), &call); err != nil {
		return err
	}
	<-c.results[i]
	return nil
}

// commandStats returns how often each command was called.
func commandStats(tb testing.TB, c *goredis.Client) map[string]int {
	tb.Helper()
	text, err := c.Info(context.Background(), "commandstats").Result()
	if err != nil {
		tb.Fatal(err)
	}
	stats := map[string]int{}
	for _, line := range strings.Split(text, "\r\n") {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		count, _, _ := strings.Cut(rest, ",")
		stats[name], _ = strconv.Atoi(count)
	}
	return stats
}

// BenchmarkPublish publishes on a channel that no rule keeps, on one that a rule keeps, and
// on many of these, with events of 100 bytes and nobody who is subscribed. It prints the
// time that the server has spent in scripts for each event.
//
//	go test -run '^$' -bench Publish -benchtime 100000x ./broker/redis
func BenchmarkPublish(b *testing.B) {
	server := redistest.Start(b)
	for _, publishers := range []int{1, 100} {
		for _, channels := range []struct{ name, format string }{{"plain", "plain"}, {"kept", "room.7"}, {"kept apart", "room.%d"}} {
			b.Run(fmt.Sprintf("publishers=%d/%s", publishers, channels.name), func(b *testing.B) {
				benchPublish(b, server, publishers, channels.format)
			})
		}
	}
}

func benchPublish(b *testing.B, server *redistest.Server, publishers int, format string) {
	client := server.Client()
	node := newBroker(b, withAddr(server.Addr), redis.WithHistory(broker.HistoryRule{Channels: "room.*", Events: 100, For: time.Hour}))
	args := []byte(strings.Repeat("1", 100))
	publish := func(i int) {
		channel := format
		if strings.Contains(format, "%") {
			channel = fmt.Sprintf(format, i%1000)
		}
		if err := node.Publish(b.Context(), &broker.Event{Channel: channel, Args: args}); err != nil {
			b.Error(err)
		}
	}
	publish(0) // the scripts are loaded
	client.ConfigResetStat(b.Context())
	b.ResetTimer()
	var next atomic.Int64
	var all sync.WaitGroup
	for range publishers {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				publish(int(i))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	stats := client.Info(b.Context(), "commandstats").Val()
	_, rest, _ := strings.Cut(stats, "cmdstat_evalsha:")
	_, rest, _ = strings.Cut(rest, "usec=")
	spent, _, _ := strings.Cut(rest, ",")
	us, err := strconv.Atoi(spent)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(us)/float64(b.N), "redis-µs/op")
	b.ReportMetric(float64(count(stats, "evalsha"))/float64(b.N), "scripts/op")
	b.ReportMetric(0, "allocs/op")
}

// BenchmarkQuietChannels prints how many bytes of Redis a channel takes that a rule keeps:
// one that somebody has subscribed to and nobody published on, one that had one event of
// 100 bytes, and one that had 100 of them. The names have 10 characters.
//
//	go test -run '^$' -bench QuietChannels -benchtime 100000x ./broker/redis
func BenchmarkQuietChannels(b *testing.B) {
	for _, events := range []int{0, 1, 100} {
		b.Run(fmt.Sprint("events=", events), func(b *testing.B) {
			server := redistest.Start(b)
			node := newBroker(b, withAddr(server.Addr), redis.WithHistory(broker.HistoryRule{Channels: "*", Events: 100, For: time.Hour}))
			s, err := node.OpenSubscriber(b.Context(), func([]broker.Delivery) {})
			if err != nil {
				b.Fatal(err)
			}
			before := usedMemory(b, server)
			batch := make([]broker.Event, max(events, 1))
			errs := make([]error, len(batch))
			for i := range b.N {
				channel := fmt.Sprintf("room.%05d", i)
				if events == 0 {
					_, err = s.(broker.HistorySubscriber).SubscribeKept(b.Context(), channel)
				}
				for k := range events {
					batch[k] = broker.Event{Channel: channel, Args: []byte(strings.Repeat("1", 100))}
				}
				if events > 0 {
					node.PublishBatch(b.Context(), batch, errs)
					err = errs[0]
				}
				if err != nil {
					b.Fatal(err)
				}
				if events == 0 {
					if err := s.Unsubscribe(b.Context(), broker.Topic{Name: channel}); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(usedMemory(b, server)-before)/float64(b.N), "bytes/channel")
			for _, kind := range []string{"log", "pos"} {
				key := "juggler:{0.0}:" + kind + ":room.00000"
				b.ReportMetric(float64(server.Client().MemoryUsage(b.Context(), key).Val()), kind+"-bytes")
			}
		})
	}
}

func usedMemory(b *testing.B, server *redistest.Server) (bytes int) {
	b.Helper()
	_, rest, _ := strings.Cut(server.Client().Info(b.Context(), "memory").Val(), "used_memory:")
	if _, err := fmt.Sscan(rest, &bytes); err != nil {
		b.Fatal(err)
	}
	return bytes
}
