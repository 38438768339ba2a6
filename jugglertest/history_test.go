package jugglertest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// keep is a rule of the channels that begin with "room.".
var keep = broker.HistoryRule{Channels: "room.*", Events: 16, For: time.Minute}

// The broker of a Server keeps the rules of the contract with history, and so do its faults.
func TestHistory(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		b := jugglertest.NewWithHistory(t, []broker.HistoryRule{keep}).Broker
		return brokertest.Engine{
			Open:      func() brokertest.Roles { return brokertest.Roles{PubSub: b} },
			History:   keep,
			Rollback:  b.Rollback,
			WholeOnly: true,
		}
	})
}

// published publishes events on a channel and returns their positions.
func published(t *testing.T, b *jugglertest.Broker, channel string, n int) (at []broker.Position) {
	t.Helper()
	for i := range n {
		done := make([]broker.Published, 1)
		e := broker.Event{ID: broker.NewID(), Channel: channel, Args: fmt.Append(nil, i)}
		if b.PublishKept(t.Context(), []broker.Publication{{Event: e}}, done); done[0].Err != nil {
			t.Fatal(done[0].Err)
		}
		at = append(at, done[0].Pos)
	}
	return at
}

func after(b *jugglertest.Broker, pos broker.Position) broker.Page {
	pages := make([]broker.Page, 1)
	b.ReadKept(context.Background(), []broker.Read{{Channel: "room.1", After: pos}}, pages)
	return pages[0]
}

// What subscribers miss they learn by a gap, behind which they go on. It is kept.
func TestMiss(t *testing.T) {
	b := jugglertest.NewWithHistory(t, []broker.HistoryRule{keep}).Broker
	var got []broker.Delivery
	conn, err := b.OpenSubscriber(t.Context(), func(batch []broker.Delivery) { got = append(got, batch...) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.(broker.HistorySubscriber).SubscribeKept(t.Context(), "room.1"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Subscribe(t.Context(), broker.Topic{Name: "news"}); err != nil {
		t.Fatal(err)
	}
	at := published(t, b, "room.1", 1)
	b.Miss("room.1", 2)
	b.Miss("news", 1)
	b.Miss("other", 1) // nobody hears of it
	at = append(at, published(t, b, "room.1", 3)...)
	published(t, b, "news", 1)
	want := []broker.Delivery{{Pos: at[0]}, {Gap: true, Pos: at[2]}, {Pos: at[3]}, {Gap: true}}
	if !slices.EqualFunc(got, want, func(a, b broker.Delivery) bool { return a.Gap == b.Gap && a.Pos == b.Pos }) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if p := after(b, at[0]); !p.Proven || len(p.Events) != 3 {
		t.Errorf("got %+v", p)
	}
}

func TestForget(t *testing.T) {
	b := jugglertest.NewWithHistory(t, []broker.HistoryRule{keep}).Broker
	at := published(t, b, "room.1", 3)
	b.Forget("room.1")
	for i, pos := range at {
		if p := after(b, pos); p.Proven != (i == 2) || len(p.Events) > 0 {
			t.Errorf("after event %d: got %+v", i, p)
		}
	}
	if p := after(b, published(t, b, "room.1", 1)[0]); !p.Proven || p.Top.At != at[2].At+1 {
		t.Errorf("got %+v, want the next number after %v", p, at[2])
	}
}

// More than is kept can be lost, too.
func TestRollbackOfAll(t *testing.T) {
	b := jugglertest.NewWithHistory(t, []broker.HistoryRule{keep}).Broker
	at := published(t, b, "room.1", 20)
	b.Rollback("room.1", 17)
	at = append(at, published(t, b, "room.1", 1)...)
	for i, pos := range at {
		if p := after(b, pos); p.Proven != (i == 20) {
			t.Errorf("after event %d: got %+v", i, p)
		}
	}
}

// A broker without history has none behind a Server, either.
func TestWithoutHistory(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	srv := jugglertest.NewOn(t, plain{b})
	if srv.Broker.Kept("room.1") {
		t.Error("events are kept")
	}
	sub, err := srv.Client().Subscribe(t.Context(), "room.1")
	if err != nil {
		t.Fatal(err)
	}
	if at := published(t, srv.Broker, "room.1", 1)[0]; !at.IsZero() || after(srv.Broker, broker.Position{At: 1}).Proven {
		t.Errorf("the position is %v", at)
	}
	if e, err := sub.Next(t.Context()); err != nil || string(e.Args) != `0` {
		t.Errorf("got %+v, %v", e, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a broker that cannot lose events lost some")
		}
	}()
	srv.Broker.Rollback("room.1", 1)
}

// plain is a broker without what is optional.
type plain struct{ jugglertest.Roles }

// After an outage nothing is missing of what is kept.
func TestOutageWithHistory(t *testing.T) {
	srv := jugglertest.NewWithHistory(t, []broker.HistoryRule{keep})
	c := srv.Client()
	room, err := c.Subscribe(t.Context(), "room.1")
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Subscribe(t.Context(), "room.*", client.Pattern())
	if err != nil {
		t.Fatal(err)
	}
	srv.Broker.Down()
	done := make([]broker.Published, 1)
	srv.Broker.PublishKept(t.Context(), []broker.Publication{{Event: broker.Event{ID: broker.NewID(), Channel: "room.1"}}}, done)
	if p := after(srv.Broker, broker.Position{At: 1}); done[0].Err == nil || p.Err == nil {
		t.Errorf("got %v and %v while the broker is down", done[0].Err, p.Err)
	}
	srv.Broker.Up()
	published(t, srv.Broker, "room.1", 1)
	if e, err := room.Next(t.Context()); err != nil || e.Gap {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err := all.Next(t.Context()); err != nil || !e.Gap {
		t.Errorf("got %+v, %v, want a gap", e, err)
	}
}
