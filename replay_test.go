package juggler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/kept"
	"github.com/juggler-go/juggler/jugglertest"
)

// subSince is a SUB of room.1 that goes on after a position.
func subSince(id, pos string) string {
	return fmt.Sprintf(`{"type":"SUB","id":%q,"channel":"room.1","since":%s}`, id, pos)
}

// takes takes the next message, which must be of a type and have these args, if any.
func (c *rawClient) takes(t *testing.T, typ string, args any) map[string]any {
	t.Helper()
	_, b, err := c.frame()
	if err != nil {
		t.Fatalf("%v, want %s %v", err, typ, args)
	}
	m := decode(t, b)
	if m["type"] != typ || args != nil && fmt.Sprint(m["args"]) != fmt.Sprint(args) {
		t.Fatalf("got %.300s, want %s %v", b, typ, args)
	}
	return m
}

// takesEvents takes the events from first to last.
func (c *rawClient) takesEvents(t *testing.T, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		c.takes(t, "EVNT", n)
	}
}

// keptIn makes a server in a bubble on a broker that may wait.
func keptIn(t *testing.T, opts ...juggler.Option) (*jugglertest.Server, *historyBroker) {
	t.Helper()
	b, err := memory.New(keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	k := newHistoryBroker(b)
	return jugglertest.NewOn(t, k, append(opts, quietly, juggler.WithLogger(quiet))...), k
}

// publishIn publishes numbers on room.1.
func publishIn(t *testing.T, srv *jugglertest.Server, first, last int) {
	t.Helper()
	for i := first; i <= last; i++ {
		if err := srv.Handler.Publish(t.Context(), "room.1", i, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// startOf subscribes to room.1 and leaves, and returns where it stood.
func startOf(t *testing.T, srv *jugglertest.Server) string {
	t.Helper()
	c := openIn(t, srv, "juggler.1")
	c.write(t, maskedText(`{"type":"SUB","id":"s","channel":"room.1"}`))
	pos := position(c.takes(t, "ACK", nil))
	c.conn.Close()
	srv.WaitSessions(0)
	return pos
}

// A replay keeps no more than its client may have queued, however much there is to send,
// and goes on as the client reads.
func TestReplayWaitsForItsClient(t *testing.T) {
	const n, most = 400, 128 << 10
	s := newKeptServer(t, itself, []memory.Option{keep}, juggler.WithMaxQueueBytes(most))
	c := dialRaw(t, s.http.Listener.Addr().String())
	c.write(t, maskedText(`{"type":"SUB","id":"s","channel":"room.1"}`))
	start := position(c.takes(t, "ACK", nil))
	c.write(t, maskedText(`{"type":"UNSB","id":"u","channel":"room.1"}`))
	c.takes(t, "ACK", nil)
	pad := strings.Repeat("x", 16<<10)
	for i := range n {
		if err := s.h.Publish(t.Context(), "room.1", fmt.Sprint(i, pad), nil); err != nil {
			t.Fatal(err)
		}
	}
	c.write(t, maskedText(subSince("s", start)))
	waitFor(t, "the replay to wait", func() bool { return s.h.Stats().QueuedBytes > 0 })
	c.takes(t, "ACK", nil)
	for i := range n {
		c.takes(t, "EVNT", fmt.Sprint(i, pad))
		if q := s.h.Stats().QueuedBytes; q > 2*most {
			t.Fatalf("%d bytes wait", q)
		}
	}
	waitFor(t, "the replay to end", func() bool { st := s.h.Stats(); return st.Replays == 0 && st.QueuedBytes == 0 })
}

// A client that reads nothing of a replay is closed as one that reads nothing else.
func TestReplayToAClientThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := keptIn(t, juggler.WithMaxQueueBytes(128<<10))
		start := startOf(t, srv)
		publishIn(t, srv, 1, 2000)
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(subSince("s", start)))
		synctest.Wait()
		if s := srv.Handler.Stats(); s.Replays != 1 || s.QueuedBytes > 256<<10 {
			t.Errorf("%d replays, %d bytes wait", s.Replays, s.QueuedBytes)
		}
		time.Sleep(time.Minute)
		srv.WaitSessions(0)
		if s := srv.Handler.Stats(); s.SlowConsumers != 1 || s.Replays != 0 || s.QueuedBytes != 0 {
			t.Errorf("%d slow consumers, %d replays, %d bytes wait", s.SlowConsumers, s.Replays, s.QueuedBytes)
		}
	})
}

// A channel may have more events while a page is read than a page has: the replay ends
// all the same.
func TestReplayOfABusyChannelEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, k := keptIn(t)
		start := startOf(t, srv)
		publishIn(t, srv, 1, 100)
		k.read = func(ctx context.Context, r []broker.Read, p []broker.Page) {
			time.Sleep(20 * time.Millisecond)
			k.Broker.ReadKept(ctx, r, p)
			time.Sleep(20 * time.Millisecond)
		}
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(subSince("s", start)))
		done := make(chan struct{})
		go func() { // ends with the last event
			defer close(done)
			c.takes(t, "ACK", nil)
			c.takesEvents(t, 1, 3100)
		}()
		for i := 101; i <= 3100; i++ {
			publishIn(t, srv, i, i)
			time.Sleep(time.Second / 3000)
			if i == 3000 && srv.Handler.Stats().Replays != 0 {
				t.Error("the replay has not ended after a second")
			}
		}
		<-done
	})
}

// What cannot be sent is a gap in its place, live and replayed, and has its position.
func TestGapInPlaceOfAnEvent(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		c := s.dial("juggler.1")
		start := position(c.sub("room.1", "", ""))
		s.publish("room.1", 1, 1)
		large, _ := json.Marshal(strings.Repeat("x", 200<<10))
		almost, _ := json.Marshal(strings.Repeat("x", 128<<10-90)) // too large with what a frame adds
		for _, args := range [][]byte{[]byte(`not JSON`), large, almost} {
			if err := s.broker.Publish(t.Context(), &broker.Event{ID: broker.NewID(), Channel: "room.1", Args: args}); err != nil {
				t.Fatal(err)
			}
		}
		s.publish("room.1", 2, 2)
		gaps := func(c *testClient) (all []string) {
			c.events("room.1", 1, 1)
			for range 3 {
				all = append(all, position(c.expect(`{"type":"GAP","channel":"room.1"}`)))
			}
			c.events("room.1", 2, 2)
			return all
		}
		live := gaps(c)
		d := s.dial("juggler.1")
		d.sub("room.1", since(start), `,"recovered":true`)
		if got := gaps(d); fmt.Sprint(got) != fmt.Sprint(live) || got[0] == "" || got[1] == got[2] {
			t.Errorf("live gaps %s, replayed %s", live, got)
		}
		e := s.dial("juggler.1")
		e.sub("room.1", since(live[2]), `,"recovered":true`)
		e.events("room.1", 2, 2)
	}, juggler.WithMaxQueueBytes(128<<10), juggler.WithLogger(quiet))
}

// While the log cannot be read a SUB is refused; a replay tries again, and ends in a gap
// if that goes on.
func TestLogThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, k := keptIn(t)
		start := startOf(t, srv)
		publishIn(t, srv, 1, 1500)
		var fine, fail atomic.Int64
		k.read = func(ctx context.Context, r []broker.Read, p []broker.Page) {
			if fine.Add(-1) < 0 && fail.Add(-1) >= 0 {
				p[0] = broker.Page{Err: broker.ErrUnavailable}
				return
			}
			k.Broker.ReadKept(ctx, r, p)
		}
		c := openIn(t, srv, "juggler.1")
		fail.Store(1)
		c.write(t, maskedText(subSince("s", start)))
		if m := c.takes(t, "NACK", nil); fmt.Sprint(m["error"].(map[string]any)["code"]) != "503" {
			t.Errorf("got %v", m)
		}
		if n := srv.Handler.Stats().Subscriptions; n != 0 {
			t.Errorf("%d subscriptions", n)
		}
		time.Sleep(time.Minute) // no page is kept for others
		fine.Store(1)
		fail.Store(3)
		c.write(t, maskedText(subSince("s", start)))
		c.takes(t, "ACK", nil)
		c.takesEvents(t, 1, 1500)
		publishIn(t, srv, 1501, 1501)
		c.takesEvents(t, 1501, 1501)

		time.Sleep(time.Minute)
		fine.Store(1)
		fail.Store(1 << 30)
		c.write(t, maskedText(subSince("s", start)))
		c.takes(t, "ACK", nil)
		c.takesEvents(t, 1, 1000)
		gap := c.takes(t, "GAP", nil)
		fail.Store(0)
		publishIn(t, srv, 1502, 1502)
		c.takesEvents(t, 1502, 1502)
		c.write(t, maskedText(subSince("s", position(gap))))
		if m := c.takes(t, "ACK", nil); m["recovered"] != true {
			t.Errorf("since the gap: %v", m)
		}
		c.takesEvents(t, 1502, 1502)
	})
}

// Replayed events, too, follow the ACKs of the PUBs that are out.
func TestReplayWaitsForTheAckOfAPub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate)
		srv, _ := keptIn(t, juggler.WithAuthorizer(g))
		start := startOf(t, srv)
		publishIn(t, srv, 1, 5)
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(subSince("s", start), pub("p", "hold")))
		if m := c.takes(t, "ACK", nil); m["recovered"] != true {
			t.Errorf("got %v", m)
		}
		c.wantsNothing(t)
		g <- struct{}{}
		c.wants(t, acks("p")...)
		c.takesEvents(t, 1, 5)
	})
}

// UNSB ends a replay, and a SUB behind it begins anew.
func TestUnsubscribingWhileReplaying(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		c := s.dial("juggler.1")
		start := position(c.sub("room.1", "", ""))
		c.conn.CloseNow()
		s.waitSessions(0)
		s.publish("room.1", 1, 1500)
		r := dialRaw(t, s.http.Listener.Addr().String())
		r.write(t, maskedText(subSince("1", start), `{"type":"UNSB","id":"2","channel":"room.1"}`, subSince("3", start)))
		for acked := ""; acked != "3"; {
			_, b, err := r.frame()
			if err != nil {
				t.Fatal(err)
			}
			switch m := decode(t, b); {
			case m["type"] == "ACK":
				acked = m["for"].(string)
			case acked != "1":
				t.Fatalf("got %s behind the ACK of %q", b, acked)
			}
		}
		r.takesEvents(t, 1, 1500)
		s.publish("room.1", 1501, 1501)
		r.takesEvents(t, 1501, 1501)
	})
}

// A client may come from a node that is ahead: what it has does not come again.
func TestClientOfANodeThatIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, k := keptIn(t)
		c, d := openIn(t, srv, "juggler.1"), openIn(t, srv, "juggler.1")
		c.write(t, maskedText(`{"type":"SUB","id":"s","channel":"room.1"}`))
		c.takes(t, "ACK", nil)
		hold := make(chan struct{})
		k.deliver = func(d []broker.Delivery) []broker.Delivery {
			<-hold
			return d
		}
		go srv.Handler.Publish(t.Context(), "room.1", 1, nil)
		synctest.Wait() // it is kept, and not delivered
		pages := make([]broker.Page, 1)
		k.Broker.ReadKept(t.Context(), []broker.Read{{Channel: "room.1", Last: 1}}, pages)
		first := pages[0].Top.String()
		at, tag, _ := strings.Cut(first, ":")
		d.write(t, maskedText(subSince("s", fmt.Sprintf(`{"at":%s,"tag":%q}`, at, tag))))
		if m := d.takes(t, "ACK", nil); m["recovered"] != true || fmt.Sprintf("%.0f", m["at"]) >= at {
			t.Errorf("got %v, and the client is at %s", m, first)
		}
		close(hold)
		c.takesEvents(t, 1, 1)
		publishIn(t, srv, 2, 2)
		c.takesEvents(t, 2, 2)
		d.takesEvents(t, 2, 2)
	})
}

// Numbers that were given out a second time, to other events, prove nothing.
func TestNoWrongRecovered(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		for name, lose := range map[string]int{"rollback": 1, "new life": 100, "forgotten": 0} {
			channel := "room." + name
			c := s.dial("juggler.1")
			c.sub(channel, "", "")
			s.publish(channel, 1, 2)
			before := position(c.events(channel, 1, 1))
			lost := position(c.events(channel, 2, 2))
			s.broker.LoseKept(kept.Loss{Channel: channel, Newest: lose})
			s.publish(channel, 3, 4)
			want := map[string]string{before: "false", lost: "false"}
			if name == "rollback" {
				want[before] = "true"
			} else if name == "forgotten" {
				want[lost] = "true" // nothing of it followed
			}
			for pos, recovered := range want {
				d := s.dial("juggler.1")
				d.sub(channel, since(pos), `,"recovered":`+recovered)
				if recovered == "true" {
					d.events(channel, 3, 4)
				}
				s.publish(channel, 5, 5)
				d.events(channel, 5, 5)
			}
		}
	}, juggler.WithLogger(quiet))
}

// What is published after a SUB was sent to the broker, and before it is answered, follows
// the ACK.
func TestEventsBetweenASubAndItsAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settle := make(chan struct{})
		srv, _ := keptIn(t, juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler {
			return func(ctx context.Context, r *juggler.Request) error {
				err := next(ctx, r)
				<-settle
				return err
			}
		}))
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(`{"type":"SUB","id":"s","channel":"room.1"}`))
		synctest.Wait()
		publishIn(t, srv, 1, 3)
		synctest.Wait()
		close(settle)
		c.takes(t, "ACK", nil)
		c.takesEvents(t, 1, 3)
		publishIn(t, srv, 4, 4)
		c.takesEvents(t, 4, 4)
	})
}

// A page may be older than a gap: its last event may be lost, and the number belong to
// another one.
func TestPageThatIsOlderThanAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, k := keptIn(t)
		start := startOf(t, srv)
		publishIn(t, srv, 1, 2)
		answer := make(chan struct{})
		k.read = func(ctx context.Context, r []broker.Read, p []broker.Page) {
			k.Broker.ReadKept(ctx, r, p)
			<-answer
		}
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(subSince("s", start)))
		synctest.Wait()
		k.LoseKept(kept.Loss{Channel: "room.1", Newest: 2})
		publishIn(t, srv, 3, 3)
		synctest.Wait()
		close(answer)
		c.takes(t, "ACK", nil)
		c.takesEvents(t, 1, 2)
		c.takes(t, "GAP", nil)
		publishIn(t, srv, 4, 4)
		c.takesEvents(t, 4, 4)
	})
}
