package jugglertest_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// How an application tests that its state is right whatever gets lost: here a sum, which
// the database has, and of which a channel tells each change.
func Example_state() {
	_ = testState // func TestState(t *testing.T)
}

func testState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.NewWithHistory(t, []broker.HistoryRule{{Channels: "sum", Events: 100, For: time.Hour}})
		c := srv.Client()
		var database, sum, reads atomic.Int64
		sub, err := c.SubscribeFunc(t.Context(), "sum", func(_ *client.Subscription, e client.Event) {
			var n int64
			if err := e.Decode(&n); err != nil {
				t.Error(err)
			}
			sum.Add(n)
		}, client.WithState(func(context.Context) error {
			reads.Add(1)
			sum.Store(database.Load())
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
		add := func(n int64) {
			synctest.Wait() // else the state may have n before its event comes
			database.Add(n)
			if err := srv.Handler.Publish(t.Context(), "sum", n, nil); err != nil {
				t.Error(err)
			}
		}
		check := func(fault string, wantReads int64) {
			t.Helper()
			time.Sleep(time.Minute) // it is connected again
			if sum.Load() != database.Load() || reads.Load() != wantReads {
				t.Errorf("%s: the sum is %d, not %d, after %d reads", fault, sum.Load(), database.Load(), reads.Load())
			}
		}
		add(1)
		check("no fault", 1)

		srv.Drop(c)
		add(2)
		check("a lost connection", 1) // the event follows

		srv.Drop(c)
		add(3)
		srv.Broker.Forget("sum")
		check("a lost connection, and what was missed is not kept any more", 2)

		srv.Broker.Miss("sum", 1)
		add(4)
		check("a missed event", 3)

		srv.Broker.Rollback("sum", 1)
		add(5)
		check("a failover without the newest event", 4)
	})
}
