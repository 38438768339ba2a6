package redis_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
)

// BenchmarkParts sends parts of answers, of 100 bytes, through one stream and through
// 100, beside as many publishers of such events on one channel with one subscriber: each
// sends the next one when Redis has the one before, and the benchmark ends when all have
// arrived. It prints the commands that the server counts for each, those of scripts
// included, and the time that it has spent on them.
//
//	go test -run '^$' -bench Parts -benchtime 50000x ./broker/redis
func BenchmarkParts(b *testing.B) {
	server := redistest.Start(b)
	for _, streams := range []int{1, 100} {
		b.Run(fmt.Sprintf("streams=%d/events", streams), func(b *testing.B) { benchEvents(b, server, streams) })
		b.Run(fmt.Sprintf("streams=%d/parts", streams), func(b *testing.B) { benchParts(b, server, streams) })
	}
}

func benchEvents(b *testing.B, server *redistest.Server, publishers int) {
	publisher, subscriber := newBroker(b, withAddr(server.Addr)), newBroker(b, withAddr(server.Addr))
	var heard atomic.Int64
	s, err := subscriber.OpenSubscriber(b.Context(), func(batch []broker.Delivery) { heard.Add(int64(len(batch))) })
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Subscribe(b.Context(), broker.Topic{Name: "news"}); err != nil {
		b.Fatal(err)
	}
	args := []byte(strings.Repeat("1", 100))
	spentBy(b, server, func() {
		var all sync.WaitGroup
		var next atomic.Int64
		for range publishers {
			all.Go(func() {
				for next.Add(1) <= int64(b.N) {
					if err := publisher.Publish(context.Background(), &broker.Event{Channel: "news", Args: args}); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
		await(b, "all events are heard", func() bool { return heard.Load() >= int64(b.N) })
	})
}

func benchParts(b *testing.B, server *redistest.Server, streams int) {
	node, callee := newBroker(b, withAddr(server.Addr)), newBroker(b, withAddr(server.Addr))
	s := startStreams(b, node, callee, uint32(max(b.N/streams, 1)))
	s.same = []byte(strings.Repeat("1", 100))
	spentBy(b, server, func() {
		s.start(streams)
		s.finish()
	})
	if s.twice.Load() > 0 {
		b.Error("parts came twice")
	}
}

// spentBy measures do, and what the server does for it.
func spentBy(b *testing.B, server *redistest.Server, do func()) {
	client := server.Client()
	client.ConfigResetStat(b.Context())
	b.ResetTimer()
	do()
	b.StopTimer()
	calls, us := 0, 0
	for _, line := range strings.Split(client.Info(b.Context(), "commandstats").Val(), "\r\n") {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		n, rest, _ := strings.Cut(rest, ",usec=")
		time, _, _ := strings.Cut(rest, ",")
		count, _ := strconv.Atoi(n)
		calls += count
		// That of scripts has the one of their commands.
		if t, _ := strconv.Atoi(time); name == "evalsha" || name == "eval" || name == "bzpopmin" {
			us += t
		}
	}
	b.ReportMetric(float64(calls)/float64(b.N), "counted/op")
	b.ReportMetric(float64(us)/float64(b.N), "redis-µs/op")
	b.ReportMetric(0, "allocs/op")
}
