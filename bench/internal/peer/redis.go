package peer

import (
	"errors"
	"os"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
)

// RedisVariable is the environment variable that says where Redis is, for the
// servers that need one.
const RedisVariable = "JUGGLER_BENCH_REDIS"

func redisAddr() (string, error) {
	addr := os.Getenv(RedisVariable)
	if addr == "" {
		return "", errors.New("peer: " + RedisVariable + " is not set")
	}
	return addr, nil
}

func redisBroker(options ...redis.Option) (*redis.Broker, error) {
	addr, err := redisAddr()
	if err != nil {
		return nil, err
	}
	return redis.New(append(options, redis.WithServer(&goredis.Options{Addr: addr}), redis.WithQueueCapacity(1<<16))...)
}

// jugglerRedis is a node whose calls go through Redis.
func jugglerRedis(options ...juggler.Option) (string, error) {
	b, err := redisBroker()
	if err != nil {
		return "", err
	}
	return startNode(serveHTTP, b, options...)
}

// jugglerRedisHistory is a node whose events go through Redis, which keeps some.
func jugglerRedisHistory() (string, error) {
	b, err := redisBroker(redis.WithHistory(historyRule))
	if err != nil {
		return "", err
	}
	return startNode(serveHTTP, b)
}

// redisCallee answers those calls in a process of its own, which nobody
// connects to.
func redisCallee(concurrency int) (string, error) {
	b, err := redisBroker()
	if err != nil {
		return "", err
	}
	return "none", startCallee(b, []string{"echo"}, calleekit.WithConcurrency(concurrency))
}
