package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// A connection that can be made but is lost each time when subscriptions are
// asked for is made anew after a pause: it was made again at once, hundreds of
// times a second.
func TestFeedBackoff(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	b := newBroker(t, calm(withAddr(proxy.Addr), redis.WithBackoff(time.Minute, time.Minute))...)
	listen(t, b, broker.Topic{Name: "news"})
	var lost atomic.Int64
	proxy.Swallow(func(reply []byte) bool {
		if bytes.Contains(reply, []byte(":probe:")) { // which comes first
			lost.Add(1)
			return true
		}
		return false
	})
	proxy.CutOnce()
	await(t, "the connection was lost again", func() bool { return lost.Load() > 0 })
	other := newBroker(t, calm(withAddr(server.Addr))...)
	for range 2000 { // which takes longer than to connect once more
		if err := other.Publish(t.Context(), &broker.Event{Channel: "c"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := lost.Load(); n > 2 {
		t.Errorf("the connection was made %d times", n)
	}
}

// Subscriptions that the server refuses to restore are asked for until it does:
// they were forgotten, and never got an event or a gap again.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	acl := func(rules ...any) {
		t.Helper()
		if err := admin.Do(context.Background(), append([]any{"ACL", "SETUSER", "limited"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	acl("on", "nopass", "~*", "&*", "+@all")
	option := redis.WithServer(&goredis.Options{Addr: server.Addr, Username: "limited", Password: "any"})
	var log lockedBuffer
	b := newBroker(t, calm(option, withLog(&log))...)
	heard := listen(t, b, broker.Topic{Name: "a"}, broker.Topic{Name: "b"})
	acl("resetchannels") // which ends connections with such subscriptions
	await(t, "it is said that a subscription cannot be restored", func() bool {
		return strings.Contains(log.String(), "cannot be restored") && strings.Contains(log.String(), "NOPERM")
	})
	if err := heard.conn.Subscribe(t.Context(), broker.Topic{Name: "c"}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Subscribe: %v", err)
	}
	acl("&*")
	heard.hearsAgain(t, b, "a")
	heard.hearsAgain(t, b, "b")
}

// Subscriptions that are asked for at once share commands: often a third of them had one
// of its own.
func TestSubscriptionsShareCommands(t *testing.T) {
	t.Parallel()
	const rounds, many = 5, 500
	server := redistest.Start(t)
	rule := broker.HistoryRule{Channels: "kept.*", Events: 10, For: time.Minute}
	b := newBroker(t, calm(withAddr(server.Addr), redis.WithHistory(rule))...)
	l := listen(t, b)
	for name, subscribe := range map[string]func(channel string) error{
		"room": func(channel string) error { return l.conn.Subscribe(t.Context(), broker.Topic{Name: channel}) },
		"kept": func(channel string) error {
			start, err := l.conn.(broker.HistorySubscriber).SubscribeKept(t.Context(), channel)
			if err == nil && start.IsZero() {
				t.Errorf("nothing is known of %s", channel)
			}
			return err
		},
	} {
		subscribes, scripts := counted(t, server, "subscribe"), counted(t, server, "evalsha")
		for round := range rounds {
			var all sync.WaitGroup
			for i := range many {
				all.Go(func() {
					if err := subscribe(fmt.Sprint(name, ".", round, ".", i)); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		subscribes, scripts = counted(t, server, "subscribe")-subscribes, counted(t, server, "evalsha")-scripts
		if subscribes > rounds*many/10 {
			t.Errorf("%s: %d commands for %d subscriptions", name, subscribes, rounds*many)
		}
		if scripts > rounds*many/10 {
			t.Errorf("%s: %d scripts for %d subscriptions", name, scripts, rounds*many)
		}
	}
	reads, pages := make([]broker.Read, many), make([]broker.Page, many)
	for i := range reads {
		reads[i] = broker.Read{Channel: fmt.Sprint("kept.0.", i), Last: 3}
	}
	scripts := counted(t, server, "evalsha")
	b.ReadKept(t.Context(), reads, pages)
	if n := counted(t, server, "evalsha") - scripts; n > many/100 {
		t.Errorf("%d scripts read the pages of %d channels", n, many)
	}
}
