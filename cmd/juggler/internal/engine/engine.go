package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
)

// An Engine is an open broker: of the calls, and of the events.
type Engine struct {
	Caller broker.Caller
	Callee broker.Callee
	PubSub broker.PubSub

	Redis []*redis.Broker // what Caller and PubSub are, for metrics; empty: the embedded broker

	Memory *memory.Broker // the embedded broker, or nil

	addresses []string // of Redis, by index
	entries   []*entry
	close     []func() error
}

// silent takes the log of go-redis, which writes to the standard error, in a form of
// its own, what comes back as an error as well.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { goredis.SetLogger(silent{}) }

// Open opens the broker that the flags name; it connects later.
func (f *Flags) Open(log *slog.Logger) (*Engine, error) {
	if len(f.RPC) == 0 {
		if err := f.checkEmbedded(); err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		b, err := memory.New(f.memoryOptions()...)
		if err != nil {
			return nil, err
		}
		return &Engine{Caller: b, Callee: b, PubSub: b, Memory: b, close: []func() error{b.Close}}, nil
	}
	rpc, err := parse("--redis", f.RPC)
	if err != nil {
		return nil, err
	}
	addresses := []*address{rpc}
	if len(f.PubSub) > 0 {
		events, err := parse("--redis-pubsub", f.PubSub)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, events)
	}
	if err := f.check(addresses...); err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	e := &Engine{}
	for i, flag := range []string{"--redis", "--redis-pubsub"}[:len(addresses)] {
		var history []redis.Option
		if i == len(addresses)-1 {
			history = f.redisHistory()
		}
		b, err := e.open(f, addresses[i], i > 0, log, history...)
		if err != nil {
			return nil, errors.Join(exit.With(exit.Usage, fmt.Errorf("%s: %w", flag, err)), e.Close())
		}
		if i == 0 {
			e.Caller, e.Callee = b, b
		}
		e.PubSub = b
	}
	return e, nil
}

// parse parses what a flag says.
func parse(flag string, texts []string) (*address, error) {
	a, err := parseAddress(append([]string(nil), texts...))
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("%s: %w", flag, err))
	}
	return &a, nil
}

// open opens one broker on Redis, with more options than what all of them have.
func (e *Engine) open(f *Flags, a *address, events bool, log *slog.Logger, more ...redis.Option) (*redis.Broker, error) {
	masters, sentinels, err := f.entries(a, events)
	if err != nil {
		return nil, err
	}
	b, err := redis.New(append(f.brokerOptions(a, masters, sentinels, log.With("redis", a.String())), more...)...)
	if err != nil {
		return nil, err
	}
	e.Redis = append(e.Redis, b)
	e.addresses = append(e.addresses, a.String())
	e.entries = append(e.entries, masters)
	if sentinels != nil {
		e.entries = append(e.entries, sentinels)
	}
	e.close = append(e.close, b.Close)
	return b, nil
}

// Client returns a client of the Redis that --redis names, for measurements.
// Every goroutine that waits uses a connection of it.
func (f *Flags) Client(connections int) (goredis.UniversalClient, error) {
	if len(f.RPC) == 0 {
		return nil, exit.With(exit.Usage, errors.New("--redis is missing"))
	}
	a, err := parse("--redis", f.RPC)
	if err != nil {
		return nil, err
	}
	if err := f.check(a); err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	masters, sentinels, err := f.entries(a, false)
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("--redis: %w", err))
	}
	return a.client(masters, sentinels, connections), nil
}

// Reload reads the passwords and certificates for Redis again. New connections use
// them. Of a Redis for which something is wrong, all stays as it was.
func (e *Engine) Reload() error {
	var errs []error
	for _, entry := range e.entries {
		errs = append(errs, entry.reload())
	}
	return errors.Join(errs...)
}

// Ping reports whether every Redis answers.
func (e *Engine) Ping(ctx context.Context) error {
	for i, b := range e.Redis {
		if err := b.Ping(ctx); err != nil {
			return fmt.Errorf("redis %s: %w", e.addresses[i], err)
		}
	}
	return nil
}

// Health reports whether each broker does its work.
func (e *Engine) Health(context.Context) error {
	for i, b := range e.Redis {
		if err := b.Health(); err != nil {
			return fmt.Errorf("redis %s: %w", e.addresses[i], err)
		}
	}
	return nil
}

// askTimeout is what a Redis has for an answer, at least.
const askTimeout = time.Second

// Await waits until every Redis answers, and asks for at most the given time, but
// once at least. If ctx ends first there is nothing to wait for: that is no error.
func (e *Engine) Await(ctx context.Context, most time.Duration) error {
	end := time.Now().Add(most)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, max(time.Until(end), askTimeout))
		err := e.Ping(asking)
		cancel()
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case time.Now().After(end):
			return exit.With(exit.Unreachable, fmt.Errorf("%w; %s", err, hint(err)))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Address returns what the settings call the i-th of e.Redis.
func (e *Engine) Address(i int) string { return e.addresses[i] }

// Close closes the broker.
func (e *Engine) Close() error {
	var errs []error
	for _, c := range e.close {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
