// Package pushpop measures the simplest queue on Redis, LPUSH and BRPOP: what
// the rates of a broker on the same server are compared with.
package pushpop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/oklog/ulid/v2"
	goredis "github.com/redis/go-redis/v9"
)

// Config says what to do.
type Config struct {
	Pairs    int // of a goroutine that pushes and one that pops, each pair on a list of its own
	Payload  int // bytes of a value
	Duration time.Duration
}

// Result is what was measured. Latencies are those of one LPUSH, in
// milliseconds.
type Result struct {
	Pushed   uint64  `json:"pushed"`
	Popped   uint64  `json:"popped"`
	Duration float64 `json:"duration"`
	Rate     float64 `json:"popped_per_second"`
	P50      float64 `json:"push_p50_ms"`
	P99      float64 `json:"push_p99_ms"`
	Max      float64 `json:"push_max_ms"`
}

// maxBacklog is how far pushing may run ahead of popping, in values.
const maxBacklog = 1000

// popTimeout is that of BRPOP, after which it looks whether the time is over.
const popTimeout = time.Second

// pair is a list with who pushes and who pops.
type pair struct {
	client  goredis.UniversalClient
	key     string
	value   string
	pushed  atomic.Uint64
	popped  atomic.Uint64
	latency *hdrhistogram.Histogram
}

// Run pushes and pops until the time is over or ctx ends, and deletes what it
// left.
func Run(ctx context.Context, client goredis.UniversalClient, c Config) (*Result, error) {
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, c.Duration)
	defer cancel()
	name := ulid.Make().String()
	pairs := make([]*pair, c.Pairs)
	errs := make(chan error, 2*c.Pairs)
	var running sync.WaitGroup
	start := time.Now()
	for i := range pairs {
		p := &pair{client: client, key: fmt.Sprintf("juggler-bench:{%s:%d}", name, i), value: strings.Repeat("x", c.Payload),
			latency: hdrhistogram.New(1, 60_000_000, 3)}
		pairs[i] = p
		running.Go(func() { errs <- p.push(limited) })
		running.Go(func() { errs <- p.pop(limited) })
	}
	running.Wait()
	result := &Result{Duration: time.Since(start).Seconds()}
	latency := hdrhistogram.New(1, 60_000_000, 3)
	var failures []error
	for _, p := range pairs {
		result.Pushed += p.pushed.Load()
		result.Popped += p.popped.Load()
		latency.Merge(p.latency)
		failures = append(failures, client.Del(context.WithoutCancel(ctx), p.key).Err())
	}
	close(errs)
	for err := range errs {
		failures = append(failures, err)
	}
	result.Rate = float64(result.Popped) / result.Duration
	result.P50 = float64(latency.ValueAtPercentile(50)) / 1000
	result.P99 = float64(latency.ValueAtPercentile(99)) / 1000
	result.Max = float64(latency.Max()) / 1000
	return result, errors.Join(failures...)
}

// push pushes one value after the other, and waits where popping is far behind.
func (p *pair) push(ctx context.Context) error {
	for ctx.Err() == nil {
		if p.pushed.Load()-p.popped.Load() > maxBacklog {
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
			continue
		}
		start := time.Now()
		if err := p.client.LPush(ctx, p.key, p.value).Err(); err != nil {
			return unlessOver(ctx, err)
		}
		p.pushed.Add(1)
		_ = p.latency.RecordValue(min(max(time.Since(start).Microseconds(), 1), 60_000_000)) // within bounds
	}
	return nil
}

// pop pops one value after the other.
func (p *pair) pop(ctx context.Context) error {
	for ctx.Err() == nil {
		err := p.client.BRPop(ctx, popTimeout, p.key).Err()
		switch {
		case err == nil:
			p.popped.Add(1)
		case !errors.Is(err, goredis.Nil):
			return unlessOver(ctx, err)
		}
	}
	return nil
}

// unlessOver returns err, or nil if the time is over, which is why it failed.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
