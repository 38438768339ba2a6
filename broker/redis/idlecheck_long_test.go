//go:build long

package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
)

// An event that one node of a cluster does not pass on to another, though no connection of
// ours is lost, is found by the idle check and delivered.
func TestIdleCheck(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	rule := broker.HistoryRule{Channels: "quiet", Events: 10, For: time.Hour}
	b := observed(t, WithCluster(&goredis.ClusterOptions{Addrs: cluster.Addrs()}), WithHistory(rule)).Broker
	var mu sync.Mutex
	var got []string
	conn, err := b.OpenSubscriber(t.Context(), func(batch []broker.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		for _, d := range batch {
			got = append(got, fmt.Sprint(string(d.Event.Args), d.Gap))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err = conn.Subscribe(t.Context(), broker.Topic{Name: "quiet"}); err != nil {
		t.Fatal(err)
	}
	keepUnpublished(t, b, cluster.Client(), "quiet", "kept")
	b.hub.mu.Lock()
	f := b.hub.feeds[classicFeed]
	b.hub.mu.Unlock()
	waiting.Until(t, "the event is found", func() bool {
		f.checkIdle(0)
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(got, " ") == "keptfalse"
	})
}

// keepUnpublished appends an event to the log of a channel without publishing it.
func keepUnpublished(t *testing.T, b *Broker, client *goredis.ClusterClient, channel, args string) {
	t.Helper()
	ctx := context.Background()
	lane := b.keys.laneOf(channel)
	top, err := client.Get(ctx, b.keys.pos(lane, channel)).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	before := decodePosition(top)
	k := keptValue{pos: broker.Position{At: before.At + 1, Tag: newTag()}, before: before.Tag, event: broker.Event{Args: []byte(args)}}
	client.RPush(ctx, b.keys.log(lane, channel), encodeKept(&k))
	pos := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, k.pos.At), k.pos.Tag)
	client.Set(ctx, b.keys.pos(lane, channel), append(pos, top[16:]...), goredis.KeepTTL)
}
