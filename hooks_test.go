package juggler_test

import (
	"context"
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

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/jugglertest"
)

// hookLog is what hooks were told.
type hookLog struct {
	mu      sync.Mutex
	entries []string
}

func (d *hookLog) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf(format, args...))
}

func (d *hookLog) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.entries)
}

func (d *hookLog) hooks() juggler.Hooks {
	return juggler.Hooks{
		OnConnect:   func(_ context.Context, s juggler.Session) { d.add("connect %s", s.User()) },
		OnSignIn:    func(_ context.Context, s juggler.Session) { d.add("sign in %s", s.User()) },
		OnSubscribe: func(_ context.Context, _ juggler.Session, t broker.Topic) { d.add("subscribe %v", t) },
		OnUnsubscribe: func(_ context.Context, _ juggler.Session, t broker.Topic, why juggler.SubscriptionEnd) {
			d.add("unsubscribe %v %s", t, why)
		},
		OnDisconnect: func(_ context.Context, _ juggler.Session, e juggler.Disconnect) {
			d.add("disconnect %d %s %v", e.Code, e.Reason, e.ByClient)
		},
		OnGap: func(_ context.Context, t broker.Topic) { d.add("gap %v", t) },
	}
}

func TestHooks(t *testing.T) {
	var d hookLog
	s := newServer(t, juggler.WithHooks(d.hooks()), juggler.WithDeferredAuth(tokens, time.Minute))
	c := s.dial("juggler.1")
	c.send(`{"type":"AUTH","id":"1","token":"ann"}`)
	c.send(`{"type":"SUB","id":"2","channel":"c"}`)
	c.send(`{"type":"SUB","id":"3","channel":"c*","pattern":true}`)
	c.send(`{"type":"UNSB","id":"4","channel":"c"}`)
	c.send(`{"type":"UNSB","id":"5","channel":"c"}`)
	c.send(`{"type":"SUB","id":"6","channel":"c*","pattern":true}`) // changes nothing
	for i := range 6 {
		c.expect(fmt.Sprintf(`{"type":"ACK","for":"%d"}`, i+1))
	}
	c.conn.Close(4777, "my own")
	want := []string{"connect ", "sign in ann", "subscribe {c false}", "subscribe {c* true}", "unsubscribe {c false} unsb", "unsubscribe {c* true} session_ended", "disconnect 4777 my own true"}
	waitFor(t, "the hooks", func() bool { return len(d.read()) >= len(want) })
	if got := d.read(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestHookOfAGap(t *testing.T) {
	var d hookLog
	srv := jugglertest.New(t, juggler.WithHooks(juggler.Hooks{OnGap: d.hooks().OnGap}))
	c := dialIn(t, srv, "juggler.1", nil)
	c.send(`{"type":"SUB","id":"1","channel":"c*","pattern":true}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	old := dialIn(t, srv, "juggler.0", nil)
	old.send(`{"meta":{"type":3,"uuid":""},"payload":{"channel":"c*","pattern":true}}`)
	old.expect(`{"meta":{"type":8}}`)
	srv.Broker.Down()
	srv.Broker.Up()
	c.expect(`{"type":"GAP","channel":"c*","pattern":true}`)
	old.expectClose(juggler.CloseOverloaded)
	srv.Wait("the hook", func() bool { return slices.Equal(d.read(), []string{"gap {c* true}"}) })
	if n := srv.Handler.Stats().Gaps; n != 1 {
		t.Errorf("%d gaps counted", n)
	}
}

// A hook that panics, or ends its goroutine, hurts nobody; one that blocks holds
// up its session.
func TestHooksThatMisbehave(t *testing.T) {
	release := make(chan struct{})
	s := newServer(t, juggler.WithLogger(quiet), juggler.WithHooks(juggler.Hooks{
		OnConnect: func(context.Context, juggler.Session) { panic("at connect") },
		OnSubscribe: func(context.Context, juggler.Session, broker.Topic) {
			<-release
			runtime.Goexit()
		},
	}))
	a, b := s.dial("juggler.1"), s.dial("juggler.1")
	a.send(`{"type":"SUB","id":"1","channel":"c"}`)
	a.expect(`{"type":"ACK","for":"1"}`)
	a.send(`{"type":"PUB","id":"2","channel":"c"}`)
	b.send(`{"type":"PUB","id":"1","channel":"other"}`)
	b.expect(`{"type":"ACK","for":"1"}`)
	close(release)
	a.expect(`{"type":"ACK","for":"2"}`)
	a.expect(`{"type":"EVNT","channel":"c"}`)
	if n := s.h.Stats().Panics; n != 3 {
		t.Errorf("%d panics counted", n)
	}
	a.conn.Close(websocket.StatusNormalClosure, "")
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

// Whose a session was is known to the end, however it ends.
func TestAddresses(t *testing.T) {
	for name, tt := range map[string]struct{ remote, want string }{
		"as it is":       {"", "127.0.0.1"},
		"IPv4, no port":  {"192.0.2.1", "192.0.2.1"},
		"IPv4 as IPv6":   {"[::ffff:192.0.2.1]:80", "192.0.2.1"},
		"IPv6":           {"[2001:db8::1]:80", "2001:db8::1"},
		"IPv6 and zone":  {"[fe80::1%eth0]:80", "fe80::1"},
		"a Unix socket":  {"@", "invalid IP"},
		"what it is not": {"nonsense", "invalid IP"},
	} {
		t.Run(name, func(t *testing.T) {
			told := make(chan string, 2)
			var log lockedBuffer
			h, err := juggler.New(juggler.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))), juggler.WithHooks(juggler.Hooks{
				OnConnect: func(_ context.Context, s juggler.Session) { told <- s.RemoteAddr().String() },
				OnDisconnect: func(_ context.Context, _ juggler.Session, d juggler.Disconnect) {
					told <- d.RemoteAddr.String()
				},
			}))
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.remote != "" {
					r.RemoteAddr = tt.remote
				}
				h.ServeHTTP(w, r)
			}))
			defer server.Close()
			defer h.Shutdown(t.Context())
			c := dialRaw(t, server.Listener.Addr().String())
			if got := <-told; got != tt.want {
				t.Errorf("connected from %s, want %s", got, tt.want)
			}
			resetConn(c.conn)
			if got := <-told; got != tt.want {
				t.Errorf("disconnected from %s, want %s", got, tt.want)
			}
			waitFor(t, "the log line", func() bool { return strings.Contains(log.String(), "session ended") })
			if said := strings.Contains(log.String(), "remote="+tt.want+"\n") || strings.Contains(log.String(), "remote="+tt.want+" "); said != (tt.want != "invalid IP") {
				t.Errorf("logged:\n%s", log.String())
			}
		})
	}
}

// Behind a proxy that is trusted, the log of a refusal names the client.
func TestRefusalsNameTheClient(t *testing.T) {
	var log lockedBuffer
	h, err := juggler.New(juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), juggler.WithTrustedProxies("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Shutdown(t.Context())
	r := httptest.NewRequest(http.MethodGet, "/", nil) // from 192.0.2.1
	r.Header.Set("X-Forwarded-For", "203.0.113.7")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if !strings.Contains(log.String(), "remote=203.0.113.7") {
		t.Errorf("logged:\n%s", log.String())
	}
}
