package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/jugglertest"
)

func TestShutdownPacesAndWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithDrainRate(1), juggler.WithPing(time.Hour))
		srv.Handle("slow", func(context.Context, *calleeCall) (any, error) {
			time.Sleep(30 * time.Second)
			return "done", nil
		})
		clients := make([]*testClient, 4)
		for i := range clients {
			clients[i] = dialIn(t, srv, "juggler.1", nil)
		}
		busy := clients[0]
		busy.send(`{"type":"CALL","id":"1","uri":"slow"}`)
		busy.expect(`{"type":"ACK","for":"1"}`)
		old := dialIn(t, srv, "juggler.0", nil)
		closed := make(chan error, 1)
		go func() {
			_, _, err := old.conn.Read(t.Context())
			closed <- err
		}()

		start := time.Now()
		down := make(chan error, 1)
		go func() { down <- srv.Handler.Shutdown(context.Background()) }()
		after := make(map[float64]bool)
		for i, c := range clients {
			after[c.expect(`{"type":"GOAWAY"}`)["after"].(float64)] = true
			if i > 0 {
				c.expectClose(juggler.CloseGoingAway)
			}
		}
		if len(after) != 4 || !after[0] {
			t.Errorf("GOAWAY after %v, want four times, one of them now", after)
		}
		busy.expect(`{"type":"RES","for":"1","args":"done"}`)
		busy.expectClose(juggler.CloseGoingAway)
		if err := <-closed; websocket.CloseStatus(err) != juggler.CloseGoingAway {
			t.Errorf("juggler.0 was closed with %v", err)
		}
		if err := <-down; err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d < 29*time.Second || d > 31*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// A client that calls on and on, whatever it is told, does not keep the node from
// going, and learns what of it was not done.
func TestShutdownOfAClientThatCallsOnAndOn(t *testing.T) {
	for _, protocol := range []string{"juggler.0", "juggler.1"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := jugglertest.New(t, quietly)
				srv.Handle("slow", func(context.Context, *calleeCall) (any, error) {
					time.Sleep(3 * time.Second)
					return nil, nil
				})
				c := openIn(t, srv, protocol)
				call := `{"type":"CALL","id":"%d","uri":"slow"}`
				if protocol == "juggler.0" {
					call = `{"meta":{"type":1,"uuid":""},"payload":{"uri":"slow"}}`
				}
				down := make(chan error, 1)
				for i := range 100 {
					_, _ = c.conn.Write(maskedText(strings.Replace(call, "%d", strconv.Itoa(i), 1))) // fails in the end
					if i == 0 {
						synctest.Wait()
						go func() { down <- srv.Handler.Shutdown(context.Background()) }()
					}
					select {
					case err := <-down:
						if err != nil {
							t.Error(err)
						}
						if n := srv.Handler.Stats().Nacks; n == 0 {
							t.Error("no call was refused")
						}
						return
					case <-time.After(2 * time.Second):
					}
				}
				t.Fatal("the session does not end")
			})
		})
	}
}

func TestShutdownOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t)
		srv.Handle("wait", wait)
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"CALL","id":"1","uri":"wait"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := srv.Handler.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		c.expect(`{"type":"GOAWAY"}`)
		c.expectClose(juggler.CloseGoingAway)
		if n := srv.Handler.NumSessions(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		if err := srv.Handler.Publish(t.Context(), "c", 1, nil); !errors.Is(err, juggler.ErrShutdown) {
			t.Errorf("Publish: %v", err)
		}
		if _, ok := srv.Handler.Session(fmt.Sprintf("%026d", 0)); ok {
			t.Error("found a session")
		}
		if err := srv.Handler.Shutdown(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

// User code that does not heed its context is left behind, and said so.
func TestShutdownLeavesStuckUserCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		srv := jugglertest.New(t, juggler.WithAuthorizer(juggler.AuthorizerFunc(func(context.Context, *juggler.Request) error {
			<-release
			return nil
		})))
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"PUB","id":"1","channel":"c"}`)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := srv.Handler.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(release)
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

// What else the http.Server waits for, as a request that takes long, does not keep the
// sessions from being told.
func TestShutdownWithTellsSessionsAtOnce(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := newServer(t, juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
		if r.Header.Get("Slow") != "" {
			close(begun)
			<-goOn
		}
		return nil, nil
	}))
	c := s.dial("juggler.1")
	slow := make(chan struct{})
	go func() {
		defer close(slow)
		_, _, err := websocket.Dial(context.Background(), strings.Replace(s.http.URL, "http", "ws", 1), &websocket.DialOptions{
			Subprotocols: []string{"juggler.1"},
			HTTPHeader:   http.Header{"Slow": {"yes"}},
		})
		if err == nil {
			t.Error("a handshake succeeds while the handler shuts down")
		}
	}()
	<-begun
	down := make(chan error, 1)
	go func() { down <- s.h.ShutdownWith(context.Background(), s.http.Config) }()
	c.expect(`{"type":"GOAWAY"}`)
	c.conn.CloseNow()
	s.waitSessions(0)
	select {
	case err := <-down:
		t.Errorf("the server did not wait for the request: %v", err)
	default:
	}
	close(goOn)
	if err := <-down; err != nil {
		t.Error(err)
	}
	<-slow
}
