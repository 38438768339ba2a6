package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

// statusAs returns the status that a handshake of a user gets, which is over then.
func (s *testServer) statusAs(user string) (status int, retryAfter string) {
	s.t.Helper()
	r := upgrade(s.http.URL)
	r.Header.Set("User", user)
	resp, _ := try(s.t, r)
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// A user may have so many sessions; one that ends makes room, however it ends.
func TestMaxUserSessions(t *testing.T) {
	s := newServer(t, juggler.WithAuthenticator(byUserHeader), juggler.WithMaxUserSessions(2), juggler.WithLogger(quiet))
	ann := http.Header{"User": {"ann"}}
	first := s.dialHeader("juggler.1", ann)
	second := s.dialHeader("juggler.0", ann)
	if status, retry := s.statusAs("ann"); status != http.StatusTooManyRequests || retry == "" {
		t.Errorf("third session: %d, Retry-After %q", status, retry)
	}
	s.dialHeader("juggler.1", http.Header{"User": {"bob"}})
	browser := s.connect("juggler.1", http.Header{"User": {"ann"}, "Origin": {s.http.URL}})
	browser.expectClose(juggler.CloseOverloaded)
	if got := s.h.Stats().Refusals; len(got) != 1 || got[0].Reason != juggler.RefusedUserSessions || got[0].Count != 2 {
		t.Errorf("refusals: %+v", got)
	}

	first.conn.Close(websocket.StatusNormalClosure, "")
	s.waitSessions(2)
	s.dialHeader("juggler.1", ann)
	second.conn.CloseNow()
	s.waitSessions(2)
	s.dialHeader("juggler.1", ann)
	if status, _ := s.statusAs("ann"); status != http.StatusTooManyRequests {
		t.Errorf("with two again: %d", status)
	}
}

// Who signs in by AUTH counts from then on, and no more for whom the session was before.
func TestMaxUserSessionsByAuth(t *testing.T) {
	s := newServer(t, juggler.WithDeferredAuth(tokens, 1<<40), juggler.WithMaxUserSessions(1), juggler.WithLogger(quiet))
	auth := func(c *testClient, user, want string) {
		t.Helper()
		c.send(`{"type":"AUTH","id":"1","token":"` + user + `"}`)
		c.expect(want)
	}
	const yes, no = `{"type":"ACK"}`, `{"type":"NACK","error":{"code":429}}`
	a, b := s.dial("juggler.1"), s.dial("juggler.1")
	auth(a, "ann", yes)
	auth(a, "ann", yes) // renewed
	auth(b, "ann", no)
	auth(b, "bob", yes)
	auth(a, "bob", no)
	auth(b, "cid", yes)
	auth(a, "bob", yes) // which makes room for ann
	auth(b, "ann", yes)
	auth(s.dial("juggler.1"), "cid", yes)
}

// Of many handshakes at the same time as many get in as there is room for, and afterwards
// all places are free again.
func TestManyHandshakesOfOneUser(t *testing.T) {
	const room = 5
	s := newServer(t, juggler.WithAuthenticator(byUserHeader), juggler.WithMaxUserSessions(room), juggler.WithLogger(quiet))
	for round := range 3 {
		var in atomic.Int32
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				conn, _, err := websocket.Dial(t.Context(), strings.Replace(s.http.URL, "http", "ws", 1), &websocket.DialOptions{
					Subprotocols: []string{"juggler.1"}, HTTPHeader: http.Header{"User": {"ann"}},
				})
				if err == nil {
					in.Add(1)
					t.Cleanup(func() { conn.CloseNow() })
				}
			})
		}
		all.Wait()
		if in.Load() != room {
			t.Fatalf("round %d: %d sessions, want %d", round, in.Load(), room)
		}
		s.h.DisconnectUser("ann", 4000, "")
		s.waitSessions(0)
	}
}

func TestMaxAddressSessions(t *testing.T) {
	s := newServer(t, juggler.WithMaxAddressSessions(2), juggler.WithTrustedProxies("127.0.0.1"), juggler.WithLogger(quiet),
		juggler.WithAddressRates(juggler.AddressRates{}))
	from := func(addr string) http.Header { return http.Header{"X-Forwarded-For": {addr}} }
	status := func(addr string) int {
		r := upgrade(s.http.URL)
		r.Header.Set("X-Forwarded-For", addr)
		resp, _ := try(t, r)
		return resp.StatusCode
	}
	s.dialHeader("juggler.1", from("2001:db8::1"))
	c := s.dialHeader("juggler.1", from("2001:db8::2")) // the same network
	if got := status("2001:db8::3"); got != http.StatusTooManyRequests {
		t.Errorf("third of the network: %d", got)
	}
	if got := status("2001:db8:0:1::3"); got != http.StatusSwitchingProtocols {
		t.Errorf("of another one: %d", got)
	}
	c.conn.CloseNow()
	s.waitSessions(1)
	if got := status("2001:db8::3"); got != http.StatusSwitchingProtocols {
		t.Errorf("with room again: %d", got)
	}
	if got := s.h.Stats().Refusals; len(got) != 1 || got[0].Reason != juggler.RefusedAddressSessions {
		t.Errorf("refusals: %+v", got)
	}
}

// A broker that cannot do what an option needs is named, with what it lacks.
func TestLackingRoles(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for lacks, o := range map[string]juggler.Option{
		"it is no broker.Presence": juggler.WithMaxUserSessionsEverywhere(1),
		"it is no broker.Registry": juggler.WithCluster(),
	} {
		_, err := juggler.New(juggler.WithBroker(mayWait(b)), o)
		if !errors.Is(err, juggler.ErrInvalidOption) || !strings.Contains(fmt.Sprint(err), lacks) {
			t.Errorf("want %q, got %v", lacks, err)
		}
	}
}

// troubledPresence is a broker whose Presence cannot be read while it fails.
type troubledPresence struct {
	*memory.Broker
	failing atomic.Bool
}

func (p *troubledPresence) OpenPresence(ctx context.Context, node broker.ID, changed func([]broker.HereChange)) (broker.PresenceConn, error) {
	conn, err := p.Broker.OpenPresence(ctx, node, changed)
	return troubledPresenceConn{conn, p}, err
}

type troubledPresenceConn struct {
	broker.PresenceConn
	of *troubledPresence
}

func (c troubledPresenceConn) ReadHere(ctx context.Context, channel string, most int) (broker.Here, error) {
	if c.of.failing.Load() {
		return broker.Here{}, broker.ErrUnavailable
	}
	return c.PresenceConn.ReadHere(ctx, channel, most)
}

// The sessions of a user count on all nodes, those that ended and those of nodes that went no
// more. Where it cannot be told how many there are nobody more gets in.
func TestMaxUserSessionsEverywhere(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	p := &troubledPresence{Broker: b}
	node := func() *testServer {
		return newNodeOn(t, p, juggler.WithAuthenticator(byUserHeader), juggler.WithDeferredAuth(tokens, time.Hour),
			juggler.WithMaxUserSessionsEverywhere(2), juggler.WithLogger(quiet))
	}
	one, two := node(), node()
	ann := http.Header{"User": {"ann"}}
	first := one.dialHeader("juggler.1", ann)
	second := two.dialHeader("juggler.1", ann)
	third := two.dial("juggler.1")
	third.send(`{"type":"AUTH","id":"1","token":"ann"}`)
	third.expect(`{"type":"NACK","error":{"code":429}}`)
	for _, s := range []*testServer{one, two} {
		if status, retry := s.statusAs("ann"); status != http.StatusTooManyRequests || retry == "" {
			t.Errorf("third session: %d, Retry-After %q", status, retry)
		}
	}
	if status, _ := one.statusAs("bob"); status != http.StatusSwitchingProtocols {
		t.Errorf("somebody else: %d", status)
	}
	first.conn.CloseNow()
	one.waitSessions(0)
	third.send(`{"type":"AUTH","id":"2","token":"ann"}`)
	third.expect(`{"type":"ACK"}`)
	if status, _ := one.statusAs("ann"); status != http.StatusTooManyRequests {
		t.Errorf("with two on the other node: %d", status)
	}
	second.conn.CloseNow()
	third.conn.CloseNow()
	two.waitSessions(0)
	two.dialHeader("juggler.1", ann)
	two.dialHeader("juggler.1", ann)
	p.failing.Store(true)
	if status, _ := one.statusAs("bob"); status != http.StatusServiceUnavailable {
		t.Errorf("where it cannot be told: %d", status)
	}
	p.failing.Store(false)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = two.h.Shutdown(ended) // its sessions are cut off
	one.dialHeader("juggler.1", ann)
	one.dialHeader("juggler.1", ann)
	if status, _ := one.statusAs("ann"); status != http.StatusTooManyRequests {
		t.Errorf("third session on the node that is left: %d", status)
	}
}
