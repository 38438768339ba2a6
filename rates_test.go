package juggler_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/jugglertest"
)

// What comes too early is refused with the time that it has to wait, and taken after it.
func TestSessionRates(t *testing.T) {
	tests := []struct {
		name, message string // %d is the id
		rates         juggler.Rates
	}{
		{"messages", `{"type":"PUB","id":"%d","channel":"c"}`, juggler.Rates{Messages: juggler.Rate{PerSecond: 10, Burst: 5}}},
		{"calls", `{"type":"CALL","id":"%d","uri":"wait"}`, juggler.Rates{Calls: juggler.Rate{PerSecond: 10, Burst: 5}}},
		{"publications", `{"type":"PUB","id":"%d","channel":"c"}`, juggler.Rates{Publications: juggler.Rate{PerSecond: 10, Burst: 5}}},
		{"subscriptions", `{"type":"SUB","id":"%d","channel":"c"}`, juggler.Rates{Subscriptions: juggler.Rate{PerSecond: 10, Burst: 5}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := jugglertest.New(t, juggler.WithSessionRates(tt.rates))
				callee := srv.NewCallee()
				callee.Handle("wait", wait)
				srv.Start(callee)
				c := dialIn(t, srv, "juggler.1", nil)
				send := func(id int, answer string) map[string]any {
					c.send(fmt.Sprintf(tt.message, id))
					return c.expect(fmt.Sprintf(answer, id))
				}
				for id := range 5 {
					send(id, `{"type":"ACK","for":"%d"}`)
				}
				nack := send(5, `{"type":"NACK","for":"%d","error":{"code":429,"message":"too many `+tt.name+` of this session"}}`)
				retry := time.Duration(nack["error"].(map[string]any)["retry_after"].(float64)) * time.Millisecond
				if retry <= 0 || retry > 400*time.Millisecond {
					t.Errorf("retry_after %v", retry)
				}
				time.Sleep(retry)
				if tt.name == "messages" {
					send(6, `{"type":"ACK","for":"%d"}`)
					return
				}
				send(6, `{"type":"NACK","for":"%d","error":{"code":429}}`) // what was refused counts
				time.Sleep(retry + 100*time.Millisecond)
				send(7, `{"type":"ACK","for":"%d"}`)
				c.send(`{"type":"UNSB","id":"8","channel":"c"}`) // is never refused
				c.expect(`{"type":"ACK","for":"8"}`)
			})
		})
	}
}

// Clients are told what they may send.
func TestHelloSaysRates(t *testing.T) {
	s := newServer(t, juggler.WithSessionRates(juggler.Rates{Calls: juggler.Rate{PerSecond: 7}}), juggler.WithMaxCallsPerURI(9))
	conn, _, err := websocket.Dial(t.Context(), s.http.URL, &websocket.DialOptions{Subprotocols: []string{"juggler.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	c := &testClient{t, conn}
	c.expect(`{"type":"HELLO","limits":{"calls_per_uri":9,"rates":{"calls":{"per_second":7,"burst":7}}}}`)
}

// A client that goes on in spite of refusals is closed, whatever it sends and on both
// I/O paths, and what it sends is not handled before.
func TestFloodIsClosed(t *testing.T) {
	text := func(payload string) string { return string(maskedFrame(true, ws.OpText, payload)) }
	floods := map[string]struct{ first, then string }{
		"publications":  {"", text(`{"type":"PUB","id":"1","channel":"c"}`)},
		"subscriptions": {"", text(`{"type":"SUB","id":"1","channel":"c"}`)},
		"UNSB":          {"", text(`{"type":"UNSB","id":"1","channel":"c"}`)},
		"CANCEL":        {"", text(`{"type":"CANCEL","for":"1"}`)},
		"PONG":          {"", text(`{"type":"PONG"}`)},
		"AUTH":          {"", text(`{"type":"AUTH","id":"1","token":"x"}`)},
		"malformed":     {"", text(`{"type":"CALL","id":"1"}`)},
		"pings":         {"", string(maskedFrame(true, ws.OpPing, ""))},
		"pongs":         {"", string(maskedFrame(true, ws.OpPong, ""))},
		"fragments":     {string(maskedFrame(false, ws.OpText, "{")), string(maskedFrame(false, ws.OpContinuation, ""))},
		"large":         {"", text(`{"type":"PUB","id":"1","channel":"c","args":"` + strings.Repeat("x", 2<<10) + `"}`)},
	}
	var all sync.WaitGroup // most of the time nothing is read
	for name, flood := range floods {
		for _, path := range []string{"event loop", "portable"} {
			s := newServer(t, juggler.WithSessionRates(juggler.Rates{Messages: juggler.Rate{PerSecond: 20, Burst: 2}}), juggler.WithLogger(quiet))
			addr := s.http.Listener.Addr().String()
			if path == "portable" {
				addr = serveTCP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.h.ServeHTTP(hiddenSocket{w}, r) }))
			}
			c := dialRaw(t, addr)
			all.Go(func() { // ends when the server has closed
				out := []byte(flood.first + strings.Repeat(flood.then, 20))
				for {
					if _, err := c.conn.Write(out); err != nil {
						return
					}
					out = []byte(strings.Repeat(flood.then, 20))
				}
			})
			all.Go(func() {
				defer c.conn.Close()
				// A burst passes each time that it is read again, some are refused, and on a
				// busy machine some more are paid off meanwhile.
				const most = 50 * 20
				code, _, answers, err := c.toClose()
				if err != nil || code != juggler.CloseOverloaded || answers > most {
					t.Errorf("%s, %s: closed with %d, %v after %d answers, want 1013 after at most %d", name, path, code, err, answers, most)
				}
			})
		}
	}
	all.Wait()
}

// The sessions of a user share rates, also after an AUTH as somebody else.
func TestUserRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithDeferredAuth(tokens, time.Minute),
			juggler.WithSessionRates(juggler.Rates{}), juggler.WithUserRates(juggler.Rates{Publications: juggler.Rate{PerSecond: 1, Burst: 2}}))
		signIn := func(c *testClient, user string) {
			c.send(`{"type":"AUTH","id":"1","token":"` + user + `"}`)
			c.expect(`{"type":"ACK","for":"1"}`)
		}
		publish := func(c *testClient, answer string) {
			c.t.Helper()
			c.send(`{"type":"PUB","id":"2","channel":"c"}`)
			c.expect(answer)
		}
		const ack, nack = `{"type":"ACK","for":"2"}`, `{"type":"NACK","for":"2","error":{"code":429,"message":"too many publications of this user"}}`
		a, b, other := dialIn(t, srv, "juggler.1", nil), dialIn(t, srv, "juggler.1", nil), dialIn(t, srv, "juggler.1", nil)
		signIn(a, "ann")
		signIn(b, "ann")
		signIn(other, "bob")
		publish(a, ack)
		publish(b, ack)
		publish(a, nack)
		publish(b, nack)
		publish(other, ack)
		signIn(b, "bob") // who has published once
		publish(b, ack)
		publish(other, nack)
		a.conn.CloseNow()
		synctest.Wait()
		a = dialIn(t, srv, "juggler.1", nil) // to come back does not help
		signIn(a, "ann")
		publish(a, nack)
		time.Sleep(time.Second)
		publish(a, ack)
	})
}

func TestAddressRates(t *testing.T) {
	s := newServer(t, juggler.WithTrustedProxies("127.0.0.1"), juggler.WithLogger(quiet),
		juggler.WithAddressRates(juggler.AddressRates{
			Rates:      juggler.Rates{Publications: juggler.Rate{PerSecond: 1, Burst: 2}},
			Handshakes: juggler.Rate{PerSecond: 1, Burst: 3},
		}))
	addr := s.http.Listener.Addr().String()
	publish := func(c *rawClient) string {
		c.conn.Write(maskedText(`{"type":"PUB","id":"1","channel":"c"}`))
		_, payload, err := c.frame()
		if err != nil {
			t.Fatal(err)
		}
		return string(payload)
	}
	a, b := dialRaw(t, addr, "X-Forwarded-For: 203.0.113.1"), dialRaw(t, addr, "X-Forwarded-For: 203.0.113.1")
	other := dialRaw(t, addr, "X-Forwarded-For: 203.0.113.2")
	for i, c := range []*rawClient{a, b} {
		if got := publish(c); !strings.Contains(got, "ACK") {
			t.Errorf("publication %d: %s", i, got)
		}
	}
	for _, c := range []*rawClient{a, b} {
		if got := publish(c); !strings.Contains(got, "too many publications of this address") {
			t.Errorf("a publication more: %s", got)
		}
	}
	if got := publish(other); !strings.Contains(got, "ACK") {
		t.Errorf("of another address: %s", got)
	}

	r := upgrade(s.http.URL)
	r.Header.Set("X-Forwarded-For", "203.0.113.1")
	if resp, _ := try(t, r); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("third handshake: %d", resp.StatusCode)
	}
	resp, _ := try(t, r)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("fourth handshake: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}

// Nobody who cannot be told apart from others shares a rate with them.
func TestUnknownAddressHasNoRates(t *testing.T) {
	s := newServer(t, juggler.WithAddressRates(juggler.AddressRates{Handshakes: juggler.Rate{PerSecond: 1}}))
	for range 5 {
		r := upgrade(s.http.URL)
		r.Header.Set("X-Forwarded-For", "203.0.113.1") // from a peer that nobody said to trust
		if resp, _ := try(t, r); resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
}

// A message that counts more than a burst is taken where nothing came before it.
func TestMessageLargerThanBurst(t *testing.T) {
	s := newServer(t, juggler.WithSessionRates(juggler.Rates{Messages: juggler.Rate{PerSecond: 10, Burst: 8}}))
	c := s.dial("juggler.1")
	c.send(`{"type":"PUB","id":"1","channel":"c","args":"` + strings.Repeat("x", 20<<10) + `"}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	c.send(`{"type":"PUB","id":"2","channel":"c"}`)
	c.expect(`{"type":"NACK","for":"2","error":{"code":429}}`)
}

// A session may have so many calls of one URI, and others beside them.
func TestMaxCallsPerURI(t *testing.T) {
	s := newServer(t, juggler.WithMaxCallsPerURI(2), juggler.WithMaxCalls(4))
	s.handle("wait", wait)
	s.handle("other", wait)
	c := s.dial("juggler.1")
	for i, uri := range []string{"wait", "wait", "other", "wait", "other", "other"} {
		c.send(fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"%s"}`, i, uri))
		answer := `{"type":"ACK"}`
		if i == 3 || i == 5 {
			answer = `{"type":"NACK","error":{"code":429}}`
		}
		c.expect(answer)
	}
	c.send(`{"type":"CANCEL","for":"0"}`)
	c.expect(`{"type":"RES","for":"0","error":{"code":499}}`)
	c.send(`{"type":"CALL","id":"6","uri":"wait"}`)
	c.expect(`{"type":"ACK","for":"6"}`)
}

func TestRatesRefused(t *testing.T) {
	for want, o := range map[string]juggler.Option{
		"WithSessionRates: messages":        juggler.WithSessionRates(juggler.Rates{Messages: juggler.Rate{PerSecond: -1}}),
		"WithSessionRates: calls":           juggler.WithSessionRates(juggler.Rates{Calls: juggler.Rate{Burst: 1}}),
		"WithUserRates: publications":       juggler.WithUserRates(juggler.Rates{Publications: juggler.Rate{PerSecond: 1, Burst: 1 << 30}}),
		"WithAddressRates: subscriptions":   juggler.WithAddressRates(juggler.AddressRates{Rates: juggler.Rates{Subscriptions: juggler.Rate{PerSecond: 1 << 30}}}),
		"WithAddressRates: failed sign-ins": juggler.WithAddressRates(juggler.AddressRates{FailedSignIns: juggler.Rate{PerSecond: 1, Burst: -1}}),
		"WithAddressRates: handshakes":      juggler.WithAddressRates(juggler.AddressRates{Handshakes: juggler.Rate{Burst: 1}}),
		"WithTrustedProxies":                juggler.WithTrustedProxies("10.0.0.0/99"),
		"WithMaxUnauthenticated":            juggler.WithMaxUnauthenticated(5), // without WithDeferredAuth
	} {
		if _, err := juggler.New(o); !errors.Is(err, juggler.ErrInvalidOption) || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %s, got %v", want, err)
		}
	}
}
