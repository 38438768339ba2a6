package redis_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// Calls that come while the broker closes, for URIs of lanes that it has not
// used yet, are refused. Its reapers looked at those lanes, which do not exist,
// and the process died.
func TestCallsWhileClosing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	b, err := redis.New(quick(withAddr(server.Addr), redis.WithLanes(256), redis.WithCalleeLease(400*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	// Subscribers whose callbacks wait keep Close waiting, whichever connection
	// it closes first.
	held, release := make(chan struct{}, 20), make(chan struct{})
	for range cap(held) {
		s, err := b.OpenSubscriber(t.Context(), func([]broker.Delivery) {
			held <- struct{}{}
			<-release
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Subscribe(t.Context(), broker.Topic{Name: "news"}); err != nil {
			t.Fatal(err)
		}
	}
	callers := make([]broker.CallerConn, 8)
	for i := range callers {
		if callers[i], err = b.OpenCaller(t.Context(), broker.ID{byte(i)}, func([]broker.Result) {}); err != nil {
			t.Fatal(err)
		}
	}
	call := func(node int, uri string) error {
		to := broker.Address{Node: broker.ID{byte(node)}}
		return callers[node].Call(t.Context(), &broker.Call{URI: uri, ReplyTo: to, Timeout: time.Second})
	}
	for node := range callers {
		if err := call(node, "u"); !errors.Is(err, broker.ErrNoCallee) {
			t.Errorf("Call: %v", err)
		}
	}
	if err := b.Publish(t.Context(), &broker.Event{Channel: "news"}); err != nil {
		t.Fatal(err)
	}
	for range cap(held) {
		<-held
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		b.Close()
	}()
	await(t, "the broker closes", func() bool {
		_, err := b.OpenSubscriber(t.Context(), func([]broker.Delivery) {})
		return errors.Is(err, broker.ErrClosed)
	})
	for i := range 2560 {
		if err := call(i%len(callers), strconv.Itoa(i)); err == nil {
			t.Error("a call to a URI that nobody serves was queued")
		}
	}
	before := scriptsRun(t, admin)
	await(t, "the reapers look again", func() bool { return scriptsRun(t, admin) > before+2*len(callers) })
	close(release)
	<-closed
}

// scriptsRun returns how many scripts the server has run.
func scriptsRun(t *testing.T, c *goredis.Client) int {
	t.Helper()
	info, err := c.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, info, _ = strings.Cut(info, "cmdstat_evalsha:calls=")
	digits, _, _ := strings.Cut(info, ",")
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
