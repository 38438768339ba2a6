//go:build long

package redis

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
)

var quietChannels = flag.Int("quiet", 5000, "on how many channels TestManyQuietChannels subscribes")

// What it costs to find out, after a lost connection, that nothing was missed on many quiet
// channels, and that something was on some of them: one MGET for 500, and no gap.
func TestManyQuietChannels(t *testing.T) {
	many, missed := *quietChannels, 100
	server := redistest.Start(t)
	rule := broker.HistoryRule{Channels: "quiet.*", Events: 10, For: time.Hour}
	b := quietBroker(t, server, rule)
	publisher := quietBroker(t, server, rule)
	var mu sync.Mutex
	events, gaps := 0, 0
	conn, err := b.OpenSubscriber(t.Context(), func(batch []broker.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		for _, d := range batch {
			if d.Gap {
				gaps++
			} else {
				events++
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return fmt.Sprint("quiet.", i) }
	before := memoryOf(t, server)
	var all sync.WaitGroup
	for first := range 200 {
		all.Go(func() {
			for i := first; i < many; i += 200 {
				if _, err := conn.(broker.HistorySubscriber).SubscribeKept(t.Context(), name(i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	t.Logf("a channel without events has %d bytes in Redis, the subscription included", (memoryOf(t, server)-before)/many)
	server.Do("CONFIG", "RESETSTAT")
	cpu, serverCPU, began := ownCPU(), redisCPU(t, server), time.Now()
	server.Do("CLIENT", "KILL", "TYPE", "pubsub")
	for i := range missed {
		if err := publisher.Publish(t.Context(), &broker.Event{Channel: name(i * 7)}); err != nil {
			t.Fatal(err)
		}
	}
	waiting.Until(t, "no channel is in doubt", func() bool {
		mu.Lock()
		done := events >= missed
		mu.Unlock()
		return done && b.allProven(many)
	})
	t.Logf("all are proved after %v; CPU of the process %v, of Redis %v", time.Since(began).Round(time.Millisecond), ownCPU()-cpu, redisCPU(t, server)-serverCPU)
	stats := server.Do("INFO", "commandstats").(string)
	for _, line := range strings.Split(stats, "\r\n") {
		if strings.HasPrefix(line, "cmdstat_mget") || strings.HasPrefix(line, "cmdstat_evalsha") || strings.HasPrefix(line, "cmdstat_subscribe") {
			t.Log(line)
		}
	}
	if events != missed || gaps > 0 {
		t.Errorf("%d events came of %d, %d gaps were told", events, missed, gaps)
	}
	conn.Close()
}

func quietBroker(t *testing.T, server *redistest.Server, rule broker.HistoryRule) *Broker {
	t.Helper()
	b := observed(t, WithServer(&goredis.Options{Addr: server.Addr}), WithHistory(rule), WithReplyTimeout(10*time.Second))
	return b.Broker
}

// allProven reports whether so many channels are subscribed to and none is in doubt.
func (b *Broker) allProven(many int) bool {
	b.hub.mu.Lock()
	defer b.hub.mu.Unlock()
	n := 0
	for _, t := range b.hub.topics {
		if t.chain != nil && t.state == subscribed && t.chain.at == proven && !t.chain.healing {
			n++
		}
	}
	return n == many
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) //nolint:errcheck // never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Round(time.Millisecond)
}

// info returns a number that INFO tells.
func info(t *testing.T, server *redistest.Server, section, name string) (n float64) {
	t.Helper()
	_, rest, ok := strings.Cut(server.Do("INFO", section).(string), name+":")
	if _, err := fmt.Sscan(rest, &n); err != nil || !ok {
		t.Fatal(name, err)
	}
	return n
}

func redisCPU(t *testing.T, server *redistest.Server) time.Duration {
	t.Helper()
	sum := info(t, server, "cpu", "used_cpu_user") + info(t, server, "cpu", "used_cpu_sys")
	return time.Duration(sum * float64(time.Second)).Round(time.Millisecond)
}

func memoryOf(t *testing.T, server *redistest.Server) int {
	t.Helper()
	return int(info(t, server, "memory", "used_memory"))
}
