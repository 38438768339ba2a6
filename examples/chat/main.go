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

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
)

// settings are what the command line and the environment say.
type settings struct {
	role, listen, redis, db, web, secret string
}

func main() {
	s := settings{secret: os.Getenv("CHAT_SECRET")}
	flag.StringVar(&s.role, "role", "all", "what this process is: a node, a callee, or all")
	flag.StringVar(&s.listen, "listen", "127.0.0.1:8080", "`address` that a node serves")
	flag.StringVar(&s.redis, "redis", "", "`URL` of Redis; without it, a broker in this process")
	flag.StringVar(&s.db, "db", "chat.db", "`file` of the callee's database")
	flag.StringVar(&s.web, "web", "web/dist", "`folder` with the built pages")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("role", s.role)
	slog.SetDefault(log) // for all of juggler, too
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, stop, s)
	stop()
	if err != nil {
		log.Error("the chat has ended", "error", err)
		os.Exit(1)
	}
}

// run is this process until ctx ends. It stops in the reverse order of the start: sessions wait
// for answers of the callee, and both need the broker. stop has a second signal end the process.
func run(ctx context.Context, stop func(), s settings) (err error) {
	var stops []func(context.Context) error
	defer func() {
		stop()
		grace, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for i := len(stops) - 1; i >= 0; i-- {
			err = errors.Join(err, stops[i](grace))
		}
	}()
	b, err := openBroker(s)
	if err != nil {
		return err
	}
	stops = append(stops, func(context.Context) error { return b.Close() })
	if s.role != "node" {
		db, err := openStore(ctx, s.db)
		if err != nil {
			return err
		}
		stops = append(stops, func(context.Context) error { return db.Close() })
		callee, err := newCallee(b, db)
		if err == nil {
			err = callee.Start(ctx)
		}
		if err != nil {
			return err
		}
		stops = append(stops, callee.Shutdown)
	}
	failed := make(chan error, 1)
	if s.role != "callee" {
		shutdown, err := startNode(b, s, failed)
		if err != nil {
			return err
		}
		stops = append(stops, shutdown)
	}
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	return err
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

func openBroker(s settings) (engine, error) {
	if s.redis == "" {
		return memory.New(memory.WithHistory(history...))
	}
	options, err := goredis.ParseURL(s.redis)
	if err != nil {
		return nil, err
	}
	return redis.New(redis.WithServer(options), redis.WithHistory(history...))
}
