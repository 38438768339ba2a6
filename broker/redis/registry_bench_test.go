package redis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// BenchmarkRegistry registers a name again and reads its table, by the size of that, with
// values of 100 bytes. It prints what Redis counts and spends for each, as BenchmarkParts does.
//
//	go test -run '^$' -bench Registry -benchtime 200x ./broker/redis
func BenchmarkRegistry(b *testing.B) {
	server := redistest.Start(b)
	broker := newBroker(b, patient(withAddr(server.Addr))...)
	value := []byte(strings.Repeat("v", 100))
	for _, names := range []int{3, 1000, 10_000} {
		table := fmt.Sprint(names)
		for i := range names {
			if err := broker.Register(b.Context(), table, fmt.Sprint(i), value, time.Hour); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprint("register/names=", names), func(b *testing.B) {
			spentBy(b, server, func() {
				for range b.N {
					if err := broker.Register(b.Context(), table, "1", value, time.Hour); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
		b.Run(fmt.Sprint("read/names=", names), func(b *testing.B) {
			spentBy(b, server, func() { readOften(b, broker, table, names) })
		})
	}
}

func readOften(b *testing.B, broker *redis.Broker, table string, names int) {
	for range b.N {
		if entries, err := broker.Registered(b.Context(), table); err != nil || len(entries) != names {
			b.Fatal(len(entries), err)
		}
	}
}
