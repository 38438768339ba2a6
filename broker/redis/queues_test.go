package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// uris returns n URIs of at least so many bytes.
func uris(n, length int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%d.%s", i, strings.Repeat("u", length))
	}
	return all
}

func openCallee(t testing.TB, b *redis.Broker, uris ...string) {
	t.Helper()
	c, err := b.OpenCallee(t.Context(), uris, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
}

// However many URIs there are, and however long, a read looks at a bounded number, and says
// so.
func TestQueuesBounded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		uris, length   int
		fewest, most   int // that are told
		all            bool
		callees, lanes int
	}{
		"all":        {1000, 0, 1000, 1000, true, 2, 1},
		"many":       {1001, 0, 1000, 1000, false, 2, 1},
		"long":       {200, 2000, 100, 150, false, 1, 1},
		"many lanes": {3000, 0, 3000, 3000, true, 1, 16},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			options := patient(withAddr(server.Addr), redis.WithLanes(tt.lanes))
			b := newBroker(t, options...)
			for range tt.callees {
				openCallee(t, newBroker(t, options...), uris(tt.uris, tt.length)...)
			}
			queues, all, err := b.ReadQueues(t.Context())
			if err != nil || all != tt.all || len(queues) < tt.fewest || len(queues) > tt.most {
				t.Errorf("told of %d URIs, all: %v, %v", len(queues), all, err)
			}
			for _, q := range queues {
				if q.Callees != tt.callees || q.Calls != 0 {
					t.Fatalf("%.100q has %d callees and %d calls", q.URI, q.Callees, q.Calls)
				}
			}
		})
	}
}

// Callees whose lease is over do not count, and of very many only a bounded number does.
func TestQueuesCountLivingCallees(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b, client := newBroker(t, patient(withAddr(server.Addr))...), server.Client()
	openCallee(t, b, "u", "v")
	for i := range 1500 {
		client.ZAdd(t.Context(), "juggler:{0.0}:callees:u", goredis.Z{Score: 1000, Member: fmt.Sprint("dead", i)})
		client.ZAdd(t.Context(), "juggler:{0.0}:callees:v", goredis.Z{Score: 1e14, Member: fmt.Sprint("alive", i)})
	}
	queues, all, err := b.ReadQueues(t.Context())
	told := map[string]int{}
	for _, q := range queues {
		told[q.URI] = q.Callees
	}
	if err != nil || !all || told["u"] != 1 || told["v"] != 1000 {
		t.Errorf("%v, %v, %v", told, all, err)
	}
}

// A read works where a server is full, changes nothing, and has an error where a key is
// somebody else's.
func TestQueuesReadOnly(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, patient(withAddr(server.Addr))...)
	openCallee(t, b, "u")
	// changes returns how often something was changed in Redis.
	changes := func() string {
		_, rest, _ := strings.Cut(server.Client().Info(t.Context(), "persistence").Val(), "rdb_changes_since_last_save:")
		n, _, found := strings.Cut(rest, "\r\n")
		if !found {
			t.Fatal("Redis does not count its changes")
		}
		return n
	}
	server.Do("CONFIG", "SET", "maxmemory", 1)
	await(t, "nothing changes during a read", func() bool { // what else is written is so now and then
		before := changes()
		queues, all, err := b.ReadQueues(t.Context())
		if err != nil || !all || len(queues) != 1 || queues[0] != (broker.Queue{URI: "u", Callees: 1}) {
			t.Fatalf("%+v, %v, %v", queues, all, err)
		}
		return changes() == before
	})
	server.Do("CONFIG", "SET", "maxmemory", 0)
	server.Do("SET", "juggler:{0.0}:calls:u", "of somebody else")
	if queues, all, err := b.ReadQueues(t.Context()); !errors.Is(err, broker.ErrUnavailable) || all || len(queues) > 0 {
		t.Errorf("%+v, %v, %v", queues, all, err)
	}
	b.Close()
	if _, all, err := b.ReadQueues(t.Context()); !errors.Is(err, broker.ErrClosed) || all {
		t.Errorf("it is closed: %v, %v", all, err)
	}
}

// BenchmarkQueues reads the queues of a lane, by the number of URIs, which two callees have
// and of which every tenth has a call. It prints what Redis counts and spends for each, as
// BenchmarkParts does.
//
//	go test -run '^$' -bench Queues -benchtime 200x ./broker/redis
func BenchmarkQueues(b *testing.B) {
	for _, n := range []int{3, 100, 1000} {
		b.Run(fmt.Sprint("uris=", n), func(b *testing.B) {
			server := redistest.Start(b)
			r := newBroker(b, patient(withAddr(server.Addr))...)
			for range 2 {
				openCallee(b, r, uris(n, 20)...)
			}
			for i, uri := range uris(n, 20) {
				if i%10 == 0 {
					server.Client().LPush(b.Context(), "juggler:{0.0}:calls:"+uri, "call")
				}
			}
			spentBy(b, server, func() {
				for range b.N {
					if queues, all, err := r.ReadQueues(b.Context()); err != nil || !all || len(queues) != n {
						b.Fatal(len(queues), all, err)
					}
				}
			})
		})
	}
}
