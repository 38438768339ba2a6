package redis_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
)

// BenchmarkKeyedCalls makes calls with keys, of 100 bytes as their outcomes are, from 100
// callers at once, and waits until all outcomes are told. It prints what Redis counts and
// spends for each, as BenchmarkParts does, and how many bytes of Redis each record takes.
//
//	go test -run '^$' -bench KeyedCalls -benchtime 20000x ./broker/redis
func BenchmarkKeyedCalls(b *testing.B) {
	server := redistest.Start(b)
	client := server.Client()
	for _, owners := range []int{1, 1000} {
		b.Run(fmt.Sprint("owners=", owners), func(b *testing.B) {
			defer client.FlushAll(context.Background())
			node := openKeyedNode(b, newBroker(b, patient(withAddr(server.Addr))...), 1)
			callee := openKeyedCallee(b, newBroker(b, patient(withAddr(server.Addr))...), nil)
			ctx, stop := context.WithCancel(b.Context())
			args := []byte(`"` + strings.Repeat("1", 98) + `"`)
			var serving sync.WaitGroup
			serving.Go(func() { answer(ctx, callee, args) })
			defer serving.Wait()
			defer stop()
			memory := func() (bytes int) {
				fmt.Sscanf(client.InfoMap(b.Context(), "memory").Item("Memory", "used_memory"), "%d", &bytes)
				return bytes
			}
			before := memory()
			spentBy(b, server, func() {
				var all sync.WaitGroup
				var next atomic.Int64
				for range 100 {
					all.Go(func() {
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							a := attachment(strconv.FormatInt(i, 10))
							a.Call.Args, a.Keep, a.MaxOwned = args, time.Hour, b.N
							a.Owner = broker.NewCallKey(keyedURI, strconv.Itoa(int(i)%owners), "")
							if err := node.conn.Attach(context.Background(), a); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
				await(b, "news of all", func() bool {
					node.mu.Lock()
					defer node.mu.Unlock()
					return len(node.news) == b.N
				})
			})
			b.ReportMetric(float64(memory()-before)/float64(b.N), "redis-B/record")
		})
	}
}

// answer answers all calls with args.
func answer(ctx context.Context, callee broker.CalleeConn, args []byte) {
	calls := make([]broker.Call, 100)
	for {
		n, err := callee.Take(ctx, calls)
		if err != nil {
			return
		}
		results := make([]broker.Result, n)
		for i := range results {
			results[i] = broker.Result{To: calls[i].ReplyTo, Args: args}
		}
		if callee.Reply(ctx, results) != nil {
			return
		}
	}
}
