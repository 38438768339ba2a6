package redis_test

import (
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// Systems in two databases of a server do not hear of each other, though Redis has
// the same channels for both.
func TestDatabases(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, more := range map[string][]redis.Option{
		"classic": nil,
		"sharded": {redis.WithShardedPubSub(), redis.WithLanes(4)},
	} {
		t.Run(name, func(t *testing.T) {
			in := func(database int) *redis.Broker {
				option := redis.WithServer(&goredis.Options{Addr: server.Addr, DB: database})
				return newBroker(t, calm(append(more, option)...)...)
			}
			zero, three := in(0), in(3)
			here, there := listen(t, zero, broker.Topic{Name: "news"}), listen(t, three, broker.Topic{Name: "news"})
			for _, b := range []*redis.Broker{zero, three} {
				if err := b.Publish(t.Context(), &broker.Event{Channel: "news", Args: []byte("stray")}); err != nil {
					t.Fatal(err)
				}
			}
			here.hears(t, in(0), "news")
			there.hears(t, in(3), "news")
			for _, l := range []*listener{here, there} {
				if n := strings.Count(l.got(), "stray"); n != 1 {
					t.Errorf("%d events were heard where one was published", n)
				}
			}
		})
	}
}
