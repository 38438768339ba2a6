// Once is a callee whose effects happen once, whatever dies: it stores the key of a call in
// the transaction that has the effect. It answers order.pay for the servers on a Redis, such
// as juggler serve --redis.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"log"
	"net/url"
	"os/signal"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
)

func main() {
	server := flag.String("redis", "redis://127.0.0.1:6379", "`URL` of Redis")
	lease := flag.Duration("lease", 5*time.Second, "after so much silence this callee counts as dead")
	path := flag.String("db", "orders.db", "`file` of the database")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *server, *lease, *path); err != nil {
		log.Fatal(err)
	}
}

// run answers calls until ctx ends.
func run(ctx context.Context, server string, lease time.Duration, path string, middleware ...func(calleekit.Handler) calleekit.Handler) error {
	options, err := goredis.ParseURL(server)
	if err != nil {
		return err
	}
	db, err := openDB(ctx, path)
	if err != nil {
		return err
	}
	defer db.Close()
	b, err := redis.New(redis.WithServer(options), redis.WithCalleeLease(lease))
	if err != nil {
		return err
	}
	callee, err := calleekit.New(b)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	callee.Use(middleware...)
	callee.Handle("order.pay", calleekit.Typed(shop{db}.pay))
	return errors.Join(callee.Run(ctx), b.Close())
}

// openDB opens the database, which several processes may have open.
func openDB(ctx context.Context, path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, schema+`;
CREATE TABLE IF NOT EXISTS payments (
	number       INTEGER PRIMARY KEY,
	order_number TEXT NOT NULL,
	cents        INTEGER NOT NULL
)`); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

type shop struct{ db *sql.DB }

type order struct {
	Number string `json:"number"`
	Cents  int64  `json:"cents"`
}

type receipt struct {
	Payment int64 `json:"payment"`
}

func (s shop) pay(ctx context.Context, o order) (receipt, error) {
	if o.Cents <= 0 {
		return receipt{}, calleekit.Errorf(422, "an order of %d cents cannot be paid", o.Cents)
	}
	return once(ctx, s.db, func(tx *sql.Tx) (receipt, error) {
		payment, err := tx.ExecContext(ctx, `INSERT INTO payments (order_number, cents) VALUES (?, ?)`, o.Number, o.Cents)
		if err != nil {
			return receipt{}, err
		}
		number, err := payment.LastInsertId()
		return receipt{number}, err
	})
}
