package juggler_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/jugglertest"
)

// Clients that do not sign in take no place of those that do: the oldest of them goes,
// also if it does not answer the close.
func TestClientsThatDoNotSignIn(t *testing.T) {
	s := newServer(t, juggler.WithDeferredAuth(tokens, time.Hour), juggler.WithMaxSessions(8), juggler.WithMaxUnauthenticated(4), juggler.WithLogger(quiet))
	addr := s.http.Listener.Addr().String()
	var idle []*rawClient
	for range 4 {
		idle = append(idle, dialRaw(t, addr))
	}
	for i := range 3 {
		c := s.dial("juggler.1")
		c.send(`{"type":"AUTH","id":"1","token":"ann"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		op, payload, err := idle[i].frame()
		if code, _ := ws.ParseCloseFrameData(payload); err != nil || op != ws.OpClose || code != juggler.CloseOverloaded {
			t.Errorf("client %d got op %x %q, %v; want to be closed with 1013", i, op, payload, err)
		}
		idle = append(idle, dialRaw(t, addr))
	}
	s.waitSessions(3 + 4)
}

// So many that come at once push each other out, too: each takes the place of another.
func TestManyThatDoNotSignInAtOnce(t *testing.T) {
	s := newServer(t, juggler.WithDeferredAuth(tokens, time.Hour), juggler.WithMaxUnauthenticated(4), juggler.WithLogger(quiet))
	addr := s.http.Listener.Addr().String()
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { conn.Close() })
			upgrade("http://" + addr).Write(conn)
			conn.Read(make([]byte, 1)) // the handshake is answered
		})
	}
	all.Wait()
	s.waitSessions(4)
}

// If all places are taken, one of those that do not sign in is given to who comes again.
func TestFullOfClientsThatDoNotSignIn(t *testing.T) {
	s := newServer(t, juggler.WithDeferredAuth(tokens, time.Hour), juggler.WithMaxSessions(4), juggler.WithMaxUnauthenticated(4), juggler.WithLogger(quiet))
	for range 4 {
		dialRaw(t, s.http.Listener.Addr().String())
	}
	waitFor(t, "a place", func() bool {
		resp, _ := try(t, upgrade(s.http.URL))
		return resp.StatusCode == http.StatusSwitchingProtocols
	})
}

// One address has a quarter of the places at most, so that others stay.
func TestOneAddressThatDoesNotSignIn(t *testing.T) {
	s := newServer(t, juggler.WithDeferredAuth(tokens, time.Hour), juggler.WithMaxUnauthenticated(8), juggler.WithTrustedProxies("127.0.0.1"), juggler.WithLogger(quiet))
	addr := s.http.Listener.Addr().String()
	slow := dialRaw(t, addr, "X-Forwarded-For: 203.0.113.1")
	for i := range 20 {
		dialRaw(t, addr, fmt.Sprintf("X-Forwarded-For: 2001:db8::%x", i+1)) // one network
	}
	s.waitSessions(3)
	slow.conn.Write(maskedText(`{"type":"AUTH","id":"1","token":"ann"}`))
	if _, payload, err := slow.frame(); err != nil || !strings.Contains(string(payload), "ACK") {
		t.Errorf("the client of another address: %q, %v", payload, err)
	}
}

// So many sign-ins run at once, and those that wait have their turn.
func TestMaxSignIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most, done atomic.Int64
		slow := func(context.Context, juggler.Session, string) (*juggler.Identity, error) {
			for n := running.Add(1); ; {
				m := most.Load()
				if n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			defer running.Add(-1)
			time.Sleep(time.Second)
			done.Add(1)
			return &juggler.Identity{User: "ann"}, nil
		}
		srv := jugglertest.New(t, juggler.WithDeferredAuth(slow, time.Minute), juggler.WithMaxSignIns(2))
		var clients []*testClient
		for range 7 {
			c := dialIn(t, srv, "juggler.1", nil)
			c.send(`{"type":"AUTH","id":"1","token":"x"}`)
			clients = append(clients, c)
		}
		for _, c := range clients {
			c.expect(`{"type":"ACK","for":"1"}`)
		}
		if most.Load() != 2 || done.Load() != 7 {
			t.Errorf("%d at once, %d in all; want 2 and 7", most.Load(), done.Load())
		}
	})
}

// Who has to wait too long for a sign-in is told that this passes.
func TestSignInsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context, _ juggler.Session, _ string) (*juggler.Identity, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		srv := jugglertest.New(t, juggler.WithDeferredAuth(hang, time.Second), juggler.WithMaxSignIns(1),
			juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
				if r.Header.Get("Cookie") == "" {
					return nil, nil
				}
				<-r.Context().Done()
				return nil, r.Context().Err()
			}))
		var clients []*testClient
		for range 3 {
			clients = append(clients, dialIn(t, srv, "juggler.1", nil))
		}
		for _, c := range clients {
			c.send(`{"type":"AUTH","id":"1","token":"x"}`)
		}
		for _, c := range clients {
			c.expectClose(juggler.CloseOverloaded)
		}
	})
}

// A client whose tokens are no good is not asked for ever.
func TestGuessedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithDeferredAuth(tokens, time.Minute))
		c := dialIn(t, srv, "juggler.1", nil)
		for range 5 {
			c.send(`{"type":"AUTH","id":"1","token":"expired"}`)
			c.expect(`{"type":"NACK","for":"1","error":{"code":401}}`)
		}
		c.expectClose(juggler.CloseUnauthenticated)

		c = dialIn(t, srv, "juggler.1", nil)
		for range 3 { // one that is good between them makes up for them
			for _, token := range []string{"expired", "expired", "expired", "expired", "ann"} {
				c.send(`{"type":"AUTH","id":"1","token":"` + token + `"}`)
				c.receive()
			}
		}
		for range 20 { // a failure of ours counts for nothing
			c.send(`{"type":"AUTH","id":"1","token":"broken"}`)
			c.expect(`{"type":"NACK","for":"1","error":{"code":500}}`)
		}
		c.send(`{"type":"PUB","id":"2","channel":"c"}`)
		c.expect(`{"type":"ACK","for":"2"}`)
	})
}

// From an address from which too many sign-ins failed no more are looked at for a while,
// by whichever way they come.
func TestFailedSignInsOfAddress(t *testing.T) {
	var asked atomic.Int64
	s := newServer(t, juggler.WithTrustedProxies("127.0.0.1"), juggler.WithLogger(quiet),
		juggler.WithAddressRates(juggler.AddressRates{FailedSignIns: juggler.Rate{PerSecond: 1, Burst: 4}}),
		juggler.WithDeferredAuth(tokens, time.Minute),
		juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
			switch r.Header.Get("Cookie") {
			case "":
				return nil, nil
			case "bad":
				asked.Add(1)
				return nil, juggler.ErrUnauthenticated
			}
			return &juggler.Identity{User: "ann"}, nil
		}))
	handshake := func(address, cookie string) int {
		r := upgrade(s.http.URL)
		r.Header.Set("X-Forwarded-For", address)
		r.Header.Set("Cookie", cookie)
		resp, _ := try(t, r)
		return resp.StatusCode
	}
	c := dialRaw(t, s.http.Listener.Addr().String(), "X-Forwarded-For: 203.0.113.1")
	auth := func() string {
		c.conn.Write(maskedText(`{"type":"AUTH","id":"1","token":"expired"}`))
		_, payload, err := c.frame()
		if err != nil {
			t.Fatal(err)
		}
		return string(payload)
	}
	for range 2 {
		if got := auth(); !strings.Contains(got, `"code":401`) {
			t.Errorf("AUTH: %s", got)
		}
		if code := handshake("203.0.113.1", "bad"); code != 401 {
			t.Errorf("handshake: %d", code)
		}
	}
	if got := auth(); !strings.Contains(got, `"code":429`) || !strings.Contains(got, "retry_after") {
		t.Errorf("an AUTH more: %s", got)
	}
	if code := handshake("203.0.113.1", "bad"); code != 429 || asked.Load() != 2 {
		t.Errorf("a handshake more: %d, the authenticator was asked %d times", code, asked.Load())
	}
	if code := handshake("203.0.113.2", "good"); code != 101 {
		t.Errorf("of another address: %d", code)
	}
}
