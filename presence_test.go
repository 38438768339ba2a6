package juggler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/jugglertest"
)

// withPresent is a rule for rooms, and clients that are who they say.
func withPresent(opts ...juggler.Option) []juggler.Option {
	return append([]juggler.Option{
		juggler.WithAuthenticator(byUserHeader),
		juggler.WithPresence(juggler.PresenceRule{Channels: "room.*"}),
		juggler.WithPresenceGrace(0),
	}, opts...)
}

// dialAs connects as a user, "" for none.
func (s *testServer) dialAs(user string) *testClient {
	s.t.Helper()
	return s.dialHeader("juggler.1", http.Header{"User": {user}})
}

// ask subscribes to a channel and asks who is there.
func (c *testClient) ask(channel string) (ack map[string]any) {
	c.t.Helper()
	c.send(`{"type":"SUB","id":"1","channel":"` + channel + `","here":true}`)
	return c.until("ACK", nil)
}

// request sends a SUB or UNSB of a channel and takes the ACK, and notices before it.
func (c *testClient) request(typ, channel string) {
	c.t.Helper()
	c.send(`{"type":"` + typ + `","id":"1","channel":"` + channel + `"}`)
	c.until("ACK", nil)
}

// until takes messages until one of a type; f gets the others.
func (c *testClient) until(typ string, f func(map[string]any)) map[string]any {
	c.t.Helper()
	for {
		m := decode(c.t, c.receive())
		switch {
		case m["type"] == typ:
			return m
		case m["type"] == "NACK":
			c.t.Fatalf("got %v", m)
		case f != nil:
			f(m)
		}
	}
}

// A present is what a client knows of a channel.
type present struct {
	users map[string]float64 // nil: only the number
	count float64
}

func presentIn(m map[string]any) (p present) {
	p.count, _ = m["count"].(float64)
	if list, ok := m["here"].([]any); ok {
		p.users = make(map[string]float64)
		p.take(list)
	}
	return p
}

func (p *present) take(list []any) {
	for _, m := range list {
		member := m.(map[string]any)
		p.users[member["user"].(string)] = member["n"].(float64)
	}
}

// notice does what a client does with a HERE.
func (p *present) notice(m map[string]any) {
	if _, whole := m["here"]; whole {
		*p = presentIn(m)
		return
	}
	p.count = m["count"].(float64)
	join, joins := m["join"].([]any)
	leave, leaves := m["leave"].([]any)
	if !joins && !leaves {
		if p.users != nil && p.count != float64(len(p.users)) {
			p.users = nil
		}
		return
	}
	p.take(join)
	for _, user := range leave {
		delete(p.users, user.(string))
	}
}

// await takes messages of c until it knows that users are there.
func (c *testClient) await(p *present, users map[string]float64) {
	c.t.Helper()
	for p.count != float64(len(users)) || !maps.Equal(p.users, users) {
		m := c.until("HERE", nil)
		p.notice(m)
	}
}

// presenceRoads are the ways that a SUB takes to the broker.
var presenceRoads = map[string][]juggler.Option{
	"on the turn":  nil,
	"in the queue": {juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler { return next })},
}

// Who subscribes is there, whether or not it asks; who asks is told, and what changes; the
// server knows the same.
func TestWhoIsThere(t *testing.T) {
	for name, road := range presenceRoads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, withPresent(road...)...)
			ann := s.connect("juggler.1", http.Header{"User": {"ann"}})
			if hello := ann.expect(`{"type":"HELLO","here":true}`); hello == nil {
				t.Fatal("no HELLO")
			}
			p := presentIn(ann.ask("room.7"))
			if want := map[string]float64{"ann": 1}; !maps.Equal(p.users, want) || p.count != 1 {
				t.Errorf("got %v, want ann", p)
			}
			bob, guest, old := s.dialAs("bob"), s.dialAs(""), s.dialHeader("juggler.0", http.Header{"User": {"cid"}})
			bob.request("SUB", "room.7")
			ann.await(&p, map[string]float64{"ann": 1, "bob": 1})
			if q := presentIn(guest.ask("room.7")); q.count != 2 {
				t.Errorf("who has no user is told of %v", q)
			}
			old.send(`{"meta":{"type":3,"uuid":"01020304-0506-0708-090a-0b0c0d0e0f10"},"payload":{"channel":"room.7"}}`)
			ann.await(&p, map[string]float64{"ann": 1, "bob": 1, "cid": 1})
			var tabs []*testClient
			for range 3 {
				tab := s.dialAs("bob")
				tab.request("SUB", "room.7")
				tabs = append(tabs, tab)
			}
			ann.await(&p, map[string]float64{"ann": 1, "bob": 4, "cid": 1})
			here, err := s.h.Here(t.Context(), "room.7")
			if err != nil || here.Count != 3 || len(here.Members) != 3 {
				t.Errorf("Here: %+v, %v", here, err)
			}
			bob.request("UNSB", "room.7")
			tabs[0].conn.CloseNow()
			old.conn.CloseNow()
			ann.await(&p, map[string]float64{"ann": 1, "bob": 2})
			for _, tab := range tabs[1:] {
				tab.conn.Close(websocket.StatusNormalClosure, "")
			}
			ann.await(&p, map[string]float64{"ann": 1})
			if st := s.h.Stats(); st.PresentAsked != 1 || st.Present != 1 || st.Heres < 3 || st.PresentReads == 0 {
				t.Errorf("stats: %d asked about, %d present, %d notices, %d reads", st.PresentAsked, st.Present, st.Heres, st.PresentReads)
			}
			ann.conn.CloseNow()
			guest.conn.CloseNow()
			waitFor(t, "nothing to be left", func() bool {
				st := s.h.Stats()
				return st.PresentAsked == 0 && st.Present == 0
			})
		})
	}
}

// A SUB without here ends that its session is told; so does UNSB.
func TestWhoDoesNotAskIsNotTold(t *testing.T) {
	s := newServer(t, withPresent()...)
	ann, bob := s.dialAs("ann"), s.dialAs("bob")
	for _, end := range []string{"SUB", "UNSB"} {
		ann.ask("room.7")
		ann.ask("room.7") // once more changes nothing
		if got := s.h.Stats().PresentAsked; got != 1 {
			t.Errorf("%d channels are asked about", got)
		}
		ann.request(end, "room.7")
		if got := s.h.Stats().PresentAsked; got != 0 {
			t.Errorf("after %s %d channels are asked about", end, got)
		}
		bob.request("SUB", "room.7")
		p := presentIn(bob.ask("room.7")) // which has bob himself come to all who ask
		bob.await(&p, p.users)
		bob.request("UNSB", "room.7")
	}
	ann.send(`{"type":"PUB","id":"2","channel":"x","args":1}`)
	ann.expect(`{"type":"ACK","for":"2"}`)
}

// A SUB that is refused behind the question who is there leaves nothing of it, and UNSB ends
// what its SUB has asked, though the server wants the subscription, too.
func TestAskingEnds(t *testing.T) {
	s := newServer(t, withPresent(juggler.WithMaxSubscriptions(1))...)
	asked := func(want int) {
		t.Helper()
		if got := s.h.Stats().PresentAsked; got != want {
			t.Errorf("%d channels are asked about, want %d", got, want)
		}
	}
	ann := s.dialAs("ann")
	ann.request("SUB", "hall")
	ann.send(`{"type":"SUB","id":"1","channel":"room.7","here":true}`)
	ann.expect(`{"type":"NACK","error":{"code":429}}`)
	asked(0)
	ann.request("UNSB", "hall")
	ann.ask("room.7")
	asked(1)
	for session := range s.h.Sessions() {
		if err := session.Subscribe(t.Context(), broker.Topic{Name: "room.7"}); err != nil {
			t.Fatal(err)
		}
	}
	asked(1)
	ann.request("UNSB", "room.7")
	asked(0)
	if got := s.h.Stats().Present; got != 1 {
		t.Errorf("%d are present, want who is subscribed by the server", got)
	}
	ann.ask("room.7")
	asked(1)
	for session := range s.h.Sessions() {
		if err := session.Unsubscribe(t.Context(), broker.Topic{Name: "room.7"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	asked(0)
	if st := s.h.Stats(); st.Present != 0 || st.Subscriptions != 0 {
		t.Errorf("%d are present, %d subscriptions", st.Present, st.Subscriptions)
	}
}

// A channel without a rule, and a server without rules, tell nothing.
func TestNobodyKnowsWhoIsThere(t *testing.T) {
	s := newServer(t, withPresent()...)
	ann := s.dialAs("ann")
	ack := ann.ask("hall")
	if _, ok := ack["count"]; ok || ack["here"] != nil {
		t.Errorf("without a rule: %v", ack)
	}
	var e *juggler.Error
	if _, err := s.h.Here(t.Context(), "hall"); !errors.As(err, &e) || e.Code != juggler.CodeBadRequest {
		t.Errorf("Here: %v", err)
	}
	if here, err := s.h.Here(t.Context(), "room.1"); err != nil || here.Count != 0 {
		t.Errorf("Here of an empty channel: %+v, %v", here, err)
	}
	for _, own := range []string{"\x00room.1", "\x00"} {
		if _, err := s.h.Here(t.Context(), own); !errors.As(err, &e) {
			t.Errorf("Here of a channel of the server's own: %v", err)
		}
	}
	off := newServer(t, juggler.WithAuthenticator(byUserHeader))
	c := off.connect("juggler.1", http.Header{"User": {"ann"}})
	if hello := c.expect(`{"type":"HELLO"}`); hello["here"] != nil {
		t.Errorf("HELLO of a server without rules: %v", hello)
	}
	if ack := c.ask("room.1"); ack["here"] != nil || ack["count"] != nil {
		t.Errorf("a server without rules: %v", ack)
	}
}

// An AUTH as somebody else has one user leave and the other come; what the rule tells of a
// user is asked for anew.
func TestPresentSignsIn(t *testing.T) {
	var mood atomic.Value
	mood.Store("well")
	s := newServer(t, juggler.WithDeferredAuth(tokens, 1<<40), juggler.WithPresenceGrace(time.Hour),
		juggler.WithPresence(juggler.PresenceRule{Channels: "room.*", Info: func(s juggler.Session, _ string) any { return s.User() + " is " + mood.Load().(string) }}))
	watcher, c := s.dial("juggler.1"), s.dial("juggler.1")
	auth := func(c *testClient, user string) {
		c.t.Helper()
		c.send(`{"type":"AUTH","id":"1","token":"` + user + `"}`)
		c.until("ACK", nil)
	}
	auth(watcher, "zoe")
	p := presentIn(watcher.ask("room.7"))
	auth(c, "ann")
	for _, channel := range []string{"room.7", "room.8", "hall"} {
		c.request("SUB", channel)
	}
	watcher.await(&p, map[string]float64{"zoe": 1, "ann": 1})
	mood.Store("tired")
	auth(c, "ann")
	m := watcher.until("HERE", nil)
	if text := fmt.Sprint(m["join"]); !strings.Contains(text, "ann is tired") || m["leave"] != nil {
		t.Errorf("info that is new: %v", m)
	}
	auth(c, "bob")
	watcher.await(&p, map[string]float64{"zoe": 1, "bob": 1})
	for _, channel := range []string{"room.7", "room.8"} {
		here, err := s.h.Here(t.Context(), channel)
		if err != nil || !slices.ContainsFunc(here.Members, func(m broker.Member) bool { return m.User == "bob" && string(m.Info) == `"bob is tired"` }) {
			t.Errorf("in %s are %+v, %v", channel, here, err)
		}
	}
	if got := s.h.Stats().Present; got != 3 {
		t.Errorf("%d are present, want zoe, and bob twice", got)
	}
}

// A guest is not counted until it signs in, and not any more when it is a guest again; each
// change is for all channels, and nothing is left behind.
func TestPresentGuests(t *testing.T) {
	s := newServer(t, juggler.WithPresence(juggler.PresenceRule{Channels: "room.*"}), juggler.WithPresenceGrace(0),
		juggler.WithDeferredAuth(func(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
			return &juggler.Identity{User: strings.TrimPrefix(token, "guest")}, nil
		}, 1<<40))
	c := s.dial("juggler.1")
	present := func(want int) {
		t.Helper()
		waitFor(t, "who is present", func() bool { return s.h.Stats().Present == want })
	}
	auth := func(user string) {
		t.Helper()
		c.send(`{"type":"AUTH","id":"1","token":"` + user + `"}`)
		c.until("ACK", nil)
	}
	auth("guest")
	c.request("SUB", "room.1")
	c.request("SUB", "room.2")
	present(0)
	auth("ann")
	present(2)
	auth("guest")
	present(0)
	c.request("UNSB", "room.2")
	c.request("SUB", "room.3")
	auth("bob")
	present(2)
	c.request("UNSB", "room.3")
	present(1)
	c.conn.CloseNow()
	present(0)
}

// What a rule tells of users may fail, and be too much: then nothing is told.
func TestPresentInfo(t *testing.T) {
	type cycle struct{ Self *cycle }
	loop := &cycle{}
	loop.Self = loop
	infos := map[string]any{
		"nil":   nil,
		"name":  map[string]string{"name": "<Ann>"},
		"most":  strings.Repeat("x", broker.MaxMemberInfo-2),
		"long":  strings.Repeat("x", broker.MaxMemberInfo-1),
		"cycle": loop, "func": func() {}, "broken": json.RawMessage(`{"a":`),
	}
	s := newServer(t, juggler.WithAuthenticator(byUserHeader), juggler.WithLogger(quiet), juggler.WithMaxPresent(20),
		juggler.WithPresence(juggler.PresenceRule{Channels: "room.7", Info: func(s juggler.Session, channel string) any {
			if s.User() == "panics" {
				panic(channel)
			}
			return infos[s.User()]
		}}))
	for user := range infos {
		s.dialAs(user).request("SUB", "room.7")
	}
	s.dialAs("panics").request("SUB", "room.7")
	here, err := s.h.Here(t.Context(), "room.7")
	if err != nil || here.Count != len(infos)+1 {
		t.Fatalf("Here: %+v, %v", here, err)
	}
	want := map[string]string{"name": `{"name":"\u003cAnn\u003e"}`, "most": `"` + strings.Repeat("x", broker.MaxMemberInfo-2) + `"`}
	for _, m := range here.Members {
		if string(m.Info) != want[m.User] {
			t.Errorf("of %s is told %s, want %s", m.User, m.Info, want[m.User])
		}
	}
}

// More users than are listed are told as a number, until they are few again.
func TestMaxPresent(t *testing.T) {
	s := newServer(t, withPresent(juggler.WithMaxPresent(2))...)
	watcher := s.dialAs("")
	p := presentIn(watcher.ask("room.7"))
	ann, bob, cid := s.dialAs("ann"), s.dialAs("bob"), s.dialAs("cid")
	ann.request("SUB", "room.7")
	bob.request("SUB", "room.7")
	watcher.await(&p, map[string]float64{"ann": 1, "bob": 1})
	if q := presentIn(cid.ask("room.7")); q.count != 3 || q.users != nil {
		t.Errorf("told are %v", q)
	}
	for p.count != 3 {
		p.notice(watcher.until("HERE", nil))
	}
	if p.users != nil {
		t.Errorf("told are %v", p)
	}
	if here, err := s.h.Here(t.Context(), "room.7"); err != nil || here.Count != 3 || here.Members != nil {
		t.Errorf("Here: %+v, %v", here, err)
	}
	bob.request("UNSB", "room.7")
	watcher.await(&p, map[string]float64{"ann": 1, "cid": 1})
}

// The hooks are told of the first session of a user and of the last one, once on all nodes,
// and may panic.
func TestPresenceHooks(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []string
	hooks := func(node string) juggler.Option {
		note := func(text string) {
			mu.Lock()
			told = append(told, text)
			mu.Unlock()
			panic("told of " + text + " at " + node)
		}
		return juggler.WithHooks(juggler.Hooks{
			OnFirstIn: func(_ context.Context, channel string, m broker.Member) { note(channel + " +" + m.User) },
			OnLastOut: func(_ context.Context, channel, user string) { note(channel + " -" + user) },
		})
	}
	one := newServerWith(t, b, itself, withPresent(hooks("one"), juggler.WithLogger(quiet))...)
	two := nodeOn(t, b, withPresent(hooks("two"), juggler.WithLogger(quiet))...)
	for range 3 {
		var clients []*testClient
		for _, s := range []*testServer{one, two, one} {
			c := s.dialAs("ann")
			c.request("SUB", "room.7")
			clients = append(clients, c)
		}
		for _, c := range clients {
			c.request("UNSB", "room.7")
		}
	}
	want := slices.Repeat([]string{"room.7 +ann", "room.7 -ann"}, 3)
	waitFor(t, "the hooks", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) >= len(want)
	})
	if !slices.Equal(told, want) {
		t.Errorf("told were %q, want %q", told, want)
	}
}

// nodeOn is one more node on a broker that a server has, which is closed after it.
func nodeOn(t *testing.T, b *memory.Broker, opts ...juggler.Option) *testServer {
	t.Helper()
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(b), juggler.WithAuthorizer(juggler.AllowAll())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{t, h, b, httptest.NewServer(h)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waiting.Most)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		s.http.Close()
	})
	return s
}

// While the broker is out of reach who asks is refused, and is not subscribed; who was told
// of is there still, and what has changed meanwhile is told afterwards.
func TestPresenceWithoutBroker(t *testing.T) {
	srv := jugglertest.New(t, withPresent(juggler.WithLogger(quiet))...)
	s := &testServer{t: t, h: srv.Handler, http: httptest.NewServer(srv.Handler)}
	t.Cleanup(s.http.Close)
	ann, bob := s.dialAs("ann"), s.dialAs("bob")
	bob.request("SUB", "room.7")
	p := presentIn(ann.ask("room.7"))
	ann.await(&p, map[string]float64{"ann": 1, "bob": 1})
	srv.Broker.Down()
	bob.send(`{"type":"SUB","id":"2","channel":"room.8","here":true}`)
	bob.expect(`{"type":"NACK","for":"2","error":{"code":503}}`)
	if got := s.h.Stats(); got.Subscriptions != 2 || got.PresentAsked != 1 {
		t.Errorf("%d subscriptions, %d channels asked about", got.Subscriptions, got.PresentAsked)
	}
	if _, err := s.h.Here(t.Context(), "room.7"); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Here: %v", err)
	}
	bob.conn.CloseNow()
	s.waitSessions(1)
	srv.Broker.Up()
	ann.await(&p, map[string]float64{"ann": 1})
}

// A node that shuts down has its members be elsewhere before it takes them away: who watches
// sees nobody leave.
func TestPresenceMoves(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	grace := juggler.WithPresenceGrace(time.Hour)
	one := newServerWith(t, b, itself, withPresent(grace)...)
	two := nodeOn(t, b, withPresent(grace)...)
	watcher := one.dialAs("")
	p := presentIn(watcher.ask("room.7"))
	const users = 20
	want := make(map[string]float64)
	for i := range users {
		user := fmt.Sprint("u", i)
		want[user] = 1
		c := two.dialAs(user)
		c.request("SUB", "room.7")
		go func() {
			for {
				_, m, err := c.conn.Read(context.Background())
				if err != nil {
					return
				}
				if strings.Contains(string(m), "GOAWAY") {
					moved := one.dialAs(user)
					moved.request("SUB", "room.7")
					c.conn.Close(websocket.StatusNormalClosure, "")
				}
			}
		}()
	}
	watcher.await(&p, want)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := two.h.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	one.waitSessions(users + 1)
	one.dialAs("zoe").request("SUB", "room.7")
	for want["zoe"] = 1; !maps.Equal(p.users, want); {
		m := watcher.until("HERE", nil)
		if m["leave"] != nil || m["count"].(float64) < users {
			t.Fatalf("somebody was seen to leave: %v", m)
		}
		p.notice(m)
	}
}

// However many come and go on two nodes while others begin to ask: in the end all who ask
// know what the server knows.
func TestManyComeAndGo(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	nodes := []*testServer{newServerWith(t, b, itself, withPresent(juggler.WithMaxPresent(10))...)}
	nodes = append(nodes, nodeOn(t, b, withPresent(juggler.WithMaxPresent(10))...))
	const channel = "room.7"
	var all sync.WaitGroup
	stay := make(map[string]float64)
	for i := range 16 {
		s, user := nodes[i%2], fmt.Sprint("u", i/2)
		c := s.dialAs(user)
		last := i < 8
		if last {
			stay[user]++
		}
		random := rand.New(rand.NewPCG(1, uint64(i)))
		all.Go(func() {
			here := false
			for range 60 {
				if here = !here; here {
					c.request("SUB", channel)
				} else {
					c.request("UNSB", channel)
				}
				if random.IntN(10) == 0 {
					time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
				}
			}
			if last {
				c.request("SUB", channel)
			}
		})
	}
	for i := range 8 {
		all.Go(func() {
			c := nodes[i%2].dialAs("")
			time.Sleep(time.Duration(i*30) * time.Millisecond)
			p := presentIn(c.ask(channel))
			c.await(&p, stay)
		})
	}
	all.Wait()
	here, err := nodes[0].h.Here(t.Context(), channel)
	if err != nil || here.Count != len(stay) {
		t.Errorf("Here: %+v, %v", here, err)
	}
}

// A notice that is on its way while a SUB is settled is not for its session, whose ACK has
// more than that; who has asked before gets it.
func TestNoticeOnItsWay(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no event loops")
	}
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	inSub, onLoop := make(chan struct{}), make(chan struct{})
	subGoesOn, loopGoesOn := make(chan struct{}), make(chan struct{})
	one := newServerWith(t, b, itself, withPresent(juggler.WithEventLoops(1), juggler.WithLogger(quiet),
		juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
			switch user := r.Session().User(); {
			case user == "bob" && r.Type() == frame.Sub:
				close(inSub)
				<-subGoesOn
			case user == "blocker":
				close(onLoop)
				<-loopGoesOn // which it must not: nothing else runs on this loop
			}
			return nil
		})))...)
	two := nodeOn(t, b, withPresent()...)
	ann, bob, blocker := one.dialAs("ann"), one.dialAs("bob"), one.dialAs("blocker")
	p := presentIn(ann.ask("room.7"))
	ann.await(&p, map[string]float64{"ann": 1})
	bob.send(`{"type":"SUB","id":"1","channel":"room.7","here":true}`)
	<-inSub
	blocker.send(`{"type":"PUB","id":"1","channel":"x","args":1}`)
	<-onLoop
	two.dialAs("cid").request("SUB", "room.7")
	waitFor(t, "the notice", func() bool {
		commands, _ := juggler.Waiting(one.h)
		return commands > 0
	})
	close(subGoesOn)
	waitFor(t, "the SUB", func() bool {
		_, settled := juggler.Waiting(one.h)
		return settled > 0
	})
	close(loopGoesOn)
	q := presentIn(bob.expect(`{"type":"ACK"}`))
	if want := map[string]float64{"ann": 1, "bob": 1, "cid": 1}; !maps.Equal(q.users, want) {
		t.Errorf("the ACK has %v", q)
	}
	m := bob.expect(`{"type":"HERE"}`)
	if text := fmt.Sprint(m["join"]); strings.Contains(text, "cid") || m["count"].(float64) != 3 {
		t.Errorf("a notice of before the ACK came behind it: %v", m)
	}
	ann.await(&p, map[string]float64{"ann": 1, "bob": 1, "cid": 1})
}

// A guest's SUB that is settled when the guest is somebody already, but the AUTH is not
// settled, counts alone: the guest's other channels follow with the AUTH.
func TestGuestSubscribesWhileSigningIn(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no event loops")
	}
	inSub, onLoop := make(chan struct{}), make(chan struct{})
	subGoesOn, loopGoesOn := make(chan struct{}), make(chan struct{})
	s := newServer(t, juggler.WithPresence(juggler.PresenceRule{Channels: "room.*"}), juggler.WithPresenceGrace(0),
		juggler.WithEventLoops(1), juggler.WithLogger(quiet),
		juggler.WithDeferredAuth(func(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
			return &juggler.Identity{User: strings.TrimPrefix(token, "guest")}, nil
		}, 1<<40),
		juggler.WithNonBlockingMiddleware(func(_ context.Context, r *juggler.Request) (func(error) error, error) {
			switch {
			case r.Channel() == "room.2" && r.Type() == frame.Sub:
				close(inSub)
				<-subGoesOn
			case r.Channel() == "block":
				close(onLoop)
				<-loopGoesOn // which it must not: nothing else runs on this loop
			}
			return nil, nil
		}))
	c, blocker := s.dial("juggler.1"), s.dial("juggler.1")
	for _, client := range []*testClient{c, blocker} {
		client.send(`{"type":"AUTH","id":"1","token":"guest"}`)
		client.until("ACK", nil)
	}
	c.request("SUB", "room.1")
	read := s.h.Stats().Messages + 2
	c.send(`{"type":"SUB","id":"2","channel":"room.2","here":true}`)
	<-inSub
	c.send(`{"type":"AUTH","id":"3","token":"ann"}`)
	waitFor(t, "the AUTH to be read", func() bool { return s.h.Stats().Messages == read })
	blocker.send(`{"type":"PUB","id":"2","channel":"block","args":1}`)
	<-onLoop
	close(subGoesOn)
	waitFor(t, "both to be handled", func() bool {
		_, settled := juggler.Waiting(s.h)
		return settled > 0 && len(slices.Collect(s.h.SessionsOf("ann"))) == 1
	})
	close(loopGoesOn)
	c.until("ACK", nil)
	c.until("ACK", nil)
	for want := 2; want > 0; want-- {
		waitFor(t, "who is present", func() bool { return s.h.Stats().Present == want })
		c.request("UNSB", fmt.Sprint("room.", want))
	}
	waitFor(t, "nobody to be present", func() bool { return s.h.Stats().Present == 0 })
}

// Options that make no sense are refused by name.
func TestPresenceOptions(t *testing.T) {
	rule := func(channels ...string) juggler.Option {
		var rules []juggler.PresenceRule
		for _, c := range channels {
			rules = append(rules, juggler.PresenceRule{Channels: c})
		}
		return juggler.WithPresence(rules...)
	}
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for want, opts := range map[string][]juggler.Option{
		`WithPresence("a*b"): want a name, or how names begin and then a star`:           {rule("a*b")},
		`WithPresence(""): want a name`:                                                  {rule("")},
		`WithPresence("room.7"): the rule of "room.*" before it has all of its channels`: {rule("room.*", "room.7")},
		`WithPresence: 257 rules, want up to 256`:                                        {rule(make([]string, 257)...)},
		`WithPresence: it has no effect without a rule`:                                  {rule()},
		`WithMaxPresent: it has no effect without a rule of WithPresence`:                {juggler.WithMaxPresent(5)},
		`WithPresenceGrace: it has no effect without a rule of WithPresence`:             {juggler.WithPresenceGrace(5)},
		`WithPresenceGrace(-1ns): want 0s to 1h`:                                         {rule("a"), juggler.WithPresenceGrace(-1)},
		`WithPresence: the broker, `:                                                     {rule("a"), juggler.WithBroker(mayWait(b))},
		`it is no broker.Presence`:                                                       {rule("a"), juggler.WithBroker(mayWait(b))},
	} {
		if _, err := juggler.New(opts...); err == nil || !errors.Is(err, juggler.ErrInvalidOption) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := juggler.New(rule("*", "\x00*")); err != nil { // the server's own are not among all
		t.Error(err)
	}
}
