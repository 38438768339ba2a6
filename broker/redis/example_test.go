package redis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/oklog/ulid/v2"
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

// A worker that only calls is a node of its own, with results of its own.
func ExampleBroker_OpenCaller() {
	b, err := redis.New(redis.WithServer(&goredis.Options{Addr: "localhost:6379"}))
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	node := broker.ID(ulid.Make())
	results := make(chan string, 1)
	conn, err := b.OpenCaller(ctx, node, func(batch []broker.Result) {
		for _, r := range batch {
			if r.Err != nil {
				results <- fmt.Sprintf("failed with %d: %s", r.Err.Code, r.Err.Message)
			} else {
				results <- string(r.Args)
			}
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	call := broker.Call{URI: "math.add", ReplyTo: broker.Address{Node: node}, Timeout: 5 * time.Second, Args: []byte(`[1,2]`)}
	if err := conn.Call(ctx, &call); err != nil {
		log.Fatal(err)
	}
	select {
	case r := <-results:
		fmt.Println(r)
	case <-ctx.Done():
		fmt.Println("no result in time")
	}
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
