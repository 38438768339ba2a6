package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/option/optiontest"
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
		{"New(nil): want an Option", []redis.Option{server, nil}},
		{"", []redis.Option{server, redis.WithPrefix("a/B_9.-")}},
		{"WithPrefix", []redis.Option{server, redis.WithPrefix("")}},
		{"WithPrefix", []redis.Option{server, redis.WithPrefix("a{b}")}},
		{"WithPrefix", []redis.Option{server, redis.WithPrefix("a*")}},
		{"WithPrefix", []redis.Option{server, redis.WithPrefix(strings.Repeat("a", 65))}},
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
	try := func(o redis.Option) error {
		b, err := redis.New(server, o)
		if err == nil {
			b.Close()
		}
		return err
	}
	optiontest.Range(t, option.RedisLanes, redis.WithLanes, try)
	optiontest.Range(t, option.RedisQueueCapacity, redis.WithQueueCapacity, try)
	optiontest.Range(t, option.RedisMaxBatch, redis.WithMaxBatch, try)
	optiontest.Range(t, option.RedisCalleeGrace, redis.WithCalleeGrace, try)
	optiontest.Range(t, option.RedisCalleeLease, redis.WithCalleeLease, try)
	optiontest.Range(t, option.RedisReplyTimeout, redis.WithReplyTimeout, try)
	optiontest.Backoff(t, option.RedisBackoff, redis.WithBackoff, try)
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
