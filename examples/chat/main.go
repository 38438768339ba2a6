// Chat is a whole application on juggler: rooms with rights and history, who is there, what is
// unread, a report with progress, an answer word by word. README.md says how to run and read it.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	jugglerprom "github.com/juggler-go/juggler/telemetry/prometheus"
)

// settings are what the command line and the environment say.
type settings struct{ role, listen, redis, db, web, metrics, secret string }

func main() {
	s := settings{secret: os.Getenv("CHAT_SECRET")}
	flag.StringVar(&s.role, "role", "all", "what this process is: a node, a callee, or all")
	flag.StringVar(&s.listen, "listen", "127.0.0.1:8080", "`address` that a node serves")
	flag.StringVar(&s.redis, "redis", "", "`URL` of Redis; without it, a broker in this process")
	flag.StringVar(&s.db, "db", "chat.db", "`file` of the callee's database")
	flag.StringVar(&s.web, "web", "web/dist", "`folder` with the built pages")
	flag.StringVar(&s.metrics, "metrics", "", "`address` that Prometheus asks; without it, none")
	flag.Parse()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("role", s.role)) // juggler's log, too
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process
	if err := run(ctx, s); err != nil {
		slog.Error("the chat has ended", "error", err)
		os.Exit(1)
	}
}

// run is this process until ctx ends.
func run(ctx context.Context, s settings) error {
	stopTelemetry, err := startTelemetry(ctx, s.metrics)
	if err != nil {
		return err
	}
	b, err := openBroker(s.redis)
	if err != nil {
		return err
	}
	switch s.role {
	case "node":
		err = serve(ctx, b, s)
	case "callee":
		err = answerCalls(ctx, b, s.db)
	default:
		err = doBoth(ctx, b, s)
	}
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, b.Close(), stopTelemetry(last))
}

// doBoth ends the callee last: sessions wait for its answers.
func doBoth(ctx context.Context, b engine, s settings) error {
	ctx, stop := context.WithCancel(ctx)
	calls, endCalls := context.WithCancel(context.WithoutCancel(ctx))
	answered := make(chan error, 1)
	go func() {
		defer stop() // nothing goes without it
		answered <- answerCalls(calls, b, s.db)
	}()
	err := serve(ctx, b, s)
	endCalls()
	return errors.Join(err, <-answered)
}

// An engine is a broker in all its roles.
type engine interface {
	broker.Caller
	broker.Callee
	broker.PubSub
	Close() error
}

// history is how long events are kept for clients that were away. What is older they read from
// the database.
var history = []broker.HistoryRule{
	{Channels: "room.*", Events: 200, For: time.Hour},
	{Channels: "reads.*", Events: 50, For: time.Hour},
}

func openBroker(url string) (engine, error) {
	if url == "" {
		b, err := memory.New(memory.WithHistory(history...))
		if err == nil {
			prometheus.MustRegister(jugglerprom.NewMemoryCollector(b))
		}
		return b, err
	}
	options, err := goredis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	b, err := redis.New(redis.WithServer(options), redis.WithHistory(history...))
	if err == nil {
		prometheus.MustRegister(jugglerprom.NewRedisCollector(b))
	}
	return b, err
}
