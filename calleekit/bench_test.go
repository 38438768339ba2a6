package calleekit_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
)

func echo(_ context.Context, c *calleekit.Call) (any, error) { return &c.Args, nil }

// BenchmarkCall measures calls through the memory broker to a function that
// returns its arguments: one at a time, made as the server's event loop does
// (hand over, yield, look), and 64 and 6400 in flight.
func BenchmarkCall(b *testing.B) {
	for _, inFlight := range []int{1, 64, 6400} {
		b.Run(fmt.Sprint("inflight=", inFlight), func(b *testing.B) {
			engine, err := memory.New(memory.WithQueueCapacity(10000))
			if err != nil {
				b.Fatal(err)
			}
			defer engine.Close()
			c, err := calleekit.New(engine)
			if err != nil {
				b.Fatal(err)
			}
			c.Handle("test.echo", echo)
			if err := c.Start(context.Background()); err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			benchmarkCalls(b, engine, inFlight)
		})
	}
}

func benchmarkCalls(b *testing.B, engine *memory.Broker, inFlight int) {
	ctx := context.Background()
	var answered atomic.Int64
	conn, err := engine.OpenCaller(ctx, broker.ID{1}, func(rs []broker.Result) {
		answered.Add(int64(len(rs)))
	})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	call := broker.Call{URI: "test.echo", Timeout: time.Minute, Args: []byte(`"hello"`)}
	call.ReplyTo.Node = broker.ID{1}
	b.ReportAllocs()
	for made := int64(0); made < int64(b.N); {
		for made-answered.Load() < int64(inFlight) && made < int64(b.N) {
			made++
			binary.BigEndian.PutUint64(call.ReplyTo.Ref[:], uint64(made))
			if err := conn.Call(ctx, &call); err != nil {
				b.Fatal(err)
			}
		}
		runtime.Gosched()
	}
	for answered.Load() < int64(b.N) {
		runtime.Gosched()
	}
}
