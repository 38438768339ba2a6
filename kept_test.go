package juggler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/internal/waiting"
)

// What an authenticator has found beside the identity is with the session, and what the
// next sign-in has found takes its place.
func TestValuesFromAuthenticators(t *testing.T) {
	account, plan := juggler.NewSessionKey[int](), juggler.NewSessionKey[string]()
	identity := func(user string, number int) *juggler.Identity {
		id := &juggler.Identity{User: user}
		account.SetIn(id, number)
		return id
	}
	found := func(r *juggler.Request) string {
		n, _ := account.Get(r.Session())
		p, ok := plan.Get(r.Session())
		return fmt.Sprint(r.Session().User(), n, p, ok)
	}
	seen := make(chan string, 3)
	s := newServer(t,
		juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) {
			id := identity("ann", 7)
			plan.SetIn(id, "free")
			return id, nil
		}),
		juggler.WithDeferredAuth(func(context.Context, juggler.Session, string) (*juggler.Identity, error) {
			return identity("bob", 8), nil
		}, waiting.Most),
		juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
			seen <- found(r)
			return nil
		})))
	c := s.dial("juggler.1")
	for _, m := range []string{`{"type":"SUB","id":"1","channel":"c"}`, `{"type":"AUTH","id":"2","token":"x"}`, `{"type":"SUB","id":"3","channel":"c"}`} {
		c.send(m)
		c.expect(`{"type":"ACK"}`)
	}
	for _, want := range []string{"ann7freetrue", "bob8freetrue" /* as AUTH makes it another user */, "bob8freetrue"} {
		if got := <-seen; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// On both I/O paths a session has the headers that are listed, cut where they are long, and
// values by key, from OnConnect to OnDisconnect; both are gone afterwards.
func TestWhatASessionKeeps(t *testing.T) {
	number, other := juggler.NewSessionKey[int](), juggler.NewSessionKey[int]()
	connected, ended := make(chan juggler.Session, 1), make(chan int, 1)
	s := newServer(t, juggler.WithHandshakeHeaders("user-agent", "X-Long"), juggler.WithHooks(juggler.Hooks{
		OnConnect: func(_ context.Context, s juggler.Session) { number.Set(s, 1); number.Set(s, 7); connected <- s },
		OnDisconnect: func(_ context.Context, s juggler.Session, _ juggler.Disconnect) {
			n, _ := number.Get(s)
			ended <- n + len(s.Header("X-Long"))
		},
	}))
	for path, front := range fronts(t, s.h) {
		t.Run(path, func(t *testing.T) { keepsAndForgets(t, s, front, number, other, connected, ended) })
	}
	if _, err := juggler.New(juggler.WithHandshakeHeaders(make([]string, 17)...)); err == nil || !strings.Contains(err.Error(), "WithHandshakeHeaders(17)") {
		t.Errorf("too many headers: %v", err)
	}
}

func keepsAndForgets(t *testing.T, s *testServer, front *httptest.Server, number, other *juggler.SessionKey[int], connected chan juggler.Session, ended chan int) {
	r := upgrade(front.URL)
	r.Header.Set("User-Agent", "curl/8")
	r.Header.Set("X-Long", strings.Repeat("x", 1000))
	r.Header.Set("X-Other", "secret")
	conn, _, err := websocket.Dial(t.Context(), front.URL, &websocket.DialOptions{Subprotocols: []string{"juggler.1"}, HTTPHeader: r.Header, HTTPClient: front.Client()})
	if err != nil {
		t.Fatal(err)
	}
	session := <-connected
	if got := session.Header("User-agent") + " " + session.Header("X-Other") + session.Header("X-Long"); got != "curl/8 "+strings.Repeat("x", 512) {
		t.Errorf("headers: %q", got)
	}
	if n, ok := number.Get(session); n != 7 || !ok {
		t.Errorf("value: %d, %v", n, ok)
	}
	if n, ok := other.Get(session); n != 0 || ok {
		t.Errorf("value of another key: %d, %v", n, ok)
	}
	conn.Close(websocket.StatusNormalClosure, "")
	if got := <-ended; got != 512+7 {
		t.Errorf("OnDisconnect saw %d", got)
	}
	waitFor(t, "all to be forgotten", func() bool { _, ok := number.Get(session); return !ok })
	number.Set(session, 1)
	if _, ok := number.Get(session); ok || session.Header("X-Long") != "" {
		t.Error("something is kept of a session that has ended")
	}
}
