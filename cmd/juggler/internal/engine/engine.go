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

	probes []probe
	close  []func() error
}

// A probe asks one Redis whether it is there.
type probe struct {
	address string
	client  goredis.UniversalClient
}

// silent takes the log of go-redis, which writes to the standard error, in a form of
// its own, what comes back as an error as well.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { goredis.SetLogger(silent{}) }

// Open opens the broker that the flags name; it connects later.
func (f *Flags) Open(log *slog.Logger) (*Engine, error) {
	if len(f.RPC) == 0 {
		if len(f.PubSub) > 0 {
			return nil, exit.With(exit.Usage, errors.New("--redis-pubsub goes with --redis"))
		}
		b, err := memory.New()
		if err != nil {
			return nil, err
		}
		return &Engine{Caller: b, Callee: b, PubSub: b, close: []func() error{b.Close}}, nil
	}
	e := &Engine{}
	rpc, err := e.open(f, "--redis", f.RPC, log)
	if err != nil {
		return nil, err
	}
	e.Caller, e.Callee, e.PubSub = rpc, rpc, rpc
	if len(f.PubSub) > 0 {
		events, err := e.open(f, "--redis-pubsub", f.PubSub, log)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.PubSub = events
	}
	return e, nil
}

// open opens one broker on Redis.
func (e *Engine) open(f *Flags, flag string, texts []string, log *slog.Logger) (*redis.Broker, error) {
	wrong := func(err error) error { return exit.With(exit.Usage, fmt.Errorf("%s: %w", flag, err)) }
	a, err := parseAddress(append([]string(nil), texts...))
	if err != nil {
		return nil, wrong(err)
	}
	options, err := f.brokerOptions(&a, log.With("redis", a.String()))
	if err != nil {
		return nil, wrong(err)
	}
	b, err := redis.New(options...)
	if err != nil {
		return nil, wrong(err)
	}
	client, err := a.client(f, 1, true)
	if err != nil {
		return nil, errors.Join(wrong(err), b.Close())
	}
	e.Redis = append(e.Redis, b)
	e.probes = append(e.probes, probe{a.String(), client})
	e.close = append(e.close, b.Close, client.Close)
	return b, nil
}

// Client returns a client of the Redis that --redis names, for measurements.
// Every goroutine that waits uses a connection of it.
func (f *Flags) Client(connections int) (goredis.UniversalClient, error) {
	if len(f.RPC) == 0 {
		return nil, exit.With(exit.Usage, errors.New("--redis is missing"))
	}
	a, err := parseAddress(append([]string(nil), f.RPC...))
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("--redis: %w", err))
	}
	client, err := a.client(f, connections, false)
	return client, exit.With(exit.Usage, err)
}

// Ping reports whether every Redis answers.
func (e *Engine) Ping(ctx context.Context) error {
	for _, p := range e.probes {
		if err := p.client.Ping(ctx).Err(); err != nil {
			return fmt.Errorf("redis %s: %w", p.address, err)
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
			return exit.With(exit.Unreachable, fmt.Errorf("%w; does it run there, and are the URL and the password right?", err))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Close closes the broker.
func (e *Engine) Close() error {
	var errs []error
	for _, c := range e.close {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
