package juggler_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/jugglertest"
)

// tokens signs in "user" or "user until=10s".
func tokens(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
	user, until, _ := strings.Cut(token, " until=")
	switch user {
	case "nobody":
		return nil, nil
	case "expired":
		return nil, &juggler.Error{Code: 401, Message: "expired"}
	case "broken":
		return nil, errors.New("db: secret host unreachable")
	case "panics":
		panic("secret")
	case "exits":
		runtime.Goexit()
	}
	id := &juggler.Identity{User: user, Attributes: []juggler.Attribute{{Name: "role", Value: "admin"}, {Name: "area", Value: "51"}}}
	if d, err := time.ParseDuration(until); err == nil {
		id.Expires = time.Now().Add(d)
	}
	return id, nil
}

func TestDeferredAuth(t *testing.T) {
	s := newServer(t, juggler.WithDeferredAuth(tokens, time.Minute), juggler.WithLogger(quiet))
	c := s.dial("juggler.1")
	c.send(`{"type":"PUB","id":"1","channel":"c"}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":401}}`)
	for token, code := range map[string]string{"nobody": "401", "expired": "401", "broken": "500", "panics": "500", "exits": "500"} {
		c.send(`{"type":"AUTH","id":"2","token":"` + token + `"}`)
		c.expect(`{"type":"NACK","for":"2","error":{"code":` + code + `}}`)
	}
	// What follows AUTH without waiting for its ACK is handled after it.
	c.send(`{"type":"AUTH","id":"3","token":"ann"}`)
	c.send(`{"type":"PUB","id":"4","channel":"c"}`)
	c.expect(`{"type":"ACK","for":"3"}`)
	c.expect(`{"type":"ACK","for":"4"}`)

	if r := upgrade(s.http.URL); true {
		r.Header.Set("Sec-WebSocket-Protocol", "juggler.0") // which has no AUTH
		if resp, _ := try(t, r); resp.StatusCode != 401 {
			t.Errorf("juggler.0: got %d", resp.StatusCode)
		}
	}
}

func TestDeferredAuthInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithDeferredAuth(tokens, 5*time.Second))
		late := dialIn(t, srv, "juggler.1", nil)
		signedIn := dialIn(t, srv, "juggler.1", nil)
		signedIn.send(`{"type":"AUTH","id":"1","token":"ann"}`)
		signedIn.expect(`{"type":"ACK","for":"1"}`)
		start := time.Now()
		late.expectClose(juggler.CloseUnauthenticated)
		if d := time.Since(start); d < 4*time.Second || d > 6*time.Second {
			t.Errorf("closed after %v", d)
		}
		signedIn.send(`{"type":"PUB","id":"2","channel":"c"}`)
		signedIn.expect(`{"type":"ACK","for":"2"}`)
	})
}

func TestCredentialsThatExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPing(time.Hour), juggler.WithDeferredAuth(tokens, time.Minute),
			juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
				return &juggler.Identity{User: "ann", Expires: time.Now().Add(10 * time.Second)}, nil
			}))
		c := dialIn(t, srv, "juggler.1", nil)
		time.Sleep(8 * time.Second)
		c.send(`{"type":"AUTH","id":"1","token":"ann until=20s"}`)
		if ack := c.expect(`{"type":"ACK","for":"1"}`); ack["expires"] != 20000.0 {
			t.Errorf("ACK of AUTH: %v", ack)
		}
		start := time.Now()
		c.expectClose(juggler.CloseExpired)
		if d := time.Since(start); d < 19*time.Second || d > 21*time.Second {
			t.Errorf("closed after %v", d)
		}

		old := dialIn(t, srv, "juggler.0", nil)
		old.expectClose(juggler.ClosePolicy)
	})
}

// Who signs in as somebody else, or without a role of before, keeps no subscription that
// the authorizer would refuse now; who renews credentials keeps all.
func TestRightsThatEnd(t *testing.T) {
	identities := map[string]*juggler.Identity{
		"ann":        {User: "ann"},
		"editor ann": {User: "ann", Attributes: []juggler.Attribute{{Name: "role", Value: "editor"}}},
		"bob":        {User: "bob"},
	}
	authorizer := juggler.AuthorizerFunc(func(_ context.Context, r *juggler.Request) error {
		s := r.Session()
		if r.Channel() == "public" || r.Channel() == "of."+s.User() || r.Channel() == "drafts" && s.HasAttribute("role", "editor") {
			return nil
		}
		return juggler.ErrForbidden
	})
	for _, tt := range []struct {
		first, channel, then string
		ends                 bool
	}{
		{"ann", "of.ann", "ann", false},
		{"ann", "of.ann", "editor ann", false},
		{"ann", "public", "bob", false},
		{"ann", "of.ann", "bob", true},
		{"editor ann", "drafts", "ann", true},
	} {
		for name, a := range map[string]juggler.Authorizer{"on the loop": juggler.NonBlocking(authorizer), "may block": authorizer} {
			t.Run(tt.first+" "+tt.channel+" "+tt.then+" "+name, func(t *testing.T) {
				s := newServer(t, juggler.WithAuthorizer(a), juggler.WithDeferredAuth(func(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
					return identities[token], nil
				}, waiting.Most))
				c := s.dial("juggler.1")
				for _, m := range []string{
					`{"type":"AUTH","id":"1","token":"` + tt.first + `"}`,
					`{"type":"SUB","id":"2","channel":"` + tt.channel + `"}`,
					`{"type":"AUTH","id":"3","token":"` + tt.then + `"}`,
				} {
					c.send(m)
					c.expect(`{"type":"ACK"}`)
				}
				if tt.ends {
					c.expect(`{"type":"UNSS","channel":"` + tt.channel + `","error":{"code":403}}`)
				}
				c.send(`{"type":"UNSB","id":"4","channel":"` + tt.channel + `"}`)
				c.expect(`{"type":"ACK","for":"4"}`)
			})
		}
	}
}

// gatedSubscriber confirms no topic before its gate is open.
type gatedSubscriber struct {
	broker.SubscriberConn
	gate <-chan struct{}
}

func (s gatedSubscriber) Subscribe(ctx context.Context, t broker.Topic) error {
	<-s.gate
	return s.SubscriberConn.Subscribe(ctx, t)
}

type gatedPubSub struct {
	broker.PubSub
	gate <-chan struct{}
}

func (p gatedPubSub) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	conn, err := p.PubSub.OpenSubscriber(ctx, deliver)
	return gatedSubscriber{conn, p.gate}, err
}

// A SUB that was allowed to who the session was is refused if an AUTH is handled before the
// broker's confirmation is: here, as the event loop is held up.
func TestSubscriptionOfWhoItWas(t *testing.T) {
	confirm, loop, holds, signedIn := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{}, 2)
	s := newServerOn(t, func(b *memory.Broker) jugglertest.Roles {
		roles := plainRoles(b)
		roles.PubSub = gatedPubSub{roles.PubSub, confirm}
		return roles.join()
	}, juggler.WithEventLoops(1), juggler.WithLogger(quiet),
		juggler.WithDeferredAuth(func(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
			signedIn <- struct{}{}
			return &juggler.Identity{User: token}, nil
		}, waiting.Most),
		juggler.WithAuthorizer(juggler.NonBlocking(func(context.Context, *juggler.Request) error { return nil })),
		juggler.WithCallObserver(func(juggler.CallEnd) { // on the loop
			close(holds)
			<-loop
		}))
	c, other := s.dial("juggler.1"), s.dial("juggler.1")
	for _, c := range []*testClient{c, other} {
		c.send(`{"type":"AUTH","id":"1","token":"ann"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		<-signedIn
	}
	c.send(`{"type":"SUB","id":"2","channel":"c"}`)
	c.send(`{"type":"AUTH","id":"3","token":"bob"}`)
	waitFor(t, "all to be read", func() bool { return s.h.Stats().Messages == 4 })
	other.send(`{"type":"CALL","id":"2","uri":"nobody"}`)
	<-holds
	close(confirm)
	<-signedIn
	waitFor(t, "bob to be there", func() bool { return len(slices.Collect(s.h.SessionsOf("bob"))) == 1 })
	close(loop)
	c.expect(`{"type":"NACK","for":"2","error":{"code":503}}`)
	c.expect(`{"type":"ACK","for":"3"}`)
}

// Credentials that end far away, as in the year 9999, end no session.
func TestCredentialsThatLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPing(time.Hour),
			juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) {
				return &juggler.Identity{User: "ann", Expires: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}, nil
			}))
		c := dialIn(t, srv, "juggler.1", nil)
		time.Sleep(time.Minute)
		c.send(`{"type":"PUB","id":"1","channel":"c","args":1}`)
		c.expect(`{"type":"ACK","for":"1"}`)
	})
}

func TestHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithMaxCalls(7), juggler.WithMaxCallTimeout(5*time.Minute), juggler.WithMaxSubscriptions(8), juggler.WithMaxMessageBytes(9000), juggler.WithPing(3*time.Second),
			juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) {
				return &juggler.Identity{Expires: time.Now().Add(90 * time.Second)}, nil
			}))
		conn, err := srv.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		upgrade(jugglertest.URL).Write(conn)
		c := &rawClient{conn, bufio.NewReader(conn)}
		c.skipHandshake(t)
		_, payload, err := c.frame()
		if err != nil {
			t.Fatal(err)
		}
		var hello frame.Frame
		if err := frame.Juggler1.DecodeAnswer(payload, &hello); err != nil {
			t.Fatal(err)
		}
		want := frame.HelloBody{Session: hello.Hello.Session, Node: hello.Hello.Node, Ping: 3 * time.Second, Expires: 90 * time.Second,
			MaxMessage: 9000, MaxSubscriptions: 8, MaxCalls: 7, MaxCallsPerURI: 128, MaxCallTimeout: 5 * time.Minute,
			Rates: frame.HelloRates{Messages: frame.Rate{PerSecond: 10_000, Burst: 2000}, Subscriptions: frame.Rate{PerSecond: 500, Burst: 1000}}}
		if hello.Hello != want {
			t.Errorf("got %+v, want %+v", hello.Hello, want)
		}
		if node := string(frame.AppendULID(nil, hello.Hello.Node)); node != srv.Handler.Node() {
			t.Errorf("node %s, want %s", node, srv.Handler.Node())
		}
		if _, ok := srv.Handler.Session(string(frame.AppendULID(nil, hello.Hello.Session))); !ok {
			t.Error("the session is not found by the id of HELLO")
		}
	})
}

func TestSessionsByUserAndID(t *testing.T) {
	s := newServer(t, juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
		return &juggler.Identity{User: r.Header.Get("User"), Attributes: []juggler.Attribute{
			{Name: "b", Value: "2"}, {Name: "a", Value: "1"}, {Name: "c", Value: "3"}, {Name: "a", Value: "0"},
		}}, nil
	}))
	as := func(user string) *testClient { return s.dialHeader("juggler.1", http.Header{"User": {user}}) }
	a1, a2, _, b := as("ann"), as("ann"), as(""), as("bob")

	anns := slices.Collect(s.h.SessionsOf("ann"))
	if len(anns) != 2 || len(slices.Collect(s.h.SessionsOf(""))) != 0 || s.h.NumSessions() != 4 {
		t.Fatalf("%d sessions of ann, %d in all", len(anns), s.h.NumSessions())
	}
	found, ok := s.h.Session(anns[0].ID())
	if !ok || found != anns[0] || found.User() != "ann" || !found.Authenticated() {
		t.Errorf("looked up %v, %v", found, ok)
	}
	if v, ok := found.Attribute("a"); !ok || v != "1" {
		t.Errorf("attribute a: %q, %v", v, ok)
	}
	if v, ok := found.Attribute("d"); ok {
		t.Errorf("attribute d: %q", v)
	}
	for _, a := range []struct {
		name, value string
		want        bool
	}{{"a", "1", true}, {"a", "0", true}, {"a", "2", false}, {"b", "2", true}, {"b", "3", false}, {"c", "3", true}, {"d", "", false}, {"", "1", false}} {
		if got := found.HasAttribute(a.name, a.value); got != a.want {
			t.Errorf("has %s=%s: %v", a.name, a.value, got)
		}
	}
	for _, id := range []string{"", "nonsense", "01M862XYPP000000001J2HE6E0", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"} {
		if _, ok := s.h.Session(id); ok {
			t.Errorf("found a session %q", id)
		}
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a close code that may not be sent does not panic")
			}
		}()
		found.Disconnect(1006, "")
	}()
	if !s.h.Disconnect(slices.Collect(s.h.SessionsOf("bob"))[0].ID(), 4100, "bye") {
		t.Error("bob is not there")
	}
	b.expectClose(4100)
	if n := s.h.DisconnectUser("ann", 4600, "come back"); n != 2 {
		t.Errorf("disconnected %d sessions", n)
	}
	a1.expectClose(4600)
	a2.expectClose(4600)
	s.waitSessions(1)
	if _, ok := s.h.Session(anns[0].ID()); ok || len(slices.Collect(s.h.SessionsOf("ann"))) != 0 {
		t.Error("a session that ended is still found")
	}
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

// When the time to sign in is over, only a client that has not signed in for its own
// fault is told what is final.
func TestTimeToSignInIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithLogger(quiet), juggler.WithDeferredAuth(
			func(ctx context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
				switch token {
				case "slow":
					<-ctx.Done()
					return nil, ctx.Err()
				case "later":
					return nil, &juggler.Error{Code: juggler.CodeUnavailable, Message: "keys cannot be fetched"}
				case "failing":
					return nil, errors.New("no database")
				}
				return nil, juggler.ErrUnauthenticated
			}, 10*time.Second))
		tests := []struct {
			name, nack string
			tokens     []string
			code       int
		}{
			{"no AUTH", "", nil, juggler.CloseUnauthenticated},
			{"refused", `{"code":401}`, []string{"wrong"}, juggler.CloseUnauthenticated},
			{"is being signed in", "", []string{"slow"}, juggler.CloseOverloaded},
			{"refused for now", `{"code":503}`, []string{"later"}, juggler.CloseOverloaded},
			{"failed", `{"code":500}`, []string{"failing"}, juggler.CloseOverloaded},
			{"refused after all", `{"code":401}`, []string{"later", "wrong"}, juggler.CloseUnauthenticated},
		}
		clients := make([]*testClient, len(tests))
		for i, tt := range tests {
			clients[i] = dialIn(t, srv, "juggler.1", nil)
			for _, token := range tt.tokens {
				clients[i].send(fmt.Sprintf(`{"type":"AUTH","id":%q,"token":%q}`, token, token))
			}
		}
		for i, tt := range tests {
			if tt.nack != "" {
				for _, token := range tt.tokens[:len(tt.tokens)-1] {
					clients[i].expect(fmt.Sprintf(`{"type":"NACK","for":%q}`, token))
				}
				clients[i].expect(fmt.Sprintf(`{"type":"NACK","error":%s}`, tt.nack))
			}
			t.Log(tt.name)
			clients[i].expectClose(tt.code)
		}
	})
}

// An AUTH that came in time counts, though the process stood still and reads it late.
func TestAuthWhileTheProcessStandsStill(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"event loop": func(w http.ResponseWriter) http.ResponseWriter { return w },
		"portable":   func(w http.ResponseWriter) http.ResponseWriter { return hiddenSocket{w} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const timeToSignIn = 300 * time.Millisecond
			still, goOn := make(chan struct{}), make(chan struct{})
			h := benchHandler(t, juggler.WithEventLoops(1), juggler.WithLogger(quiet),
				juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
					if r.Header.Get("Cookie") == "" {
						return nil, nil
					}
					return &juggler.Identity{User: "ann"}, nil
				}),
				juggler.WithDeferredAuth(func(context.Context, juggler.Session, string) (*juggler.Identity, error) {
					return &juggler.Identity{User: "bob"}, nil
				}, timeToSignIn),
				juggler.WithAuthorizer(juggler.NonBlocking(func(context.Context, *juggler.Request) error {
					close(still)
					<-goOn // which it must not: nothing else runs on this loop
					return nil
				})))
			addr := serveTCP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrap(w), r) }))
			bob, ann := dialRaw(t, addr), dialRaw(t, addr, "Cookie: ann")
			ann.write(t, maskedText(pub("p", "c")))
			<-still
			bob.write(t, maskedText(`{"type":"AUTH","id":"1","token":"x"}`))
			<-time.After(timeToSignIn + 2*time.Second) // far beyond the deadline
			close(goOn)
			bob.takes(t, "ACK", nil) // with keys, as the embedded broker may keep events
		})
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
