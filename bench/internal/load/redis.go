package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisUsage is what a Redis server has used since it began.
type redisUsage struct {
	cpu      time.Duration
	commands int // that it counted, those inside scripts too
	sent     int // that it was sent, at most
	reads    int // of a channel's kept events
}

// redisInfo asks a Redis server what it has used.
type redisInfo struct{ client *redis.Client }

func newRedisInfo(addr string) *redisInfo {
	return &redisInfo{redis.NewClient(&redis.Options{Addr: addr})}
}

func (i *redisInfo) close() { _ = i.client.Close() }

func (i *redisInfo) read() (redisUsage, error) {
	text, err := i.client.Info(context.Background(), "cpu", "commandstats").Result()
	if err != nil {
		return redisUsage{}, fmt.Errorf("load: INFO: %w", err)
	}
	return parseRedisInfo(text)
}

// connections returns how many clients the server has beside i.
func (i *redisInfo) connections() (int, error) {
	list, err := i.client.ClientList(context.Background()).Result()
	if err != nil {
		return 0, fmt.Errorf("load: CLIENT LIST: %w", err)
	}
	return strings.Count(strings.TrimSpace(list), "\n"), nil // a line each, ours among them
}

// sentOnly are the commands that juggler sends and its scripts do not call.
// With each BRPOP goes at most one RPOP; the scripts call RPOP and, for events
// that are kept, PUBLISH too, so the sum of these is an upper bound.
var sentOnly = map[string]int{
	"evalsha": 1, "evalsha_ro": 1, "eval": 1, "script|load": 1, "brpop": 2, "bzpopmin": 1,
	"subscribe": 1, "ssubscribe": 1, "publish": 1, "spublish": 1, "ping": 1,
}

// readsKept are the commands that read kept events: juggler's list of a channel,
// centrifuge's stream.
var readsKept = map[string]bool{"lrange": true, "xrange": true}

func parseRedisInfo(text string) (u redisUsage, err error) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), ":")
		switch {
		case !ok:
		case name == "used_cpu_sys" || name == "used_cpu_user":
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return u, fmt.Errorf("load: INFO: %w", err)
			}
			u.cpu += time.Duration(seconds * float64(time.Second))
		case strings.HasPrefix(name, "cmdstat_"):
			calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
			n, err := strconv.Atoi(calls)
			if err != nil {
				return u, fmt.Errorf("load: INFO: %w", err)
			}
			u.commands += n
			name = strings.TrimPrefix(name, "cmdstat_")
			u.sent += n * sentOnly[name]
			if readsKept[name] {
				u.reads += n
			}
		}
	}
	return u, lines.Err()
}

// runRedisPair measures what any RPC over Redis lists is made of: one
// goroutine that pushes, one that pops, each waiting for every reply.
func runRedisPair(s Spec) (r Result, err error) {
	client := redis.NewClient(&redis.Options{Addr: s.Redis})
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	value := filler(s.Payload)
	var popped atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, 2)
	run := func(i int, step func() error) {
		wait.Go(func() {
			for ctx.Err() == nil {
				if err := step(); err != nil && ctx.Err() == nil {
					errs[i] = err
					return
				}
			}
		})
	}
	run(0, func() error { return client.LPush(ctx, "pair", value).Err() })
	run(1, func() error {
		_, err := client.BRPop(ctx, time.Second, "pair").Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		popped.Add(1)
		return err
	})
	time.Sleep(s.Warmup)
	err = measure(s, &r, func() error {
		first := popped.Load()
		time.Sleep(s.Window)
		r.Messages = int(popped.Load() - first)
		return nil
	})
	cancel()
	wait.Wait()
	return r, errors.Join(append(errs, err)...)
}

// runRedisPing measures the bare round trip to Redis: PING, one at a time.
func runRedisPing(s Spec) (r Result, err error) {
	client := redis.NewClient(&redis.Options{Addr: s.Redis})
	defer client.Close()
	ctx := context.Background()
	var latencies histogram
	pingFor := func(d time.Duration) error {
		for end := time.Now().Add(d); ; {
			began := time.Now()
			if began.After(end) {
				return nil
			}
			if err := client.Ping(ctx).Err(); err != nil {
				return err
			}
			latencies.add(int64(time.Since(began)))
		}
	}
	if err := pingFor(s.Warmup); err != nil {
		return r, err
	}
	latencies = histogram{}
	err = measure(s, &r, func() error { return pingFor(s.Window) })
	r.Messages = latencies.total
	r.P50, r.P99 = latencies.quantile(0.50), latencies.quantile(0.99)
	return r, err
}
