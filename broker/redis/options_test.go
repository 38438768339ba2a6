package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	goredis "github.com/redis/go-redis/v9"
)

func TestOptions(t *testing.T) {
	server := redis.WithServer(&goredis.Options{Addr: "127.0.0.1:1"})
	client := goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	ring := goredis.NewRing(&goredis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}, HeartbeatFrequency: time.Hour})
	defer ring.Close()
	for _, test := range []struct {
		name string // of the option that is refused; "": none
		opts []redis.Option
	}{
		{"", []redis.Option{server}},
		{"", []redis.Option{redis.WithClient(client)}},
		{"", []redis.Option{redis.WithSentinel(&goredis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}})}},
		{"", []redis.Option{redis.WithCluster(&goredis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})}},
		{"exactly one", nil},
		{"exactly one", []redis.Option{server, server}},
		{"WithServer", []redis.Option{redis.WithServer(nil)}},
		{"WithSentinel", []redis.Option{redis.WithSentinel(&goredis.FailoverOptions{})}},
		{"", []redis.Option{redis.WithSentinelOptions(&goredis.Options{}), redis.WithSentinel(&goredis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}})}},
		{"WithSentinelOptions", []redis.Option{redis.WithSentinelOptions(nil)}},
		{"WithSentinelOptions", []redis.Option{server, redis.WithSentinelOptions(&goredis.Options{})}},
		{"WithCluster", []redis.Option{redis.WithCluster(&goredis.ClusterOptions{})}},
		{"WithClient", []redis.Option{redis.WithClient(ring)}},
		{"WithClient", []redis.Option{redis.WithClient(nil)}},
		{"WithClient", []redis.Option{redis.WithClient((*goredis.Client)(nil))}},
		{"nil Option", []redis.Option{server, nil}},
		{"", []redis.Option{server, redis.WithPrefix("a/B_9.-")}},
		{"WithPrefix", []redis.Option{server, redis.WithPrefix("")}},
		{"WithPrefix", []redis.Option{server, redis.WithPrefix("a{b}")}},
		{"WithPrefix", []redis.Option{server, redis.WithPrefix("a*")}},
		{"WithPrefix", []redis.Option{server, redis.WithPrefix(strings.Repeat("a", 65))}},
		{"WithLanes", []redis.Option{server, redis.WithLanes(0)}},
		{"WithLanes", []redis.Option{server, redis.WithLanes(257)}},
		{"", []redis.Option{server, redis.WithLanes(1)}},
		{"", []redis.Option{server, redis.WithLanes(256)}},
		{"WithQueueCapacity", []redis.Option{server, redis.WithQueueCapacity(0)}},
		{"", []redis.Option{server, redis.WithQueueCapacity(1)}},
		{"", []redis.Option{server, redis.WithQueueCapacity(10_000_000)}},
		{"WithQueueCapacity", []redis.Option{server, redis.WithQueueCapacity(10_000_001)}},
		{"WithCalleeGrace", []redis.Option{server, redis.WithCalleeGrace(-1)}},
		{"", []redis.Option{server, redis.WithCalleeGrace(0)}},
		{"WithCalleeGrace", []redis.Option{server, redis.WithCalleeGrace(time.Hour + 1)}},
		{"WithCalleeLease", []redis.Option{server, redis.WithCalleeLease(399 * time.Millisecond)}},
		{"", []redis.Option{server, redis.WithCalleeLease(time.Minute)}},
		{"WithCalleeLease", []redis.Option{server, redis.WithCalleeLease(time.Minute + 1)}},
		{"WithMaxBatch", []redis.Option{server, redis.WithMaxBatch(0)}},
		{"", []redis.Option{server, redis.WithMaxBatch(2000)}},
		{"WithMaxBatch", []redis.Option{server, redis.WithMaxBatch(2001)}},
		{"WithReplyTimeout", []redis.Option{server, redis.WithReplyTimeout(time.Millisecond)}},
		{"WithReplyTimeout", []redis.Option{server, redis.WithReplyTimeout(time.Hour)}},
		{"WithBackoff", []redis.Option{server, redis.WithBackoff(0, time.Second)}},
		{"WithBackoff", []redis.Option{server, redis.WithBackoff(time.Second, time.Millisecond)}},
		{"", []redis.Option{server, redis.WithBackoff(time.Millisecond, time.Minute)}},
		{"WithLogger", []redis.Option{server, redis.WithLogger(nil)}},
		{"WithLinkObserver", []redis.Option{server, redis.WithLinkObserver(nil)}},
	} {
		b, err := redis.New(test.opts...)
		switch {
		case test.name == "" && err != nil:
			t.Errorf("New: %v", err)
		case test.name == "":
			if err := b.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		case !errors.Is(err, redis.ErrInvalidOption) || !strings.Contains(err.Error(), test.name):
			t.Errorf("%s is not refused by its name: %v", test.name, err)
		}
	}
	// All problems are told at once.
	_, err := redis.New(redis.WithLanes(-1), redis.WithMaxBatch(-1))
	if text := fmt.Sprint(err); !strings.Contains(text, "WithLanes") || !strings.Contains(text, "WithMaxBatch") {
		t.Errorf("New: %v", err)
	}
}

// A broker that nobody can reach says so at once, and that a retry is worth it
// later.
func TestOutOfReach(t *testing.T) {
	b := newBroker(t, quick(withAddr("127.0.0.1:1"))...)
	for range 3 {
		start := time.Now()
		err := b.Publish(t.Context(), &broker.Event{Channel: "c"})
		if !errors.Is(err, broker.ErrUnavailable) || broker.RetryAfter(err) <= 0 || time.Since(start) > patience {
			t.Errorf("Publish returned %v after %v", err, time.Since(start))
		}
	}
	b.PublishBatch(t.Context(), []broker.Event{{Channel: "c"}}, make([]error, 1))
	if n := b.Stats().Published; n != 0 {
		t.Errorf("%d events that were refused count as published", n)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Publish(t.Context(), &broker.Event{Channel: "c"}); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("after Close, Publish returned %v", err)
	}
}
