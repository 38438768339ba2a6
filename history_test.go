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
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/jugglertest"
)

// historyBroker is the embedded broker as one that may wait, with history. What a test sets
// takes the place of a method.
type historyBroker struct {
	brokerCaller
	brokerCallee
	*memory.Broker
	read    func(ctx context.Context, reads []broker.Read, pages []broker.Page)
	deliver func(d []broker.Delivery) []broker.Delivery
}

func newHistoryBroker(b *memory.Broker) *historyBroker {
	p := brokertest.Plain(brokertest.Roles{Caller: b, Callee: b})
	return &historyBroker{brokerCaller: p.Caller, brokerCallee: p.Callee, Broker: b}
}

// Immediate has other parameters than that of broker.Immediate, and so hides it.
func (b *historyBroker) Immediate(int) {}

func (b *historyBroker) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	return b.brokerCaller.OpenCaller(ctx, node, deliver)
}

func (b *historyBroker) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	return b.brokerCallee.OpenCallee(ctx, uris, cancelled)
}

func (b *historyBroker) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	conn, err := b.Broker.OpenSubscriber(ctx, func(d []broker.Delivery) {
		if b.deliver != nil {
			d = b.deliver(d)
		}
		deliver(d)
	})
	return keptConn{conn, conn.(broker.HistorySubscriber)}, err
}

func (b *historyBroker) ReadKept(ctx context.Context, reads []broker.Read, pages []broker.Page) {
	if b.read != nil {
		b.read(ctx, reads, pages)
		return
	}
	b.Broker.ReadKept(ctx, reads, pages)
}

type keptConn struct {
	broker.SubscriberConn
	kept broker.HistorySubscriber
}

func (c keptConn) SubscribeKept(ctx context.Context, channel string) (broker.Position, error) {
	return c.kept.SubscribeKept(ctx, channel)
}

// keep has room.* kept.
var keep = memory.WithHistory(broker.HistoryRule{Channels: "room.*", Events: 2000, For: time.Hour})

// newKeptServer is newServer on a broker with these options, or on what alter makes of it.
func newKeptServer(t *testing.T, alter func(*memory.Broker) jugglertest.Roles, memoryOpts []memory.Option, opts ...juggler.Option) *testServer {
	t.Helper()
	b, err := memory.New(memoryOpts...)
	if err != nil {
		t.Fatal(err)
	}
	return newServerWith(t, b, alter, opts...)
}

// onKeptServers runs a test on the embedded broker, and on one that may wait.
func onKeptServers(t *testing.T, f func(t *testing.T, s *testServer), opts ...juggler.Option) {
	for name, alter := range map[string]func(*memory.Broker) jugglertest.Roles{
		"embedded": itself,
		"waiting":  func(b *memory.Broker) jugglertest.Roles { return newHistoryBroker(b) },
	} {
		t.Run(name, func(t *testing.T) { f(t, newKeptServer(t, alter, []memory.Option{keep}, opts...)) })
	}
}

// publish publishes numbers from first to last.
func (s *testServer) publish(channel string, first, last int) {
	s.t.Helper()
	for i := first; i <= last; i++ {
		if err := s.h.Publish(s.t.Context(), channel, i, nil); err != nil {
			s.t.Fatal(err)
		}
	}
}

// position returns the members of a position in an answer, or "".
func position(m map[string]any) string {
	if m["at"] == nil || m["tag"] == nil {
		return ""
	}
	return fmt.Sprintf(`{"at":%.0f,"tag":%q}`, m["at"], m["tag"])
}

// sub subscribes and returns the ACK, which has at least what want has.
func (c *testClient) sub(channel, members, want string) map[string]any {
	c.t.Helper()
	c.send(fmt.Sprintf(`{"type":"SUB","id":"s","channel":%q%s}`, channel, members))
	return c.expect(fmt.Sprintf(`{"type":"ACK","for":"s"%s}`, want))
}

// since is the members of a SUB that goes on after a position.
func since(pos string) string { return `,"since":` + pos }

// events takes the events from first to last and returns the last one.
func (c *testClient) events(channel string, first, last int) (m map[string]any) {
	c.t.Helper()
	for i := first; i <= last; i++ {
		m = c.expect(fmt.Sprintf(`{"type":"EVNT","channel":%q,"args":%d}`, channel, i))
		if position(m) == "" {
			c.t.Fatalf("event %d has no position: %v", i, m)
		}
	}
	return m
}

// A client learns where its channel stands from the ACK and from each event.
func TestPositionsOfAKeptChannel(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		a, b, old := s.dial("juggler.1"), s.dial("juggler.1"), s.dial("juggler.0")
		start := position(a.sub("room.1", "", ""))
		if start == "" {
			t.Error("the ACK has no position")
		}
		old.send(`{"meta":{"type":3,"uuid":"11111111-1111-1111-1111-111111111111"},"payload":{"channel":"room.1"}}`)
		old.receive()
		a.send(`{"type":"SUB","id":"p","channel":"room.*","pattern":true}`)
		if ack := a.expect(`{"type":"ACK","for":"p"}`); position(ack) != "" {
			t.Errorf("the ACK of a pattern has a position: %v", ack)
		}
		s.publish("room.1", 1, 1)
		exact := 0
		var first string
		for range 2 {
			m := a.expect(`{"type":"EVNT","channel":"room.1","args":1}`)
			switch pos := position(m); {
			case m["pattern"] == nil && pos != "":
				exact, first = exact+1, pos
			case m["pattern"] == nil || m["at"] != nil || m["tag"] != nil:
				t.Errorf("got %v", m)
			}
		}
		if exact != 1 || first == start {
			t.Errorf("the exact subscription got %d events, the last with the position %s after %s", exact, first, start)
		}
		if m := old.receive(); strings.Contains(string(m), `"tag"`) {
			t.Errorf("juggler.0 got a position: %s", m)
		}
		if got := position(b.sub("room.1", "", "")); got != first {
			t.Errorf("the ACK says %s, the event said %s", got, first)
		}
		if m := b.sub("other", "", ""); len(m) != 2 {
			t.Errorf("the ACK of a channel without a rule: %v", m)
		}
		s.publish("other", 1, 1)
		if m := b.expect(`{"type":"EVNT","channel":"other","args":1}`); len(m) != 4 {
			t.Errorf("an event of a channel without a rule: %v", m)
		}
	})
}

// Whoever comes back with the position of an event gets what came after it, and then
// what comes.
func TestSinceGoesOnAfterAnEvent(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		a, keeper := s.dial("juggler.1"), s.dial("juggler.1")
		a.sub("room.1", "", "")
		s.publish("room.1", 1, 3)
		pos := position(a.events("room.1", 1, 3))
		a.conn.CloseNow()
		s.waitSessions(1)
		s.publish("room.1", 4, 1500) // more than a page
		b := s.dial("juggler.1")
		b.sub("room.1", since(pos), `,"recovered":true`)
		b.events("room.1", 4, 1500)
		s.publish("room.1", 1501, 1502)
		newest := position(b.events("room.1", 1501, 1502))
		keeper.sub("room.1", since(newest), `,"recovered":true`)
		s.publish("room.1", 1503, 1503)
		keeper.events("room.1", 1503, 1503)
		b.events("room.1", 1503, 1503)
		if got := s.h.Stats(); got.Recovered != 2 || got.NotRecovered != 0 || got.Replayed < 1497 || got.Replays != 0 {
			t.Errorf("%d recovered, %d not, %d replayed, %d replays", got.Recovered, got.NotRecovered, got.Replayed, got.Replays)
		}
	})
}

func TestLastIsTheNewestEvents(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		c := s.dial("juggler.1")
		if ack := c.sub("room.1", `,"last":20`, ""); ack["recovered"] != nil {
			t.Errorf("the ACK of last: %v", ack)
		}
		s.publish("room.1", 1, 30)
		c.events("room.1", 1, 30)
		d := s.dial("juggler.1")
		d.sub("room.1", `,"last":20`, "")
		d.events("room.1", 11, 30)
		s.publish("room.1", 31, 31)
		d.events("room.1", 31, 31)
		c.events("room.1", 31, 31)
		e := s.dial("juggler.1")
		e.sub("room.1", `,"last":1000000`, "")
		e.events("room.1", 1, 31)
		f := s.dial("juggler.1")
		f.sub("other", `,"last":3`, "")
		s.publish("other", 1, 1)
		f.expect(`{"type":"EVNT","channel":"other","args":1}`)
	})
}

// A position that proves nothing is told so before any event, whatever it looks like.
func TestPositionsThatProveNothing(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		c := s.dial("juggler.1")
		other := position(c.sub("room.other", "", ""))
		start := position(c.sub("room.1", "", ""))
		s.publish("room.1", 1, 2)
		pos := position(c.events("room.1", 1, 2))
		var at struct{ At uint64 }
		if err := json.Unmarshal([]byte(pos), &at); err != nil {
			t.Fatal(err)
		}
		tag := pos[strings.Index(pos, `"tag"`):]
		for _, made := range []string{
			other,
			`{"at":` + fmt.Sprint(at.At+1) + `,` + tag, // from the future
			`{"at":` + fmt.Sprint(at.At-1) + `,` + tag,
			fmt.Sprintf(`{"at":%d,"tag":"AAAAAAAAAAA"}`, at.At),
			`{"at":-5,` + tag, `{"at":0,` + tag, `{"at":9007199254740992,` + tag, `{"at":1e400,` + tag, `{"at":1.5,` + tag,
			`{"at":9007199254740991,` + tag, `{"at":1,` + tag, `{` + tag, `{}`, `[]`, `7`, `"x"`, `true`, `{"at":1,"tag":5}`,
		} {
			d := s.dial("juggler.1")
			ack := d.sub("room.1", since(made), `,"recovered":false`)
			if got := position(ack); got != pos {
				t.Errorf("since %s: the ACK says %s, want %s", made, got, pos)
			}
			d.send(`{"type":"PUB","id":"p","channel":"room.2"}`)
			d.expect(`{"type":"ACK","for":"p"}`) // and no event before
			d.conn.CloseNow()
		}
		d := s.dial("juggler.1")
		d.sub("room.1", since(start), `,"recovered":true`)
		d.events("room.1", 1, 2)
		if ack := d.sub("none", since(pos), `,"recovered":false`); ack["at"] != nil {
			t.Errorf("a channel without a rule: %v", ack)
		}
		d.send(`{"type":"SUB","id":"x","channel":"room.*","pattern":true,"since":` + pos + `}`)
		d.expect(`{"type":"NACK","for":"x","error":{"code":400}}`)
	})
}

// What a session publishes right behind its SUB is not swallowed, wherever the SUB is
// handled, and comes after the ACK of its PUB.
func TestPubBehindSubOfAKeptChannel(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		for i, members := range []string{"", `,"last":1`, `,"since":{}`} {
			c := dialRaw(t, s.http.Listener.Addr().String())
			channel := fmt.Sprint("room.", i)
			c.write(t, maskedText(
				fmt.Sprintf(`{"type":"SUB","id":"1","channel":%q%s}`, channel, members),
				fmt.Sprintf(`{"type":"PUB","id":"2","channel":%q,"args":1}`, channel),
				fmt.Sprintf(`{"type":"PUB","id":"3","channel":%q,"args":2}`, channel)))
			acked := map[string]bool{}
			for args := 1; args < 3; {
				_, b, err := c.frame()
				if err != nil {
					t.Fatal(err)
				}
				switch m := decode(t, b); {
				case m["type"] == "ACK":
					acked[m["for"].(string)] = true
				case m["type"] == "EVNT" && m["args"] == float64(args) && acked[fmt.Sprint(args+1)]:
					args++
				default:
					t.Fatalf("got %s, after the ACKs %v", b, acked)
				}
			}
		}
	})
}

// A SUB of a channel that the session has changes nothing, and its ACK has no position;
// with since or last the subscription begins anew.
func TestSubAgain(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		c := s.dial("juggler.1")
		start := position(c.sub("room.1", "", ""))
		s.publish("room.1", 1, 3)
		c.events("room.1", 1, 3)
		if ack := c.sub("room.1", "", ""); len(ack) != 2 {
			t.Errorf("the ACK of a SUB that changes nothing: %v", ack)
		}
		c.sub("room.1", since(start), `,"recovered":true`)
		c.events("room.1", 1, 3)
		c.sub("room.1", `,"last":2`, "")
		c.events("room.1", 2, 3)
		c.sub("room.1", since(`{}`), `,"recovered":false`)
		s.publish("room.1", 4, 4)
		c.events("room.1", 4, 4)
		if n := s.h.Stats().Subscriptions; n != 1 {
			t.Errorf("%d subscriptions", n)
		}
	})
}

// Clients that come back one after the other to many channels share what was read for the
// first of them, though that is many bytes.
func TestClientsThatComeBackInTurn(t *testing.T) {
	const channels, missed = 60, 100
	synctest.Test(t, func(t *testing.T) {
		srv, k := keptIn(t)
		var reads atomic.Int64
		k.read = func(ctx context.Context, r []broker.Read, p []broker.Page) {
			reads.Add(int64(len(r)))
			k.Broker.ReadKept(ctx, r, p)
		}
		args := strings.Repeat("x", 1000)
		starts := make([]string, channels)
		c := dialIn(t, srv, "juggler.1", nil)
		for i := range starts {
			name := fmt.Sprint("room.", i)
			starts[i] = position(c.sub(name, "", ""))
			c.send(fmt.Sprintf(`{"type":"UNSB","id":"u","channel":%q}`, name))
			c.expect(`{"type":"ACK","for":"u"}`)
			for range missed {
				if err := srv.Handler.Publish(t.Context(), name, args, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 2 {
			for i, start := range starts {
				c := openIn(t, srv, "juggler.1")
				c.write(t, maskedText(fmt.Sprintf(`{"type":"SUB","id":"s","channel":"room.%d","since":%s}`, i, start)))
				if m := c.takes(t, "ACK", nil); m["recovered"] != true {
					t.Fatal(m)
				}
				for range missed {
					c.takes(t, "EVNT", args)
				}
				c.conn.Close()
			}
		}
		if reads.Load() != channels {
			t.Errorf("%d pages were read of %d channels", reads.Load(), channels)
		}
		srv.WaitSessions(1)
	})
}

// Many clients that come back at once cost the broker little: those of one channel read it
// together, those of many channels share commands.
func TestClientsThatComeBackAtOnce(t *testing.T) {
	const clients, missed = 200, 5
	for _, own := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			srv, k := keptIn(t)
			channel := func(client int) string {
				if !own {
					client = 0
				}
				return fmt.Sprint("room.", client)
			}
			starts := make([]string, clients)
			c := dialIn(t, srv, "juggler.1", nil)
			for i := range starts {
				starts[i] = position(c.sub(channel(i), "", ""))
				c.send(fmt.Sprintf(`{"type":"UNSB","id":"u","channel":%q}`, channel(i)))
				c.expect(`{"type":"ACK","for":"u"}`)
			}
			for i := range clients * missed {
				if name := channel(i % clients); own || i < missed {
					if err := srv.Handler.Publish(t.Context(), name, i/clients, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			var calls, reads atomic.Int64
			gathered := make(chan struct{})
			k.read = func(ctx context.Context, r []broker.Read, p []broker.Page) {
				calls.Add(1)
				reads.Add(int64(len(r)))
				<-gathered // as the answer of a broker takes its time
				k.Broker.ReadKept(ctx, r, p)
			}
			raw := make([]*rawClient, clients)
			for i := range raw {
				raw[i] = openIn(t, srv, "juggler.1")
				raw[i].write(t, maskedText(fmt.Sprintf(`{"type":"SUB","id":"s","channel":%q,"since":%s}`, channel(i), starts[i])))
			}
			synctest.Wait()
			close(gathered)
			for i, c := range raw {
				if m := c.takes(t, "ACK", nil); m["recovered"] != true {
					t.Fatalf("client %d: %v", i, m)
				}
				for range missed {
					c.takes(t, "EVNT", nil)
				}
				c.conn.Close()
			}
			if !own && reads.Load() > 10 || own && calls.Load() > clients/50 {
				t.Errorf("own channels: %v: %d reads in %d commands for %d clients", own, reads.Load(), calls.Load(), clients)
			}
			srv.WaitSessions(1)
			if n := srv.Handler.Stats().QueuedBytes; n != 0 {
				t.Errorf("%d bytes wait in the end", n)
			}
		})
	}
}
