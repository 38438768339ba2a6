package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/jugglertest"
)

// quietly keeps pings out of tests that let time pass.
var quietly = juggler.WithPing(time.Hour)

// gate is an authorizer that holds requests on the channel "hold" up, each
// until a value can be received.
type gate chan struct{}

func (g gate) Authorize(ctx context.Context, r *juggler.Request) error {
	if r.Channel() != "hold" {
		return nil
	}
	select {
	case <-g:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func pub(id, channel string) string {
	return fmt.Sprintf(`{"type":"PUB","id":%q,"channel":%q,"args":%q}`, id, channel, id)
}

// pubs are n publications on the channel "c" with the ids p0, p1, ….
func pubs(n int) []string {
	messages := make([]string, n)
	for i := range messages {
		messages[i] = pub(fmt.Sprint("p", i), "c")
	}
	return messages
}

func acks(ids ...string) []string {
	messages := make([]string, len(ids))
	for i, id := range ids {
		messages[i] = fmt.Sprintf(`{"type":"ACK","for":%q}`, id)
	}
	return messages
}

// write sends frames.
func (c *rawClient) write(t *testing.T, frames ...[]byte) {
	t.Helper()
	if _, err := c.conn.Write(slices.Concat(frames...)); err != nil {
		t.Fatal(err)
	}
}

// wants takes messages, which must be these.
func (c *rawClient) wants(t *testing.T, messages ...string) {
	t.Helper()
	for _, want := range messages {
		if op, payload, err := c.frame(); err != nil || op != ws.OpText || string(payload) != want {
			t.Fatalf("got %v %s, %v; want %s", op, payload, err, want)
		}
	}
}

// wantsNothing checks that nothing comes for a minute, in a bubble.
func (c *rawClient) wantsNothing(t *testing.T) {
	t.Helper()
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if op, payload, err := c.frame(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v %s, %v; want nothing", op, payload, err)
	}
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// openIn makes a session in memory, in a bubble.
func openIn(t *testing.T, srv *jugglertest.Server, protocol string) *rawClient {
	t.Helper()
	conn, err := srv.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := openRaw(t, conn, protocol)
	if err := conn.SetDeadline(time.Time{}); err != nil { // time passes quickly there
		t.Fatal(err)
	}
	return c
}

// While a session's queue is full nothing of it is read: CANCEL and the close
// frame wait behind it.
func TestFullQueuePausesReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate)
		srv := jugglertest.New(t, juggler.WithMaxRequests(4), juggler.WithAuthorizer(g), quietly, juggler.WithMaxCallTimeout(time.Hour))
		srv.Handle("wait", wait)
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(`{"type":"CALL","id":"call","uri":"wait","timeout":3600000}`))
		c.wants(t, acks("call")...)
		c.write(t, maskedText(pub("1", "hold")))
		synctest.Wait()
		c.write(t, maskedText(pubs(4)...), maskedText(`{"type":"CANCEL","for":"call"}`, pub("2", "hold")))
		c.wantsNothing(t)
		if n := srv.Handler.Stats().Messages; n != 1+1+4 {
			t.Errorf("%d messages were read, want the call, the one held up, and 4 that wait", n)
		}
		g <- struct{}{}
		c.wants(t, acks("1", "p0", "p1", "p2", "p3")...)
		c.wantsFailure(t, frame.Res, "call", juggler.CodeCancelled)

		c.write(t, maskedText(pubs(4)...), maskedClose(3000, "done"))
		c.wantsNothing(t)
		srv.WaitSessions(1)
		g <- struct{}{}
		if code, _ := c.untilClose(t); code != 3000 {
			t.Errorf("closed with %d", code)
		}
		srv.WaitSessions(0)
	})
}

// So it is where the requests that wait are large. They count among what waits on the node,
// and no more once they were handled, or the session has ended.
func TestLargeRequestsPauseReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate)
		srv := jugglertest.New(t, juggler.WithMaxMessageBytes(2<<10), juggler.WithMaxQueueBytes(4<<10), juggler.WithAuthorizer(g), quietly)
		c := openIn(t, srv, "juggler.1")
		large := func(id string) string {
			return fmt.Sprintf(`{"type":"PUB","id":%q,"channel":"c","args":%q}`, id, strings.Repeat("x", 1500))
		}
		for _, last := range []bool{false, true} {
			before := srv.Handler.Stats().Messages
			c.write(t, maskedText(pub("0", "hold")))
			synctest.Wait()
			c.write(t, maskedText(large("1"), large("2"), large("3"), large("4"), large("5")))
			c.wantsNothing(t)
			if s := srv.Handler.Stats(); s.Messages-before != 1+3 || s.QueuedBytes < 3*1500 {
				t.Errorf("%d messages were read, and %d bytes wait, want the one held up and 3 that wait", s.Messages-before, s.QueuedBytes)
			}
			if last {
				c.conn.Close()
				srv.WaitSessions(0)
				synctest.Wait()
			} else {
				g <- struct{}{}
				c.wants(t, acks("0", "1", "2", "3", "4", "5")...)
			}
			if n := srv.Handler.Stats().QueuedBytes; n != 0 {
				t.Errorf("%d bytes wait in the end", n)
			}
		}
	})
}

// A client whose PONG waits behind its requests is not idle; and it hears
// PINGs, or it would take the server as gone.
func TestPingsWhileReadingIsPaused(t *testing.T) {
	for protocol, want := range map[string]ws.OpCode{"juggler.1": ws.OpText, "juggler.0": ws.OpPing} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := make(gate)
				srv := jugglertest.New(t, juggler.WithMaxRequests(1), juggler.WithAuthorizer(g), juggler.WithPing(10*time.Second))
				c := openIn(t, srv, protocol)
				if err := c.conn.SetDeadline(time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
				held, pong := pub("1", "hold"), maskedText(`{"type":"PONG"}`)
				if protocol == "juggler.0" {
					held, pong = `{"meta":{"type":2,"uuid":""},"payload":{"channel":"hold"}}`, maskedFrame(true, ws.OpPong, "")
				}
				expectPings := func(n int) {
					for range n {
						if op, payload, err := c.frame(); err != nil || op != want {
							t.Fatalf("got %v %s, %v; want a ping", op, payload, err)
						}
						c.write(t, pong)
					}
				}
				c.write(t, maskedText(held))
				synctest.Wait()
				c.write(t, maskedText(held)) // this one fills the queue
				expectPings(6)
				close(g)
				c.read(t, 2) // ACKs
				expectPings(3)
			})
		})
	}
}

// On every way a session whose queue is full is not read from, which others,
// of the same event loop too, do not notice. When it ends its queue is dropped.
func TestEndWithAFullQueue(t *testing.T) {
	s := newFaultServer(t, juggler.WithMaxRequests(8), juggler.WithAuthorizer(make(gate)), juggler.WithEventLoops(1), juggler.WithAuthenticator(userOfHost))
	ends := map[string]struct {
		end  func(*rawClient)
		code int
	}{
		"reset": {func(c *rawClient) { resetConn(c.conn) }, 1006},
		"end":   {func(c *rawClient) { c.conn.Close() }, 1006},
		"closed by the server": {func(c *rawClient) {
			s.h.DisconnectUser("server", 1001, "")
			c.untilClose(t)
			c.conn.Close()
		}, 1001},
	}
	for _, w := range s.ways {
		for name, e := range ends {
			t.Run(w.name+", "+name, func(t *testing.T) {
				before := s.h.Stats()
				c := s.victim(t, w, "juggler.1")
				c.write(t, maskedText(pub("held up", "hold")))
				waitFor(t, "the request to be read", func() bool { return s.h.Stats().Messages == before.Messages+3 })
				c.write(t, maskedText(pubs(100)...))
				// One less if the worker came for the first request only now.
				waitFor(t, "the queue to be full", func() bool { return s.h.Stats().Messages >= before.Messages+3+7 })
				e.end(c)
				s.aftermath(t, slog.LevelDebug, e.code)
				after := s.h.Stats()
				if n := after.Messages - before.Messages; n > 3+8+8+2 { // the worker may have taken 8 more; the bystander sent 2
					t.Errorf("%d messages were read", n)
				}
				if n := after.Publications - before.Publications; n != 1 {
					t.Errorf("%d publications, want the bystander's", n)
				}
			})
		}
	}
}

// A request is answered when it is done, however long the next one takes.
func TestAnswersDoNotWaitForLaterRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate)
		srv := jugglertest.New(t, juggler.WithAuthorizer(g), quietly)
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(pub("1", "hold")))
		synctest.Wait()
		c.write(t, maskedText(pub("2", "c"), pub("3", "hold"), pub("4", "c")))
		synctest.Wait()
		g <- struct{}{}
		c.wants(t, acks("1", "2")...)
		c.wantsNothing(t)
		g <- struct{}{}
		c.wants(t, acks("3", "4")...)
	})
}

// slowPubSub confirms publications on the channel "own" only when it is told
// to, and with what; they are delivered at once.
type slowPubSub struct {
	brokerCaller
	brokerCallee
	brokerPubSub
	confirm chan error
}

func newSlowPubSub(t *testing.T) *slowPubSub {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	plain := brokertest.Plain(brokertest.Roles{Caller: b, Callee: b, PubSub: b})
	return &slowPubSub{plain.Caller, plain.Callee, plain.PubSub, make(chan error)}
}

func (p *slowPubSub) Publish(ctx context.Context, e *broker.Event) error {
	if err := p.brokerPubSub.Publish(ctx, e); err != nil || e.Channel != "own" {
		return err
	}
	select {
	case err := <-p.confirm:
		return err
	case <-ctx.Done():
		return broker.ErrUnknownOutcome
	}
}

// answer takes a message of any type.
func (c *rawClient) answer(t *testing.T) (f frame.Frame) {
	t.Helper()
	_, payload, err := c.frame()
	if err == nil {
		err = frame.Juggler1.DecodeAnswer(payload, &f)
	}
	if err != nil {
		t.Fatalf("got %s, %v", payload, err)
	}
	return f
}

// wantsFailure takes a NACK or a RES with this code.
func (c *rawClient) wantsFailure(t *testing.T, typ frame.Type, id string, code int) {
	t.Helper()
	if f := c.answer(t); f.Type != typ || string(f.For) != id || f.Err.Code != code {
		t.Fatalf("got %v %s %d, want %v %s %d", f.Type, f.For, f.Err.Code, typ, id, code)
	}
}

// wantsEvents takes EVNTs, each known by its args, which are a string.
func (c *rawClient) wantsEvents(t *testing.T, args ...string) {
	t.Helper()
	for _, want := range args {
		if f := c.answer(t); f.Type != frame.Evnt || string(f.Args) != fmt.Sprintf("%q", want) {
			t.Fatalf("got %v %s %s; want the event %q", f.Type, f.For, f.Args, want)
		}
	}
}

// publish publishes from server code.
func publish(t *testing.T, srv *jugglertest.Server, args ...string) {
	t.Helper()
	for _, a := range args {
		if err := srv.Handler.Publish(t.Context(), "c", a, nil); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
}

// While a broker that waits confirms a PUB, events for its session are held
// back: its own must follow the ACK, and none may overtake another. Those that
// came during a later PUB wait for that one.
func TestEventsAreHeldBackBehindAPUB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSlowPubSub(t)
		srv := jugglertest.NewOn(t, p, juggler.WithBrokerTimeout(time.Hour), quietly)
		c, other := openIn(t, srv, "juggler.1"), openIn(t, srv, "juggler.1")
		c.write(t, maskedText(`{"type":"SUB","id":"a","channel":"own"}`, `{"type":"SUB","id":"b","channel":"c"}`))
		c.wants(t, acks("a", "b")...)
		other.write(t, maskedText(`{"type":"SUB","id":"a","channel":"c"}`))
		other.wants(t, acks("a")...)

		c.write(t, maskedText(pub("1", "own")))
		synctest.Wait()
		publish(t, srv, "x", "y")
		c.write(t, maskedText(pub("2", "own")))
		synctest.Wait()
		publish(t, srv, "z")
		other.wantsEvents(t, "x", "y", "z")
		c.wantsNothing(t)

		p.confirm <- nil
		c.wants(t, acks("1")...)
		c.wantsEvents(t, "1", "x", "y")
		c.wantsNothing(t)

		p.confirm <- fmt.Errorf("lost: %w", broker.ErrUnknownOutcome)
		c.wantsFailure(t, frame.Nack, "2", juggler.CodeInternal)
		c.wantsEvents(t, "z", "2")
		publish(t, srv, "at once")
		c.wantsEvents(t, "at once")
	})
}

// What is held back is bounded, as is what waits for a slow client.
func TestTooManyEventsHeldBack(t *testing.T) {
	for _, protocol := range []string{"juggler.1", "juggler.0"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSlowPubSub(t)
				srv := jugglertest.NewOn(t, p, juggler.WithBrokerTimeout(time.Hour), quietly,
					juggler.WithMaxMessageBytes(4<<10), juggler.WithMaxQueueBytes(8<<10))
				c, other := openIn(t, srv, protocol), openIn(t, srv, "juggler.1")
				sub, own := `{"type":"SUB","id":"a","channel":"c"}`, pub("1", "own")
				if protocol == "juggler.0" {
					sub, own = `{"meta":{"type":3,"uuid":""},"payload":{"channel":"c"}}`, `{"meta":{"type":2,"uuid":""},"payload":{"channel":"own"}}`
				}
				c.write(t, maskedText(sub))
				c.read(t, 1)
				other.write(t, maskedText(`{"type":"SUB","id":"a","channel":"c"}`))
				other.wants(t, acks("a")...)
				c.write(t, maskedText(own))
				synctest.Wait()
				for i := range 20 {
					text := fmt.Sprint(i, strings.Repeat("x", 1000))
					publish(t, srv, text)
					other.wantsEvents(t, text)
				}
				want := closeSeen(protocol, juggler.CloseSlowConsumer)
				if code, reason := c.untilClose(t); code != want || !strings.Contains(reason, "PUB") {
					t.Errorf("closed with %d %q, want %d", code, reason, want)
				}
				c.conn.Close()
				srv.WaitSessions(1)
				p.confirm <- nil // comes too late, and hurts nobody
				publish(t, srv, "still there")
				other.wantsEvents(t, "still there")
			})
		})
	}
}

// A GAP keeps its place among events that are held back.
func TestGapIsHeldBackBehindAPUB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSlowPubSub(t)
		srv := jugglertest.NewOn(t, p, juggler.WithBrokerTimeout(time.Hour), quietly)
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(`{"type":"SUB","id":"a","channel":"c"}`))
		c.wants(t, acks("a")...)
		c.write(t, maskedText(pub("1", "own")))
		synctest.Wait()
		publish(t, srv, "before")
		srv.Broker.Down()
		srv.Broker.Up()
		publish(t, srv, "after")
		c.wantsNothing(t)
		p.confirm <- nil
		c.wants(t, acks("1")...)
		c.wantsEvents(t, "before")
		c.wants(t, `{"type":"GAP","channel":"c"}`)
		c.wantsEvents(t, "after")
	})
}

// stuckCaller takes calls, but does not say so before its time is over.
type stuckCaller struct{ brokerCaller }

func (s stuckCaller) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	conn, err := s.brokerCaller.OpenCaller(ctx, node, deliver)
	return stuckCallerConn{conn}, err
}

type stuckCallerConn struct{ broker.CallerConn }

func (s stuckCallerConn) Call(ctx context.Context, c *broker.Call) error {
	if err := s.CallerConn.Call(ctx, c); err != nil {
		return err
	}
	<-ctx.Done()
	return fmt.Errorf("call %s: %w", c.URI, ctx.Err())
}

// A NACK says that a request was certainly not done. A call that the broker
// has not confirmed in time may be queued, so it is acknowledged.
func TestBrokerThatConfirmsTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSlowPubSub(t)
		p.brokerCaller = stuckCaller{p.brokerCaller}
		srv := jugglertest.NewOn(t, p, juggler.WithBrokerTimeout(time.Second), juggler.WithLogger(quiet), quietly)
		srv.Handle("echo", echo)
		srv.Handle("wait", wait)
		c := openIn(t, srv, "juggler.1")
		c.write(t, maskedText(`{"type":"CALL","id":"1","uri":"echo","args":7}`))
		c.wants(t, `{"type":"ACK","for":"1"}`, `{"type":"RES","for":"1","args":7}`)
		c.write(t, maskedText(`{"type":"CALL","id":"2","uri":"wait","timeout":5000}`))
		c.wants(t, acks("2")...)
		c.wantsFailure(t, frame.Res, "2", juggler.CodeExpired)
		c.write(t, maskedText(pub("3", "own"))) // for a publication there is no other word
		c.wantsFailure(t, frame.Nack, "3", juggler.CodeInternal)
	})
}

// Events that were held back behind a PUB may be too many for a client that
// does not read, once they are released.
func TestReleasedEventsOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(chan struct{})
		srv := jugglertest.New(t, juggler.WithPing(time.Hour), juggler.WithWriteTimeout(time.Hour),
			juggler.WithMaxMessageBytes(4<<10), juggler.WithMaxQueueBytes(64<<10),
			juggler.WithAuthorizer(juggler.AuthorizerFunc(func(_ context.Context, r *juggler.Request) error {
				if r.Channel() == "held" {
					<-g
				}
				return nil
			})))
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"SUB","id":"1","channel":"c"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		events := func(n int) {
			for range n {
				if err := srv.Handler.Publish(t.Context(), "c", strings.Repeat("x", 1000), nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		events(110) // fills what the network buffers, and some of the queue
		c.send(`{"type":"PUB","id":"2","channel":"held"}`)
		synctest.Wait()
		events(55)
		if srv.Handler.NumSessions() != 1 {
			t.Fatal("the session ended before its events were released")
		}
		close(g)
		synctest.Wait()
		c.expectClose(juggler.CloseSlowConsumer)
	})
}

// A broker whose deliveries may wait is slowed down when a shard is behind.
func TestDeliveriesWaitForAShardThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAlteredBroker(t)
		release := make(chan struct{})
		// On a broker that waits the authorizer runs off the turn, but a
		// logger is called on it.
		srv := jugglertest.NewOn(t, b, juggler.WithPing(time.Hour), juggler.WithLogger(blockingLogger(release)), juggler.WithAuthorizer(
			juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
				if r.Channel() == "refused" {
					return juggler.ErrForbidden
				}
				return nil
			})))
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"SUB","id":"1","channel":"c"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		synctest.Wait() // nobody wants the turn
		c.send(`{"type":"PUB","id":"2","channel":"refused"}`)
		synctest.Wait() // the turn waits for the logger
		var published atomic.Int32
		done := make(chan struct{})
		go func() {
			defer close(done)
			args := []byte(`"` + strings.Repeat("x", 1<<19) + `"`)
			for range 200 {
				b.brokerPubSub.Publish(t.Context(), &broker.Event{Channel: "c", Args: args})
				published.Add(1)
			}
		}()
		synctest.Wait()
		if n := published.Load(); n > 140 {
			t.Errorf("%d events of half a MiB wait for a shard", n)
		}
		close(release)
		c.expectClose(juggler.CloseSlowConsumer)
		<-done
	})
}
