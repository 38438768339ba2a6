package redis_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// roomRule keeps few events of channels whose names begin with "room.".
var roomRule = broker.HistoryRule{Channels: "room.*", Events: 4, For: time.Hour}

// publishKept publishes events on room.7 whose args are their places.
func publishKept(t *testing.T, b *redis.Broker, n int) []broker.Published {
	t.Helper()
	events, done := make([]broker.Publication, n), make([]broker.Published, n)
	for i := range events {
		events[i].Event = broker.Event{Channel: "room.7", Args: fmt.Append(nil, i)}
	}
	b.PublishKept(t.Context(), events, done)
	for _, d := range done {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	return done
}

// Events on a channel with a rule get numbers in a row and tags, and as many are kept as
// the rule says, whichever method publishes them.
func TestKeep(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, withAddr(server.Addr), redis.WithHistory(roomRule))
	done := publishKept(t, b, 3)
	if err := b.Publish(t.Context(), &broker.Event{Channel: "room.7"}); err != nil {
		t.Fatal(err)
	}
	done = append(done, publishKept(t, b, 2)...)
	if got := done[4].Pos.At - done[0].Pos.At; got != 5 {
		t.Errorf("the last event has a number %d above the first, want 5", got)
	}
	c := server.Client()
	if n := c.LLen(t.Context(), "juggler:{0.0}:log:room.7").Val(); n != 4 {
		t.Errorf("%d events are kept, want 4", n)
	}
	if left := c.PTTL(t.Context(), "juggler:{0.0}:log:room.7").Val(); left > time.Hour || left < 50*time.Minute {
		t.Errorf("the log expires in %v", left)
	}
	if left := c.PTTL(t.Context(), "juggler:{0.0}:pos:room.7").Val(); left > 25*time.Hour || left < 24*time.Hour {
		t.Errorf("the position expires in %v", left)
	}
}
