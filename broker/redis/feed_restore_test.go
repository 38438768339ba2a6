package redis_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
)

// All subscriptions are asked for anew after a lost connection. The confirmations
// are output of the server, which closes a connection that has too much of it: so
// the subscriptions were never restored.
func TestRestoreManySubscriptions(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--client-output-buffer-limit", "pubsub 1mb 1mb 0")
	b := newBroker(t, quick(withAddr(server.Addr), redis.WithReplyTimeout(10*time.Second))...)
	const many = 20_000
	heard := listen(t, b)
	name := func(i int) string { return strings.Repeat("n", 1000) + fmt.Sprint(i) }
	var all sync.WaitGroup
	for first := range 100 { // together they share round trips
		all.Go(func() {
			for i := first; i < many; i += 100 {
				if err := heard.conn.Subscribe(t.Context(), broker.Topic{Name: name(i)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	lost := b.Stats().LinksLost
	server.Do("CLIENT", "KILL", "TYPE", "pubsub")
	waiting.Until(t, "all are told of a gap", func() bool { return strings.Count(heard.got(), "gap") >= many })
	heard.hears(t, b, name(many-1))
	if n := b.Stats().LinksLost - lost; n != 1 {
		t.Errorf("%d connections were lost, one was ended", n)
	}
}

// While the server cannot be reached, those who miss events are told so: they might
// take silence for news.
func TestGapToldDuringOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	b := newBroker(t, quick(withAddr(proxy.Addr))...)
	heard := listen(t, b, broker.Topic{Name: "news"})
	proxy.Cut()
	await(t, "the gap is told", func() bool { return strings.Contains(heard.got(), "gap") })
	proxy.Restore()
	await(t, "it is told again, since then more was missed", func() bool { return strings.Count(heard.got(), "gap") == 2 })
	heard.hears(t, b, "news")
}

// A server that cannot save its snapshots refuses writes and PING; events and
// subscriptions it takes as ever.
func TestEventsWhileWritesAreRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	heard := listen(t, a, broker.Topic{Name: "news"})
	accept := server.RefuseWrites(redistest.DiskFull)
	defer accept()
	for i := range 10 {
		if err := b.Publish(context.Background(), &broker.Event{Channel: "news", Args: fmt.Append(nil, i)}); err != nil {
			t.Errorf("publish %d: %v", i, err)
		}
		await(t, "it is heard", func() bool { return strings.Contains(heard.got(), fmt.Sprint(i)) })
	}
	// In a pause the server is asked whether it lives.
	before := counted(t, server, "publish")
	await(t, "a pause", func() bool { return counted(t, server, "publish") >= before+4 })
	late := newBroker(t, quick(withAddr(server.Addr))...)
	listen(t, late, broker.Topic{Name: "news"})
	if got := heard.got(); strings.Contains(got, "gap") {
		t.Errorf("a gap was told: %s", got)
	}
}

// counted returns how many of a command a server has got, those of probes included.
func counted(t testing.TB, s *redistest.Server, command string) (n int) {
	t.Helper()
	for line := range strings.Lines(fmt.Sprint(s.Do("INFO", "commandstats"))) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			fmt.Sscanf(rest, "%d", &n) //nolint:errcheck // then there were none
		}
	}
	return n
}
