package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/child"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
)

// lease is short, so that a callee soon counts as dead.
const lease = 400 * time.Millisecond

// TestMain makes a callee of the process if CALLEE says so. One that dies is killed between
// the effect and the answer.
func TestMain(m *testing.M) {
	var middleware []func(calleekit.Handler) calleekit.Handler
	switch os.Getenv("CALLEE") {
	case "":
		os.Exit(m.Run())
	case "dies":
		middleware = append(middleware, dieBeforeTheAnswer)
	}
	if err := run(context.Background(), os.Args[1], lease, os.Args[2], middleware...); err != nil {
		panic(err)
	}
}

func dieBeforeTheAnswer(next calleekit.Handler) calleekit.Handler {
	return calleekit.HandlerFunc(func(ctx context.Context, c *calleekit.Call) (any, error) {
		if _, err := next.ServeCall(ctx, c); err != nil {
			return nil, err
		}
		return nil, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	})
}

// A system is Redis, the database of the callees, and a client.
type system struct {
	*testing.T
	server *redistest.Server
	path   string
	client *client.Client
}

// connect starts a node, and a client of it.
func (s *system) connect() {
	s.Helper()
	b, err := redis.New(redis.WithServer(&goredis.Options{Addr: s.server.Addr}), redis.WithCalleeLease(lease))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { b.Close() })
	h, err := juggler.New(juggler.WithBroker(b), juggler.WithAuthorizer(juggler.AllowAll()),
		juggler.WithLogger(slog.New(slog.DiscardHandler)), // it is told of callees that come and go
		juggler.WithKeyScope(func(juggler.Session) string { return "guests" }),
		juggler.WithOutcomes(juggler.OutcomeRule{URIs: "order.*", Repeatable: true}))
	if err != nil {
		s.Fatal(err)
	}
	node := httptest.NewServer(h)
	s.Cleanup(node.Close)
	s.Cleanup(func() { h.Shutdown(context.Background()) })
	if s.client, err = client.Dial(s.Context(), strings.Replace(node.URL, "http", "ws", 1)); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { s.client.Close() })
}

// startCallee starts a callee in a process of its own.
func (s *system) startCallee(how string) {
	s.Helper()
	callee := exec.Command(os.Args[0], "redis://"+s.server.Addr, s.path)
	callee.Env = append(os.Environ(), "CALLEE="+how)
	callee.Stderr = os.Stderr
	if err := child.Start(callee); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		callee.Process.Kill()
		callee.Wait()
	})
}

func (s *system) pay(key string) (receipt, error) {
	var r receipt
	err := s.client.Call(s.Context(), "order.pay", order{Number: "17", Cents: 4200}, &r, client.Key(key))
	return r, err
}

// wantPaid checks that the order has been paid once, with the first payment.
func (s *system) wantPaid(when string, r receipt, err error) {
	s.Helper()
	if err != nil || r.Payment != 1 {
		s.Errorf("%s: got %+v, %v, want the first payment", when, r, err)
	}
	db, err := openDB(s.Context(), s.path)
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	var payments int
	if err := db.QueryRow(`SELECT count(*) FROM payments`).Scan(&payments); err != nil || payments != 1 {
		s.Errorf("%s: %d payments, %v, want one", when, payments, err)
	}
}

// payWhenServed waits for the callee.
func (s *system) payWhenServed(key string) (r receipt, err error) {
	s.Helper()
	waiting.Until(s, "the callee is known", func() bool {
		r, err = s.pay(key)
		return !errors.Is(err, client.CodeNoCallee) && !errors.Is(err, client.CodeUnavailable)
	})
	return r, err
}

// A callee is killed when it has paid and nobody knows. Whoever calls again with the key gets
// what it would have answered, and nothing is paid twice.
func TestPaysOnce(t *testing.T) {
	s := &system{T: t, server: redistest.Start(t), path: filepath.Join(t.TempDir(), "orders.db")}
	s.connect()
	s.startCallee("dies")
	if _, err := s.payWhenServed("order-17"); !errors.Is(err, client.CodeCalleeLost) {
		t.Errorf("the callee is killed: got %v", err)
	}
	s.startCallee("lives")
	r, err := s.payWhenServed("order-17")
	s.wantPaid("called again", r, err)

	s.server.Do("FLUSHALL") // as a failover to a replica that lacked it
	waiting.Until(t, "Redis knows the node again", func() bool {
		return len(s.server.Do("KEYS", "*:node:*").([]any)) > 0
	})
	r, err = s.payWhenServed("order-17")
	s.wantPaid("called again after Redis has lost the outcome", r, err)

	if r, err := s.pay("order-18"); err != nil || r.Payment != 2 {
		t.Errorf("another key: got %+v, %v, want the second payment", r, err)
	}
}

// Runs of one call at the same time, as after a failover, have one effect. One that fails has
// none, and the next run is the first.
func TestRunsAtOnce(t *testing.T) {
	db, err := openDB(t.Context(), filepath.Join(t.TempDir(), "orders.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	fail := calleekit.Typed(func(ctx context.Context, _ order) (receipt, error) {
		return once(ctx, db, func(*sql.Tx) (receipt, error) { return receipt{}, errors.New("no") })
	})
	run := func(f calleekit.HandlerFunc, key string) (string, error) {
		r := calleekit.Recorder{Key: key}
		answer, err := r.Serve(t.Context(), f, &calleekit.Call{Args: []byte(`{"number":"17","cents":4200}`)})
		return string(answer), err
	}
	if _, err := run(fail, "k"); err == nil {
		t.Error("what fails has an answer")
	}
	_, err = run(calleekit.Typed(shop{db}.pay), "")
	if refusal, ok := errors.AsType[*calleekit.Error](err); !ok || refusal.Code != calleekit.CodeBadRequest {
		t.Errorf("without a key: got %v", err)
	}
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			if got, err := run(calleekit.Typed(shop{db}.pay), "k"); err != nil || got != `{"payment":1}` {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	running.Wait()
}
