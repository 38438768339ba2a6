package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/jugglertest"
)

// alteredBroker is the embedded broker, without what is optional of it and
// with other behaviour where a field is set.
type alteredBroker struct {
	brokerCaller
	brokerCallee
	brokerPubSub
	call    func(context.Context, *broker.Call) error
	open    func(context.Context) error
	publish func(context.Context) error
}

func newAlteredBroker(t *testing.T) *alteredBroker {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	p := brokertest.Plain(brokertest.Roles{Caller: b, Callee: b, PubSub: b})
	return &alteredBroker{brokerCaller: p.Caller, brokerCallee: p.Callee, brokerPubSub: p.PubSub}
}

func (b *alteredBroker) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	if b.open != nil {
		if err := b.open(ctx); err != nil {
			return nil, err
		}
	}
	conn, err := b.brokerCaller.OpenCaller(ctx, node, deliver)
	if err != nil || b.call == nil {
		return conn, err
	}
	return &alteredCaller{conn, b.call}, nil
}

func (b *alteredBroker) Publish(ctx context.Context, e *broker.Event) error {
	if b.publish != nil {
		if err := b.publish(ctx); err != nil {
			return err
		}
	}
	return b.brokerPubSub.Publish(ctx, e)
}

type alteredCaller struct {
	broker.CallerConn
	call func(context.Context, *broker.Call) error
}

func (c *alteredCaller) Call(ctx context.Context, call *broker.Call) error { return c.call(ctx, call) }

// A SUB that waits behind a hook is handled off the turn. The topic may have
// lost its last subscriber by the time the SUB is answered.
func TestSubscribeBehindAHookWhileOthersUnsubscribe(t *testing.T) {
	var first atomic.Bool
	connected, acquired, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	stop := func(_ context.Context, r *juggler.Request) (func(error) error, error) {
		return func(err error) error {
			if r.Session().User() == "ann" {
				close(acquired)
				<-release
			}
			return err
		}, nil
	}
	s := newServer(t, juggler.WithEventLoops(1), juggler.WithNonBlockingMiddleware(stop),
		juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
			return &juggler.Identity{User: r.Header.Get("User")}, nil
		}),
		juggler.WithHooks(juggler.Hooks{OnConnect: func(_ context.Context, s juggler.Session) {
			if s.User() == "ann" && first.CompareAndSwap(false, true) {
				<-connected
			}
		}}))
	bob := s.dialHeader("juggler.1", http.Header{"User": {"bob"}})
	bob.send(`{"type":"SUB","id":"1","channel":"c"}`)
	bob.expect(`{"type":"ACK","for":"1"}`)
	ann := s.dialHeader("juggler.1", http.Header{"User": {"ann"}})
	before := s.h.Stats().Messages
	ann.send(`{"type":"SUB","id":"1","channel":"c"}`)
	waitFor(t, "the SUB to be read", func() bool { return s.h.Stats().Messages > before })
	close(connected)
	<-acquired
	bob.send(`{"type":"UNSB","id":"2","channel":"c"}`)
	bob.expect(`{"type":"ACK","for":"2"}`)
	close(release)
	ann.expect(`{"type":"ACK","for":"1"}`)
	if err := s.h.Publish(t.Context(), "c", 7, nil); err != nil {
		t.Fatal(err)
	}
	ann.expect(`{"type":"EVNT","channel":"c","args":7}`)
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

// A sign-in that takes its time holds up its own session only.
func TestSignInDoesNotHoldUpOthers(t *testing.T) {
	release := make(chan struct{})
	s := newServer(t, juggler.WithEventLoops(1), juggler.WithDeferredAuth(func(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
		if token == "slow" {
			<-release
		}
		return &juggler.Identity{User: token}, nil
	}, time.Hour))
	let := sync.OnceFunc(func() { close(release) })
	defer let()
	a, b := s.dial("juggler.1"), s.dial("juggler.1")
	a.send(`{"type":"AUTH","id":"\u0031","token":"\u0073low"}`)
	a.send(`{"type":"PUB","id":"2","channel":"c"}`)
	waitFor(t, "the AUTH to be read", func() bool { return s.h.Stats().Messages >= 1 })
	b.send(`{"type":"AUTH","id":"1","token":"fast"}`)
	b.expect(`{"type":"ACK","for":"1"}`)
	let()
	a.expect(`{"type":"ACK","for":"1"}`)
	a.expect(`{"type":"ACK","for":"2"}`)
	if n := len(slices.Collect(s.h.SessionsOf("slow"))); n != 1 {
		t.Errorf("%d sessions of the one that signed in slowly", n)
	}
}

// A session that ended while its client was signing in is nobody's.
func TestSignInOfASessionThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		srv := jugglertest.New(t, juggler.WithDeferredAuth(func(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
			if token == "late" {
				<-release
			}
			return &juggler.Identity{User: "ann"}, nil
		}, time.Hour))
		stays := dialIn(t, srv, "juggler.1", nil)
		stays.send(`{"type":"AUTH","id":"1","token":"x"}`)
		stays.expect(`{"type":"ACK","for":"1"}`)
		goes := dialIn(t, srv, "juggler.1", nil)
		goes.send(`{"type":"AUTH","id":"1","token":"late"}`)
		synctest.Wait()
		goes.conn.CloseNow()
		srv.WaitSessions(1)
		close(release)
		synctest.Wait()
		if n := len(slices.Collect(srv.Handler.SessionsOf("ann"))); n != 1 {
			t.Errorf("%d sessions of ann, want the one that is there", n)
		}
	})
}

// User code that returns an Error pointer without an Error has failed; so has
// one that gives no code.
func TestErrorsWithoutContent(t *testing.T) {
	var none *juggler.Error
	s := newServer(t, juggler.WithLogger(quiet),
		juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
			if r.Header.Get("User") == "nobody" {
				return nil, none
			}
			return &juggler.Identity{}, nil
		}),
		juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
			if r.Channel() == "none" {
				return none
			}
			return &juggler.Error{Message: "no code"}
		})))
	c := s.dial("juggler.1")
	c.send(`{"type":"PUB","id":"1","channel":"none"}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":500}}`)
	c.send(`{"type":"PUB","id":"2","channel":"c"}`)
	c.expect(`{"type":"NACK","for":"2","error":{"code":500,"message":"no code"}}`)

	r := upgrade(s.http.URL)
	r.Header.Set("User", "nobody")
	if resp, _ := try(t, r); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a client that nobody knows gets %d", resp.StatusCode)
	}
}

// The authorizer sees of a header that occurs twice what the callee will see.
func TestHeaderThatOccursTwice(t *testing.T) {
	s := newServer(t, juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
		return &juggler.Error{Code: 403, Message: r.Header("tenant")}
	})))
	c := s.dial("juggler.1")
	c.send(`{"type":"PUB","id":"1","channel":"c","headers":{"tenant":"mine","\u0074enant":"yours"}}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":403,"message":"yours"}}`)
}

// A call whose fate the broker cannot tell may run: it is acknowledged.
func TestCallWithUnclassifiedOutcome(t *testing.T) {
	for name, failure := range map[string]error{
		"time over":    context.DeadlineExceeded,
		"unclassified": errors.New("engine: secret host reset the connection"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newAlteredBroker(t)
				b.call = func(context.Context, *broker.Call) error { return failure }
				srv := jugglertest.NewOn(t, b)
				c := dialIn(t, srv, "juggler.1", nil)
				c.send(`{"type":"CALL","id":"1","uri":"u","timeout":100}`)
				c.expect(`{"type":"ACK","for":"1"}`)
				c.expect(`{"type":"RES","for":"1","error":{"code":408}}`)
			})
		})
	}
}

// So it is with a publication, except that nothing can be expected of it.
func TestPublicationWithUnclassifiedOutcome(t *testing.T) {
	b := newAlteredBroker(t)
	b.publish = func(context.Context) error { return errors.New("engine: secret host reset the connection") }
	srv := jugglertest.NewOn(t, b)
	c := dialIn(t, srv, "juggler.1", nil)
	c.send(`{"type":"PUB","id":"1","channel":"c"}`)
	got := fmt.Sprint(c.expect(`{"type":"NACK","for":"1","error":{"code":500}}`))
	if strings.Contains(got, "secret") || !strings.Contains(got, "outcome unknown") {
		t.Errorf("got %s", got)
	}
}

func TestPublicationsInBatchesAreCounted(t *testing.T) {
	s := newServer(t, juggler.WithAuthorizer(juggler.AuthorizerFunc(func(context.Context, *juggler.Request) error { return nil })))
	c := s.dial("juggler.1")
	const n = 200
	for i := range n {
		c.send(fmt.Sprintf(`{"type":"PUB","id":"%d","channel":"c"}`, i))
	}
	for range n {
		c.expect(`{"type":"ACK"}`)
	}
	if got := s.h.Stats().Publications; got != n {
		t.Errorf("%d publications are counted, want %d", got, n)
	}
}

// Server code publishes from the start on, whoever connects meanwhile.
func TestPublishWhileTheFirstSessionStarts(t *testing.T) {
	s := newServer(t)
	done := make(chan error)
	go func() {
		var err error
		for range 1000 {
			err = errors.Join(err, s.h.Publish(t.Context(), "c", 1, nil))
		}
		done <- err
	}()
	s.dial("juggler.1")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPublishHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAlteredBroker(t)
		b.publish = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		srv := jugglertest.NewOn(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := srv.Handler.Publish(ctx, "c", 1, nil)
		if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d > 2*time.Second {
			t.Errorf("%v after %v", err, d)
		}
	})
}

// A session that is asked to go, and renews its credentials, still goes.
func TestRenewalWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPing(time.Hour), juggler.WithDeferredAuth(tokens, time.Hour))
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"AUTH","id":"1","token":"ann until=1h"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		done := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			defer cancel()
			done <- srv.Handler.Shutdown(ctx)
		}()
		c.expect(`{"type":"GOAWAY"}`)
		c.send(`{"type":"AUTH","id":"2","token":"ann"}`)
		c.expect(`{"type":"ACK","for":"2"}`)
		start := time.Now()
		c.expectClose(juggler.CloseGoingAway)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("closed after %v", d)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// The sessions are asked to go at the rate that was set, also where there
// were many more before.
func TestDrainRateAfterAPeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPing(time.Hour), juggler.WithEventLoops(1), juggler.WithDrainRate(1))
		var clients []*testClient
		for range 100 {
			clients = append(clients, dialIn(t, srv, "juggler.1", nil))
		}
		for _, c := range clients[10:] {
			c.conn.CloseNow()
		}
		srv.WaitSessions(10)
		go srv.Handler.Shutdown(context.Background())
		last := 0.0
		for _, c := range clients[:10] {
			last = max(last, c.expect(`{"type":"GOAWAY"}`)["after"].(float64))
			c.conn.CloseNow()
		}
		if last < 9000 {
			t.Errorf("10 sessions are asked to go within %v ms, at one a second", last)
		}
		srv.WaitSessions(0)
	})
}

// A broker that does not answer holds up neither a handshake for ever nor
// Shutdown beyond its context.
func TestBrokerThatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAlteredBroker(t)
		b.open = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		h, err := juggler.New(juggler.WithBroker(b), juggler.WithBrokerTimeout(10*time.Second), juggler.WithLogger(quiet))
		if err != nil {
			t.Fatal(err)
		}
		try := func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, upgrade(jugglertest.URL))
			return w.Code
		}
		start := time.Now()
		if status := try(); status != http.StatusServiceUnavailable || time.Since(start) > 11*time.Second {
			t.Errorf("got %d after %v", status, time.Since(start))
		}
		done := make(chan int)
		for range 10 {
			go func() { done <- try() }()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if err := h.Shutdown(ctx); time.Since(start) > 2*time.Second {
			t.Errorf("Shutdown took %v: %v", time.Since(start), err)
		}
		for range 10 {
			if status := <-done; status != http.StatusServiceUnavailable {
				t.Errorf("got %d", status)
			}
		}
	})
}

// A NACK for a limit of the session says when to try again.
func TestLimitsSayWhenToRetry(t *testing.T) {
	s := newServer(t, juggler.WithMaxSubscriptions(0), juggler.WithMaxCalls(0))
	c := s.dial("juggler.1")
	for _, request := range []string{`{"type":"SUB","id":"1","channel":"c"}`, `{"type":"CALL","id":"1","uri":"u"}`} {
		c.send(request)
		nack := c.expect(`{"type":"NACK","for":"1","error":{"code":429}}`)
		if after, _ := nack["error"].(map[string]any)["retry_after"].(float64); after <= 0 {
			t.Errorf("%s: %v", request, nack)
		}
	}
}

// Time that the authorizer takes for later calls is time that earlier ones do
// not have any more: one whose time is over is not started.
func TestCallsOfABatchExpireMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.New() // as it is: it takes batches
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		srv := jugglertest.New(t, juggler.WithBroker(b), juggler.WithPing(time.Hour), juggler.WithAuthorizer(juggler.AuthorizerFunc(func(_ context.Context, r *juggler.Request) error {
			if r.URI() == "late" || r.Channel() == "first" {
				time.Sleep(5 * time.Second)
			}
			return nil
		})))
		var started atomic.Int32
		callee, err := calleekit.New(b)
		if err != nil {
			t.Fatal(err)
		}
		callee.Handle("soon", func(context.Context, *calleeCall) (any, error) {
			started.Add(1)
			return nil, nil
		})
		callee.Handle("late", echo)
		if err := callee.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { callee.Close() })
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"PUB","id":"0","channel":"first"}`)
		synctest.Wait() // it is being authorized; the calls wait together
		c.send(`{"type":"CALL","id":"1","uri":"soon","timeout":6000}`)
		c.send(`{"type":"CALL","id":"2","uri":"late"}`)
		c.expect(`{"type":"ACK","for":"0"}`)
		c.expect(`{"type":"NACK","for":"1","error":{"code":408}}`)
		c.expect(`{"type":"ACK","for":"2"}`)
		c.expect(`{"type":"RES","for":"2"}`)
		synctest.Wait()
		if n := started.Load(); n != 0 {
			t.Errorf("a call whose time is over was started")
		}
	})
}

// However many topics a gap concerns, its hook is called for one at a time.
func TestHookOfManyGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told, running, most atomic.Int32
		srv := jugglertest.New(t, juggler.WithPing(time.Hour), juggler.WithLogger(quiet), juggler.WithHooks(juggler.Hooks{
			OnGap: func(context.Context, broker.Topic) {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				if told.Add(1) == 7 {
					runtime.Goexit()
				}
			},
		}))
		c := dialIn(t, srv, "juggler.1", nil)
		for i := range 50 {
			c.send(fmt.Sprintf(`{"type":"SUB","id":"1","channel":"c%d"}`, i))
			c.expect(`{"type":"ACK","for":"1"}`)
		}
		srv.Broker.Down()
		srv.Broker.Up()
		for range 50 {
			c.expect(`{"type":"GAP"}`)
		}
		time.Sleep(time.Minute)
		if told.Load() != 50 || most.Load() != 1 {
			t.Errorf("told of %d gaps, %d at a time", told.Load(), most.Load())
		}
	})
}

// Calls of the sessions that Shutdown closes are cancelled, also on a broker
// that waits.
func TestShutdownOutOfTimeCancelsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAlteredBroker(t)
		srv := jugglertest.NewOn(t, b, juggler.WithLogger(quiet), juggler.WithMaxCallTimeout(time.Hour))
		cancelled := make(chan struct{})
		srv.Handle("wait", func(ctx context.Context, _ *calleeCall) (any, error) {
			<-ctx.Done()
			close(cancelled)
			return nil, ctx.Err()
		})
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"CALL","id":"1","uri":"wait","timeout":3600000}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := srv.Handler.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		start := time.Now()
		<-cancelled
		if d := time.Since(start); d > time.Second {
			t.Errorf("cancelled after %v", d)
		}
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

// A SUB that was handed over and is not answered yet counts for the PUB behind
// it, also if the last subscriber of the shard left meanwhile.
func TestSubCountsThoughTheLastSubscriberLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settle, release := make(chan struct{}), make(chan struct{})
		subs := 0
		srv := jugglertest.New(t, juggler.WithEventLoops(1), juggler.WithLogger(blockingLogger(release)),
			juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler {
				return func(ctx context.Context, r *juggler.Request) error {
					if r.Channel() == "refused" {
						return juggler.ErrForbidden
					}
					err := next(ctx, r)
					if r.Type() == frame.Sub {
						if subs++; subs == 2 {
							<-settle
						}
					}
					return err
				}
			}))
		first, second, third := dialIn(t, srv, "juggler.1", nil), dialIn(t, srv, "juggler.1", nil), dialIn(t, srv, "juggler.1", nil)
		first.send(`{"type":"SUB","id":"1","channel":"c"}`)
		first.expect(`{"type":"ACK","for":"1"}`)
		second.send(`{"type":"SUB","id":"1","channel":"c"}`)
		synctest.Wait() // it is handed over
		second.send(`{"type":"PUB","id":"2","channel":"c"}`)
		first.send(`{"type":"UNSB","id":"2","channel":"c"}`)
		first.expect(`{"type":"ACK","for":"2"}`)
		synctest.Wait() // nobody wants the turn
		third.send(`{"type":"PUB","id":"1","channel":"refused"}`)
		synctest.Wait() // the turn waits for the logger
		close(settle)
		synctest.Wait() // the event is there before the SUB is settled
		close(release)
		second.expect(`{"type":"ACK","for":"1"}`)
		second.expect(`{"type":"ACK","for":"2"}`)
		second.expect(`{"type":"EVNT","channel":"c"}`)
	})
}

// blockingLogger waits for release with its first line about a refused request.
func blockingLogger(release chan struct{}) *slog.Logger {
	return slog.New(&blockingLog{release: release})
}

type blockingLog struct{ release chan struct{} }

func (l *blockingLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *blockingLog) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "request refused") {
		<-l.release
	}
	return nil
}

func (l *blockingLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *blockingLog) WithGroup(string) slog.Handler      { return l }
