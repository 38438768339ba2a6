package redis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/caller"
	goredis "github.com/redis/go-redis/v9"
)

// A cron job that only publishes needs no server and no subscriber.
func ExampleBroker_Publish() {
	b, err := redis.New(redis.WithServer(&goredis.Options{Addr: "localhost:6379"}))
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := broker.Publish(ctx, b, "news.go", map[string]string{"title": "hello"}, nil); err != nil {
		log.Fatal(err)
	}
}

// A worker that only calls needs no server, either.
func ExampleBroker_OpenCaller() {
	b, err := redis.New(redis.WithServer(&goredis.Options{Addr: "localhost:6379"}))
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	calls, err := caller.New(b) // opens the connection with the first call
	if err != nil {
		log.Fatal(err)
	}
	defer calls.Close()
	var sum int
	if err := calls.Call(context.Background(), "math.add", []int{1, 2}, &sum); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum)
}

// New only looks at its options: that Redis cannot be reached is told to
// those who use the broker, so that a server starts before its Redis does.
func ExampleNew() {
	b, err := redis.New(
		redis.WithCluster(&goredis.ClusterOptions{Addrs: []string{"10.0.0.1:6379", "10.0.0.2:6379"}}),
		redis.WithPrefix("shop"),
		redis.WithQueueCapacity(1000),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	_, err = redis.New(redis.WithQueueCapacity(0))
	fmt.Println(err)
	// Output:
	// redis: want exactly one of WithServer, WithSentinel, WithCluster, WithClient; got 0: invalid option
	// redis: WithQueueCapacity(0): want 1 to 10000000: invalid option
}
