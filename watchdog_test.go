package juggler_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/jugglertest"
)

// waiter is code that waits where it may not, until its channel is closed.
type waiter chan struct{}

func (w waiter) middleware(context.Context, *juggler.Request) (func(error) error, error) {
	<-w
	return nil, nil
}

func (w waiter) authorizer(context.Context, *juggler.Request) error {
	<-w
	return nil
}

func (w waiter) observer(juggler.CallEnd) { <-w }

// Authorize is that of a type which declares that it never waits.
func (w waiter) Authorize(context.Context, *juggler.Request) error {
	<-w
	return nil
}

func (waiter) NeverBlocks() {}

func (w waiter) done(context.Context, *juggler.Request) (func(error) error, error) {
	return func(err error) error { <-w; return err }, nil
}

func (w waiter) onCallEnd(_ context.Context, r *juggler.Request) (func(error) error, error) {
	r.OnCallEnd(w.observer)
	return nil, nil
}

// While code waits on an event loop, or on the turn of a portable connection, the log has
// its name.
func TestWatchdogNamesWhatWaitsOnTheLoop(t *testing.T) {
	for name, tt := range map[string]struct {
		option   func(waiter) juggler.Option
		function string
	}{
		"middleware":      {func(w waiter) juggler.Option { return juggler.WithNonBlockingMiddleware(w.middleware) }, "waiter.middleware"},
		"its done":        {func(w waiter) juggler.Option { return juggler.WithNonBlockingMiddleware(w.done) }, "waiter.done"},
		"authorizer":      {func(w waiter) juggler.Option { return juggler.WithAuthorizer(juggler.NonBlocking(w.authorizer)) }, "waiter.authorizer"},
		"authorizer type": {func(w waiter) juggler.Option { return juggler.WithAuthorizer(w) }, "waiter.Authorize"},
		"observer":        {func(w waiter) juggler.Option { return juggler.WithCallObserver(w.observer) }, "waiter.observer"},
		"OnCallEnd":       {func(w waiter) juggler.Option { return juggler.WithNonBlockingMiddleware(w.onCallEnd) }, "waiter.observer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			var log lockedBuffer
			w := make(waiter)
			s := newServer(t, juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), tt.option(w))
			release := sync.OnceFunc(func() { close(w) })
			s.handle("echo", echo)
			c := s.dial("juggler.1")
			defer release()
			c.send(`{"type":"CALL","id":"1","uri":"echo"}`)
			waitFor(t, "the warning", func() bool {
				return warnings(log.String(), "declared never to wait", []string{tt.function}) == 1
			})
			if n := s.h.Stats().Blocked; n != 1 {
				t.Errorf("counted %d", n)
			}
			release()
			c.expect(`{"type":"ACK"}`)
			c.expect(`{"type":"RES"}`)
		})
	}
	t.Run("TLS", func(t *testing.T) {
		t.Parallel() // it mostly waits
		var log lockedBuffer
		w := make(waiter)
		s := newServer(t, juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), juggler.WithNonBlockingMiddleware(w.middleware))
		defer close(w)
		front := httptest.NewTLSServer(s.h)
		defer front.Close()
		conn, _, err := websocket.Dial(t.Context(), front.URL, &websocket.DialOptions{Subprotocols: []string{"juggler.1"}, HTTPClient: front.Client()})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		c := &testClient{t, conn}
		c.send(`{"type":"PUB","id":"1","channel":"c"}`)
		waitFor(t, "the warning", func() bool {
			return warnings(log.String(), "declared never to wait", []string{"waiter.middleware"}) == 1
		})
	})
}

// What takes less than 100 ms is not counted, however often it comes, and what takes more
// is, once for each call. The log has the function once.
func TestWatchdogCountsWhatTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		h, err := juggler.New(juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		if err != nil {
			t.Fatal(err)
		}
		run := func(n int, takes time.Duration) {
			for range n {
				leave := juggler.EnterUserCode(h, tokenExpired)
				time.Sleep(takes)
				leave()
			}
		}
		run(20, 60*time.Millisecond)
		if n := h.Stats().Blocked; n != 0 {
			t.Errorf("%d of those counted that do not take long", n)
		}
		run(3, time.Second)
		time.Sleep(time.Minute) // the watchdog is at rest
		run(1, time.Second)
		if n := h.Stats().Blocked; n != 4 {
			t.Errorf("counted %d", n)
		}
		if n := warnings(log.String(), "declared never to wait", []string{"juggler_test.tokenExpired", "mistakes_test.go:"}); n != 1 {
			t.Errorf("%d warnings:\n%s", n, log.String())
		}
	})
}

// Where the broker waits such code runs off the turn, and is found once it comes back.
func TestWatchdogOffTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.New()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		var log lockedBuffer
		takes := 60 * time.Millisecond
		srv := jugglertest.NewOn(t, mayWait(b), juggler.WithPing(time.Hour), juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			juggler.WithAuthorizer(juggler.NonBlocking(func(context.Context, *juggler.Request) error {
				time.Sleep(takes)
				return nil
			})))
		c := dialIn(t, srv, "juggler.1", nil)
		for want := range uint64(3) {
			c.send(`{"type":"PUB","id":"1","channel":"c"}`)
			c.expect(`{"type":"ACK"}`)
			if n := srv.Handler.Stats().Blocked; n != want {
				t.Errorf("counted %d, want %d", n, want)
			}
			takes = time.Second
		}
		if n := strings.Count(log.String(), "declared never to wait"); n != 1 {
			t.Errorf("%d warnings:\n%s", n, log.String())
		}
	})
}
