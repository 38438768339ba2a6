package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/jugglertest"
)

// secondNode returns another node on the broker of s.
func (s *testServer) secondNode(opts ...juggler.Option) *testServer {
	s.t.Helper()
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(s.broker), juggler.WithAuthorizer(juggler.AllowAll()), juggler.WithAuthenticator(byName)}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	other := &testServer{s.t, h, s.broker, httptest.NewServer(h)}
	s.t.Cleanup(func() {
		if err := h.Shutdown(context.Background()); err != nil {
			s.t.Errorf("Shutdown: %v", err)
		}
		other.http.Close()
	})
	return other
}

// A node that is drained does not wait for calls with keys: its sessions join them on
// another one, where the outcome arrives. Other calls it waits for, as ever.
func TestKeyedCallOutlivesItsNode(t *testing.T) {
	s := newServer(t, juggler.WithAuthenticator(byName), juggler.WithCallTimeout(time.Hour), juggler.WithMaxCallTimeout(time.Hour))
	other, g := s.secondNode(), newKeyedCallee()
	s.handle("write", g.call)
	a := s.dialHeader("juggler.1", as("ann"))
	a.send(`{"type":"CALL","id":"1","uri":"write","key":"k","parts":10}`)
	a.expect(`{"type":"ACK","for":"1","state":"new"}`)
	g.parts <- "part 1"
	a.expect(`{"type":"PART","for":"1","n":1,"args":"part 1"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- s.h.Shutdown(ctx) }()
	a.expect(`{"type":"GOAWAY"}`)
	a.expectClose(juggler.CloseGoingAway)
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	b := other.dialHeader("juggler.1", as("ann"))
	b.send(`{"type":"CALL","id":"1","uri":"write","key":"k","parts":10,"since":1}`)
	b.expect(`{"type":"ACK","for":"1","state":"running"}`)
	g.parts <- "part 2"
	b.expect(`{"type":"PART","for":"1","n":2,"args":"part 2"}`)
	g.end <- "end"
	b.expect(`{"type":"RES","for":"1","args":"end"}`)
	if n := g.runs.Load(); n != 1 {
		t.Errorf("the function ran %d times", n)
	}
}

// A session that signs in as somebody else keeps its calls, and has other keys from then on.
func TestKeysBelongToWhoHasSignedIn(t *testing.T) {
	signIn := func(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
		return &juggler.Identity{User: strings.TrimPrefix(token, "guest")}, nil
	}
	s := newServer(t, juggler.WithDeferredAuth(signIn, time.Minute))
	g := newKeyedCallee()
	s.handle("pay", g.call)
	c := s.connect("juggler.1", nil)
	if hello := c.expect(`{"type":"HELLO"}`); hello["keyed"] != nil {
		t.Errorf("HELLO before signing in is %v", hello)
	}
	for i, user := range []string{"ann", "bob"} {
		c.send(fmt.Sprintf(`{"type":"AUTH","id":"auth","token":%q}`, user))
		c.expect(`{"type":"ACK","for":"auth","keyed":true}`)
		c.send(fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"pay","key":"k"}`, i))
		c.expect(fmt.Sprintf(`{"type":"ACK","for":"%d","state":"new"}`, i))
	}
	c.send(`{"type":"AUTH","id":"auth","token":"guest"}`)
	if ack := c.expect(`{"type":"ACK","for":"auth"}`); ack["keyed"] != nil {
		t.Errorf("ACK without a user is %v", ack)
	}
	waitFor(t, "both calls", func() bool { return g.runs.Load() == 2 })
	g.end <- "done"
	g.end <- "done"
	c.expect(`{"type":"RES","args":"done"}`)
	c.expect(`{"type":"RES","args":"done"}`)
}

// The application may say whose the keys are, and code of it that fails gives none.
func TestKeyScope(t *testing.T) {
	scope := func(s juggler.Session) string {
		if s.User() == "mallory" {
			panic("scope")
		}
		team, _ := s.Attribute("team")
		return team
	}
	onKeyedRoads(t, func(t *testing.T, s *testServer) {
		g := newKeyedCallee()
		s.handle("pay", g.call)
		a, b, m := s.dialHeader("juggler.1", as("ann")), s.dialHeader("juggler.1", as("bob")), s.dialHeader("juggler.1", as("mallory"))
		a.send(`{"type":"CALL","id":"1","uri":"pay","key":"k"}`)
		a.expect(`{"type":"NACK","for":"1","error":{"code":403}}`)
		b.send(`{"type":"CALL","id":"1","uri":"pay","key":"k"}`)
		b.expect(`{"type":"NACK","for":"1","error":{"code":403}}`)
		m.send(`{"type":"CALL","id":"1","uri":"pay","key":"k"}`)
		m.expect(`{"type":"NACK","for":"1","error":{"code":403}}`)
	}, juggler.WithKeyScope(scope), juggler.WithLogger(quiet))
	s := newServer(t, juggler.WithAuthenticator(byName), juggler.WithKeyScope(func(juggler.Session) string { return "all" }))
	s.handle("echo", echo)
	for i, user := range []string{"ann", ""} {
		c := s.connect("juggler.1", as(user))
		c.expect(`{"type":"HELLO","keyed":true}`)
		c.send(`{"type":"CALL","id":"1","uri":"echo","key":"k","args":1}`)
		c.expect(fmt.Sprintf(`{"type":"ACK","for":"1","state":%q}`, []string{"new", "done"}[i]))
		c.expect(`{"type":"RES","for":"1","args":1}`)
	}
}

// CALLs with keys go through user code and limits as others do: it sees the key, and what it
// refuses is not made.
func TestRightsOfKeyedCalls(t *testing.T) {
	var keys, ends atomic.Value
	keys.Store("")
	forbid := juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
		keys.Store(r.Key())
		if r.Key() == "bad" {
			return juggler.ErrForbidden
		}
		return nil
	})
	watch := juggler.WithCallObserver(func(e juggler.CallEnd) { ends.Store(e) })
	onKeyedRoads(t, func(t *testing.T, s *testServer) {
		g := newKeyedCallee()
		s.handle("write", g.call)
		c := s.dialHeader("juggler.1", as("ann"))
		c.send(`{"type":"CALL","id":"1","uri":"write","key":"bad"}`)
		c.expect(`{"type":"NACK","for":"1","error":{"code":403}}`)
		c.send(`{"type":"CALL","id":"1","uri":"write","key":"bad","since":0}`)
		c.expect(`{"type":"NACK","for":"1","error":{"code":403}}`)
		c.send(`{"type":"CALL","id":"1","uri":"write","key":"good","parts":9}`)
		c.expect(`{"type":"ACK","for":"1","state":"new"}`)
		if k := keys.Load(); k != "good" {
			t.Errorf("the authorizer saw the key %q", k)
		}
		c.send(`{"type":"CALL","id":"2","uri":"write","key":"good"}`)
		c.expect(`{"type":"NACK","for":"2","error":{"code":429}}`)
		g.parts <- "part"
		g.parts <- "part"
		c.expect(`{"type":"PART","for":"1","n":1}`)
		c.expect(`{"type":"PART","for":"1","n":2}`)
		c.send(`{"type":"CANCEL","for":"1"}`)
		c.expect(`{"type":"RES","for":"1","error":{"code":499}}`)
		if e := ends.Load().(juggler.CallEnd); e.Code != 499 || e.Parts != 2 || e.URI != "write" {
			t.Errorf("its end is %+v", e)
		}
		c.send(`{"type":"CALL","id":"3","uri":"write","key":"good","parts":9,"since":1}`)
		c.expect(`{"type":"ACK","for":"3","state":"running"}`)
		g.end <- "end"
		c.expect(`{"type":"PART","for":"3","n":2}`)
		c.expect(`{"type":"RES","for":"3","args":"end"}`)
		if e := ends.Load().(juggler.CallEnd); e.Code != 0 || e.Parts != 1 || e.Refused {
			t.Errorf("its end is %+v", e)
		}
		if st := s.h.Stats(); st.KeyedMade != 1 || st.KeyedJoined != 1 || st.KeyedDone != 1 || st.KeyedWaiting != 0 || st.Streams != 0 {
			t.Errorf("%+v", st)
		}
	}, juggler.WithAuthorizer(forbid), watch, juggler.WithMaxCalls(1))
}

// Where the oldest parts are gone the ACK says from which number they come; and who stops
// asking for more is taken out with 429, while the call goes on.
func TestPartsThatAreGone(t *testing.T) {
	onKeyedRoads(t, func(t *testing.T, s *testServer) {
		g := newKeyedCallee()
		s.handle("write", g.call)
		c := s.dialHeader("juggler.1", as("ann"))
		c.send(`{"type":"CALL","id":"1","uri":"write","key":"k","parts":1}`)
		c.expect(`{"type":"ACK","for":"1","state":"new"}`)
		large := strings.Repeat("x", 300)
		g.parts <- large
		c.expect(`{"type":"PART","for":"1","n":1}`)
		for range 9 {
			g.parts <- large
		}
		c.expect(`{"type":"RES","for":"1","error":{"code":429}}`) // by the stall, or as parts are gone
		c.send(`{"type":"CALL","id":"2","uri":"write","key":"k","parts":3,"since":1}`)
		from := int(c.expect(`{"type":"ACK","for":"2","state":"running"}`)["from"].(float64))
		if from < 6 || from > 8 {
			t.Errorf("from %d of 10", from)
		}
		for n := from; n < from+3 && n <= 10; n++ {
			c.expect(fmt.Sprintf(`{"type":"PART","for":"2","n":%d}`, n))
		}
		c.expect(`{"type":"RES","for":"2","error":{"code":429}}`)
		g.end <- "end"
		if n := g.runs.Load(); n != 1 {
			t.Errorf("the function ran %d times", n)
		}
	}, juggler.WithOutcomes(juggler.OutcomeRule{URIs: "*", PartBytes: 1 << 10}), juggler.WithStreamStall(50*time.Millisecond))
}

// What a client says of a call before it is acknowledged counts once it is, and what becomes
// of it is known although its session has gone.
func TestKeyedCallBeforeItsACK(t *testing.T) {
	attach := make(chan struct{})
	s := newServerOn(t, func(b *memory.Broker) jugglertest.Roles {
		return struct {
			brokerKeyedCaller
			brokerCallee
			brokerPubSub
		}{gatedKeyed{b, attach}, b, b}
	}, juggler.WithAuthenticator(byName))
	g := newKeyedCallee()
	s.handle("pay", g.call)
	c := s.dialHeader("juggler.1", as("ann"))
	for _, tt := range []struct{ key, cancel string }{{"k", `{"type":"CANCEL","for":"1"}`}, {"l", `{"type":"CANCEL","for":"1","stop":true}`}} {
		c.send(`{"type":"CALL","id":"1","uri":"pay","key":"` + tt.key + `"}`)
		<-attach // it is under way
		c.send(tt.cancel)
		attach <- struct{}{}
		c.expect(`{"type":"ACK","for":"1","state":"new"}`)
		c.expect(`{"type":"RES","for":"1","error":{"code":499}}`)
	}
	state := func(key string) broker.CallState {
		o, err := s.h.Outcome(t.Context(), "pay", "ann", key)
		if err != nil && !errors.Is(err, broker.ErrCallGone) {
			t.Fatal(err)
		}
		return o.State
	}
	if k, l := state("k"), state("l"); k != broker.CallRunning || l == broker.CallRunning {
		t.Errorf("the call that was left is %v, the one that was stopped %v", k, l)
	}
	c.send(`{"type":"CALL","id":"1","uri":"pay","key":"m"}`)
	<-attach
	c.conn.CloseNow()
	s.waitSessions(0)
	attach <- struct{}{}
	waitFor(t, "the call whose session has gone", func() bool { return state("m") == broker.CallRunning })
	waitFor(t, "nobody to wait", func() bool { return s.h.Stats().KeyedWaiting == 0 })
}

// gatedKeyed is an embedded broker whose Attach says that it begins, and then waits.
type gatedKeyed struct {
	brokerKeyedCaller
	gate chan struct{}
}

func (g gatedKeyed) OpenKeyedCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part), news func([]broker.CallKey)) (broker.KeyedCallerConn, error) {
	conn, err := g.brokerKeyedCaller.OpenKeyedCaller(ctx, node, deliver, parts, news)
	return gatedKeyedConn{conn, g.gate}, err
}

type gatedKeyedConn struct {
	broker.KeyedCallerConn
	gate chan struct{}
}

func (c gatedKeyedConn) Attach(ctx context.Context, a *broker.Attachment) error {
	c.gate <- struct{}{}
	<-c.gate
	return c.KeyedCallerConn.Attach(ctx, a)
}
