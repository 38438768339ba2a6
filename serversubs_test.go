package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/jugglertest"
)

// only returns the one session of the server.
func (s *testServer) only() juggler.Session {
	s.t.Helper()
	sessions := slices.Collect(s.h.Sessions())
	if len(sessions) != 1 {
		s.t.Fatalf("%d sessions", len(sessions))
	}
	return sessions[0]
}

// inChannels authenticates as the header User says, with the channels of the header
// Channels; those that begin with own: are the server's own.
func inChannels(r *http.Request) (*juggler.Identity, error) {
	return identityIn(r.Header.Get("User"), r.Header.Get("Channels")), nil
}

func identityIn(user, channels string) *juggler.Identity {
	id := &juggler.Identity{User: user}
	for name := range strings.FieldsSeq(channels) {
		if own, ok := strings.CutPrefix(name, "own:"); ok {
			name = broker.OwnChannel(own)
		}
		id.Channels = append(id.Channels, name)
	}
	return id
}

// signInChannels is inChannels for tokens such as "ann: room.1 own:a".
func signInChannels(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
	user, channels, _ := strings.Cut(token, ":")
	return identityIn(user, channels), nil
}

// What the server subscribes a session to is told in its place, delivers, is one
// subscription with what the client wants, and ends for both when the server takes it away.
func TestServerSubscribes(t *testing.T) {
	onKeptServers(t, func(t *testing.T, s *testServer) {
		c := s.dial("juggler.1")
		session := s.only()
		for _, topic := range []broker.Topic{{Name: "a"}, {Name: "n.*", Pattern: true}, {Name: juggler.User("u1")}} {
			for range 2 { // the second changes nothing
				if err := session.Subscribe(t.Context(), topic); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.expect(`{"type":"SUBS","channel":"a"}`)
		c.expect(`{"type":"SUBS","channel":"n.*","pattern":true}`)
		c.expect(`{"type":"SUBS","channel":"user:u1","own":true}`)
		for _, channel := range []string{"a", "n.1", juggler.User("u1"), "user:u1"} {
			s.publish(channel, 1, 1)
		}
		c.expect(`{"type":"EVNT","channel":"a","args":1}`)
		c.expect(`{"type":"EVNT","channel":"n.1","pattern":"n.*","args":1}`)
		c.expect(`{"type":"EVNT","channel":"user:u1","own":true,"args":1}`)
		if got := s.h.Stats().Subscriptions; got != 3 {
			t.Errorf("%d subscriptions", got)
		}

		// UNSB ends what the client wanted, and only that.
		c.send(`{"type":"UNSB","id":"1","channel":"a"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		c.send(`{"type":"SUB","id":"2","channel":"a"}`)
		c.expect(`{"type":"ACK","for":"2"}`)
		c.send(`{"type":"UNSB","id":"3","channel":"a"}`)
		c.expect(`{"type":"ACK","for":"3"}`)
		s.publish("a", 2, 2)
		c.expect(`{"type":"EVNT","channel":"a","args":2}`)

		c.send(`{"type":"SUB","id":"4","channel":"b"}`)
		c.expect(`{"type":"ACK","for":"4"}`)
		why := &juggler.Error{Code: 410, Message: "the room is closed", Data: []byte(`{"n":7}`)}
		for _, name := range []string{"b", "a", "never"} {
			if err := session.Unsubscribe(t.Context(), broker.Topic{Name: name}, why); err != nil {
				t.Fatal(err)
			}
		}
		if err := session.Unsubscribe(t.Context(), broker.Topic{Name: juggler.User("u1")}, nil); err != nil {
			t.Fatal(err)
		}
		s.publish("a", 3, 3)
		s.publish("b", 3, 3)
		s.publish(juggler.User("u1"), 3, 3)
		s.publish("n.2", 3, 3)
		c.expect(`{"type":"UNSS","channel":"b","error":{"code":410,"message":"the room is closed","data":{"n":7}}}`)
		c.expect(`{"type":"UNSS","channel":"a","error":{"code":410}}`)
		c.expect(`{"type":"UNSS","channel":"user:u1","own":true,"error":{"code":403,"message":"the subscription was taken away"}}`)
		c.expect(`{"type":"EVNT","channel":"n.2","args":3}`)
		if got := s.h.Stats(); got.TakenAway != 3 || got.Subscriptions != 1 {
			t.Errorf("%d were taken away, %d are left", got.TakenAway, got.Subscriptions)
		}
		if got := slices.Collect(session.Topics()); !slices.Equal(got, []broker.Topic{{Name: "n.*", Pattern: true}}) {
			t.Errorf("the session has %v", got)
		}

		// What the client has subscribed to is told, too, when the server wants it.
		c.send(`{"type":"SUB","id":"5","channel":"b"}`)
		c.expect(`{"type":"ACK","for":"5"}`)
		if err := session.Subscribe(t.Context(), broker.Topic{Name: "b"}); err != nil {
			t.Fatal(err)
		}
		c.expect(`{"type":"SUBS","channel":"b"}`)
		s.publish("b", 4, 4)
		c.expect(`{"type":"EVNT","channel":"b","args":4}`)
		c.send(`{"type":"PUB","id":"6","channel":"x"}`)
		c.expect(`{"type":"ACK","for":"6"}`) // the event came once
	})
}

// What cannot be subscribed to is refused, and so is a session that has ended.
func TestServerSubscribesToWhatThereIs(t *testing.T) {
	s := newServer(t, juggler.WithMaxNodePatterns(1))
	c := s.dial("juggler.1")
	session := s.only()
	for _, topic := range []broker.Topic{
		{}, {Name: broker.OwnChannel("")}, {Name: "\xff"}, {Name: strings.Repeat("x", 1<<16+1)}, {Name: broker.OwnChannel("*"), Pattern: true},
	} {
		if err := session.Subscribe(t.Context(), topic); !errors.Is(err, frame.Code(juggler.CodeBadRequest)) {
			t.Errorf("%.20q: %v", topic.Name, err)
		}
	}
	if err := session.Subscribe(t.Context(), broker.Topic{Name: "a*", Pattern: true}); err != nil {
		t.Error(err)
	}
	if err := session.Subscribe(t.Context(), broker.Topic{Name: "b*", Pattern: true}); !errors.Is(err, frame.Code(juggler.CodeUnavailable)) {
		t.Errorf("a pattern too many: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := session.Subscribe(ctx, broker.Topic{Name: "c"}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	c.conn.CloseNow()
	s.waitSessions(0)
	if err := session.Subscribe(t.Context(), broker.Topic{Name: "c"}); !errors.Is(err, juggler.ErrSessionEnded) {
		t.Errorf("of a session that has ended: %v", err)
	}
	if err := session.Unsubscribe(t.Context(), broker.Topic{Name: "a*", Pattern: true}, nil); err != nil {
		t.Errorf("Unsubscribe of a session that has ended: %v", err)
	}
	if err := s.h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := session.Subscribe(t.Context(), broker.Topic{Name: "c"}); err == nil {
		t.Error("no error after Shutdown")
	}
}

// The limits of the client's subscriptions do not count what the server wants.
func TestServerSubscriptionsCountAgainstNoLimit(t *testing.T) {
	s := newServer(t, juggler.WithMaxSubscriptions(2), juggler.WithMaxPatterns(1), juggler.WithAuthenticator(inChannels))
	c := s.dialHeader("juggler.1", http.Header{"Channels": {"a b c d"}})
	for _, name := range []string{"a", "b", "c", "d"} {
		c.expect(`{"type":"SUBS","channel":"` + name + `"}`)
	}
	if err := s.only().Subscribe(t.Context(), broker.Topic{Name: "p*", Pattern: true}); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"type":"SUBS","channel":"p*","pattern":true}`)
	for _, sub := range []struct{ topic, answer string }{
		{`"a"`, "ACK"}, {`"b"`, "ACK"}, {`"c"`, "ACK"}, {`"q*","pattern":true`, "ACK"}, {`"p*","pattern":true`, "ACK"},
		{`"r*","pattern":true`, "NACK"}, {`"e"`, "ACK"}, {`"f"`, "NACK"},
	} {
		c.send(`{"type":"SUB","id":"1","channel":` + sub.topic + `}`)
		c.expect(`{"type":"` + sub.answer + `","for":"1"}`)
	}
}

// A session begins with the channels of its identity, right behind HELLO or the ACK of AUTH,
// so that OnConnect may publish on them; an identity that lacks some ends these.
func TestChannelsOfIdentity(t *testing.T) {
	var welcome atomic.Pointer[juggler.Handler]
	onKeptServers(t, func(t *testing.T, s *testServer) {
		welcome.Store(s.h)
		s.publish("room.7", 1, 3)
		c := s.dialHeader("juggler.1", http.Header{"User": {"ann"}, "Channels": {"room.7 own:user:ann shared room.7"}})
		if p := position(c.expect(`{"type":"SUBS","channel":"room.7"}`)); p == "" {
			t.Error("SUBS of a kept channel has no position")
		}
		c.expect(`{"type":"SUBS","channel":"user:ann","own":true}`)
		c.expect(`{"type":"SUBS","channel":"shared"}`)
		c.expect(`{"type":"EVNT","channel":"user:ann","own":true,"args":"welcome"}`)

		c.send(`{"type":"SUB","id":"1","channel":"shared"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		// Renewed with what was there, it stays.
		c.send(`{"type":"AUTH","id":"2","token":"ann: room.7 own:user:ann shared"}`)
		c.expect(`{"type":"ACK","for":"2"}`)
		c.send(`{"type":"AUTH","id":"3","token":"bob: room.8 own:user:bob room.7"}`)
		c.expect(`{"type":"ACK","for":"3"}`)
		c.expect(`{"type":"UNSS","channel":"user:ann","own":true,"error":{"code":403}}`)
		c.expect(`{"type":"SUBS","channel":"room.8"}`)
		c.expect(`{"type":"SUBS","channel":"user:bob","own":true}`)
		for i, channel := range []string{juggler.User("ann"), juggler.User("bob"), "shared", "room.7", "room.8"} {
			s.publish(channel, i, i)
		}
		c.expect(`{"type":"EVNT","channel":"user:bob","args":1}`)
		c.expect(`{"type":"EVNT","channel":"shared","args":2}`) // the client still wants it
		got := []any{c.expect(`{"type":"EVNT"}`)["channel"], c.expect(`{"type":"EVNT"}`)["channel"]}
		if !slices.Contains(got, any("room.7")) || !slices.Contains(got, any("room.8")) {
			t.Errorf("events of %v", got)
		}
		// The server does not want shared any more, which is told when the client does not.
		c.send(`{"type":"UNSB","id":"4","channel":"shared"}`)
		c.expect(`{"type":"ACK","for":"4"}`)
		c.expect(`{"type":"UNSS","channel":"shared","error":{"code":403}}`)
		if topics := len(slices.Collect(s.only().Topics())); topics != 3 {
			t.Errorf("%d topics are left", topics)
		}
	}, juggler.WithAuthenticator(inChannels), juggler.WithDeferredAuth(signInChannels, waiting.Most), juggler.WithHooks(juggler.Hooks{
		OnConnect: func(ctx context.Context, s juggler.Session) {
			if err := welcome.Load().Publish(ctx, juggler.User(s.User()), "welcome", nil); err != nil {
				t.Error(err)
			}
		},
	}))
}

// What a new identity lacks, though the user is the same, goes on only if the client may have
// it by itself.
func TestChannelThatIdentityLacks(t *testing.T) {
	var member atomic.Bool
	member.Store(true)
	s := newServer(t, juggler.WithAuthenticator(inChannels), juggler.WithDeferredAuth(signInChannels, waiting.Most),
		juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
			if r.Channel() == "room.7" && !member.Load() {
				return juggler.ErrForbidden
			}
			return nil
		})))
	c := s.dialHeader("juggler.1", http.Header{"User": {"ann"}, "Channels": {"room.7 room.8"}})
	c.expect(`{"type":"SUBS","channel":"room.7"}`)
	c.expect(`{"type":"SUBS","channel":"room.8"}`)
	for _, channel := range []string{"room.7", "room.8"} {
		c.send(`{"type":"SUB","id":"1","channel":"` + channel + `"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
	}
	member.Store(false)
	c.send(`{"type":"AUTH","id":"2","token":"ann:"}`)
	c.expect(`{"type":"ACK","for":"2"}`)
	c.expect(`{"type":"UNSS","channel":"room.7","error":{"code":403}}`)
	s.publish("room.7", 1, 1)
	s.publish("room.8", 2, 2)
	c.expect(`{"type":"EVNT","channel":"room.8"}`)
}

// A replay of what came before on a channel of the server's is asked for by its position; it
// needs no right, gives none, and is for those only whom the server has subscribed.
func TestReplayOfServerSubscription(t *testing.T) {
	both := memory.WithHistory(broker.HistoryRule{Channels: "room.*", Events: 9, For: time.Hour}, broker.HistoryRule{Channels: broker.OwnChannel("room.*"), Events: 9, For: time.Hour})
	for name, roles := range map[string]func(*memory.Broker) jugglertest.Roles{
		"embedded": itself,
		"waiting":  func(b *memory.Broker) jugglertest.Roles { return newHistoryBroker(b) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeptServer(t, roles, []memory.Option{both}, juggler.WithAuthenticator(inChannels), juggler.WithAuthorizer(juggler.NonBlocking(
				func(context.Context, *juggler.Request) error { return juggler.ErrForbidden })))
			c := s.dialHeader("juggler.1", http.Header{"Channels": {"room.7 own:room.7"}})
			since := position(c.expect(`{"type":"SUBS","channel":"room.7"}`))
			ownSince := position(c.expect(`{"type":"SUBS","channel":"room.7","own":true}`))
			s.publish("room.7", 1, 2)
			s.publish(broker.OwnChannel("room.7"), 11, 12)
			for range 4 {
				c.expect(`{"type":"EVNT"}`)
			}
			for _, tt := range []struct {
				sub   string
				first int
				own   string
			}{
				{`"channel":"room.7","since":` + since, 1, ""},
				{`"channel":"room.7","own":true,"since":` + ownSince, 11, `,"own":true`},
			} {
				c.send(`{"type":"SUB","id":"1",` + tt.sub + `}`)
				c.expect(`{"type":"ACK","for":"1","recovered":true}`)
				for i := range 2 {
					c.expect(fmt.Sprintf(`{"type":"EVNT","channel":"room.7"%s,"args":%d}`, tt.own, tt.first+i))
				}
			}
			// The client has gained nothing by it.
			for _, topic := range []broker.Topic{{Name: "room.7"}, {Name: broker.OwnChannel("room.7")}} {
				if err := s.only().Unsubscribe(t.Context(), topic, nil); err != nil {
					t.Fatal(err)
				}
				c.expect(`{"type":"UNSS","channel":"room.7"}`)
			}
			for _, sub := range []string{
				`"channel":"room.7","since":` + since,
				`"channel":"room.7","own":true,"since":` + ownSince,
				`"channel":"room.7","own":true`,
				`"channel":"room.7"`,
			} {
				c.send(`{"type":"SUB","id":"1",` + sub + `}`)
				c.expect(`{"type":"NACK","for":"1","error":{"code":403}}`)
			}
		})
	}
}

// A replay that is being read does not outlive the subscription.
func TestReplayInFlightWhileTheSubscriptionEnds(t *testing.T) {
	reads, goOn := make(chan struct{}), make(chan struct{})
	s := newKeptServer(t, func(b *memory.Broker) jugglertest.Roles {
		h := newHistoryBroker(b)
		h.read = func(ctx context.Context, r []broker.Read, p []broker.Page) {
			reads <- struct{}{}
			<-goOn
			b.ReadKept(ctx, r, p)
		}
		return h
	}, []memory.Option{keep}, juggler.WithAuthenticator(inChannels), juggler.WithAuthorizer(juggler.NonBlocking(
		func(context.Context, *juggler.Request) error { return juggler.ErrForbidden })))
	c := s.dialHeader("juggler.1", http.Header{"Channels": {"room.7"}})
	since := position(c.expect(`{"type":"SUBS","channel":"room.7"}`))
	s.publish("room.7", 1, 1)
	c.expect(`{"type":"EVNT","args":1}`)
	c.send(`{"type":"SUB","id":"1","channel":"room.7","since":` + since + `}`)
	<-reads
	if err := s.only().Unsubscribe(t.Context(), broker.Topic{Name: "room.7"}, nil); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"type":"UNSS","channel":"room.7"}`)
	close(goOn)
	c.expect(`{"type":"NACK","for":"1","error":{"code":403}}`)
}

// brokenPubSub refuses subscriptions to one channel, and counts the others.
type brokenPubSub struct {
	broker.PubSub
	*brokenState
}

type brokenState struct {
	channel atomic.Pointer[string]
	open    atomic.Int32
}

type brokenSubscriber struct {
	broker.SubscriberConn
	*brokenState
}

func (p brokenPubSub) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	conn, err := p.PubSub.OpenSubscriber(ctx, deliver)
	return brokenSubscriber{conn, p.brokenState}, err
}

func (s brokenSubscriber) Subscribe(ctx context.Context, t broker.Topic) error {
	if broken := s.channel.Load(); broken != nil && *broken == t.Name {
		return broker.ErrUnavailable
	}
	s.open.Add(1)
	return s.SubscriberConn.Subscribe(ctx, t)
}

func (s brokenSubscriber) Unsubscribe(ctx context.Context, t broker.Topic) error {
	s.open.Add(-1)
	return s.SubscriberConn.Unsubscribe(ctx, t)
}

// A session is never there without the channels of its identity: if the broker cannot be
// reached it ends, or its AUTH is refused, which changes nothing. What was subscribed to
// before that is given back.
func TestChannelsWithoutABroker(t *testing.T) {
	var state brokenState
	s := newServerOn(t, func(b *memory.Broker) jugglertest.Roles {
		roles := plainRoles(b)
		roles.PubSub = brokenPubSub{roles.PubSub, &state}
		return roles.join()
	}, juggler.WithAuthenticator(inChannels), juggler.WithDeferredAuth(signInChannels, waiting.Most), juggler.WithLogger(quiet))
	c := s.dialHeader("juggler.1", http.Header{"User": {"ann"}, "Channels": {"a"}})
	c.expect(`{"type":"SUBS","channel":"a"}`)
	out := "z"
	state.channel.Store(&out)
	refused := s.dialHeader("juggler.1", http.Header{"User": {"bob"}, "Channels": {"b z c"}})
	refused.expectClose(juggler.CloseOverloaded)
	c.send(`{"type":"AUTH","id":"1","token":"bob: b z"}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":503}}`)
	s.publish("a", 1, 1)
	c.expect(`{"type":"EVNT","channel":"a","args":1}`)
	s.waitSessions(1)
	session := s.only()
	if session.User() != "ann" {
		t.Errorf("the session is %q", session.User())
	}
	if err := session.Subscribe(t.Context(), broker.Topic{Name: "z"}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Subscribe: %v", err)
	}
	waitFor(t, "all but one to be given back", func() bool { return state.open.Load() == 1 })
	state.channel.Store(nil)
	c.send(`{"type":"AUTH","id":"2","token":"bob: b z"}`)
	c.expect(`{"type":"ACK","for":"2"}`)
	c.expect(`{"type":"UNSS","channel":"a"}`)
	c.expect(`{"type":"SUBS","channel":"b"}`)
	c.expect(`{"type":"SUBS","channel":"z"}`)
	c.conn.CloseNow()
	waitFor(t, "all to be given back", func() bool { return state.open.Load() == 0 })
}

// Who stops waiting for the event loop is not subscribed later.
func TestServerSubscribesTooLate(t *testing.T) {
	var state brokenState
	loop, holds := make(chan struct{}), make(chan struct{})
	s := newServerOn(t, func(b *memory.Broker) jugglertest.Roles {
		roles := plainRoles(b)
		roles.PubSub = brokenPubSub{roles.PubSub, &state}
		return roles.join()
	}, juggler.WithEventLoops(1), juggler.WithLogger(quiet), juggler.WithCallObserver(func(juggler.CallEnd) { // on the loop
		close(holds)
		<-loop
	}))
	c := s.dial("juggler.1")
	session := s.only()
	c.send(`{"type":"CALL","id":"1","uri":"nobody"}`)
	<-holds
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- session.Subscribe(ctx, broker.Topic{Name: "a"}) }()
	waitFor(t, "the broker to be asked", func() bool { return state.open.Load() == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Subscribe: %v", err)
	}
	close(loop)
	c.expect(`{"type":"NACK","for":"1"}`)
	waitFor(t, "it to be given back", func() bool { return state.open.Load() == 0 })
	if topics := slices.Collect(session.Topics()); len(topics) > 0 {
		t.Errorf("the session has %v", topics)
	}
}

// juggler.0 has no words for subscriptions of the server.
func TestServerSubscriptionsInJuggler0(t *testing.T) {
	s := newServer(t, juggler.WithAuthenticator(inChannels))
	c := s.dialHeader("juggler.0", http.Header{"Channels": {"a own:b"}})
	c.send(`{"meta":{"type":3,"uuid":"00000000-0000-0000-0000-000000000001"},"payload":{"channel":"c"}}`)
	c.receive()
	session := s.only()
	if got := slices.Collect(session.Topics()); !slices.Equal(got, []broker.Topic{{Name: "c"}}) {
		t.Errorf("topics: %v", got)
	}
	if err := session.Subscribe(t.Context(), broker.Topic{Name: "d"}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Subscribe: %v", err)
	}
	if err := session.Unsubscribe(t.Context(), broker.Topic{Name: "d"}, nil); err != nil {
		t.Errorf("Unsubscribe of what it has not: %v", err)
	}
	s.publish("c", 1, 1)
	c.receive()
	if err := session.Unsubscribe(t.Context(), broker.Topic{Name: "c"}, nil); err != nil {
		t.Errorf("Unsubscribe: %v", err)
	}
	c.expectClose(frame.CloseRestart)
}

// leakyPubSub delivers what comes on channels of the server's own to all patterns, too.
type leakyPubSub struct {
	broker.PubSub
	patterns chan broker.Topic // those that there are
}

type leakySubscriber struct {
	broker.SubscriberConn
	patterns chan broker.Topic
}

func (p leakyPubSub) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	conn, err := p.PubSub.OpenSubscriber(ctx, func(d []broker.Delivery) {
		if _, own := broker.IsOwn(d[0].Event.Channel); own {
			for range len(p.patterns) {
				d = append(d, broker.Delivery{Topic: <-p.patterns, Event: d[0].Event})
			}
		}
		deliver(d)
	})
	return leakySubscriber{conn, p.patterns}, err
}

func (s leakySubscriber) Subscribe(ctx context.Context, t broker.Topic) error {
	if t.Pattern {
		s.patterns <- t
	}
	return s.SubscriberConn.Subscribe(ctx, t)
}

// No client reaches the server's own channels by a name or a pattern, in neither protocol,
// not even on a broker that leaks them to patterns.
func TestOwnChannelsAreOutOfReach(t *testing.T) {
	leaky := func(b *memory.Broker) jugglertest.Roles {
		roles := plainRoles(b)
		roles.PubSub = leakyPubSub{roles.PubSub, make(chan broker.Topic, 100)}
		return roles.join()
	}
	for name, roles := range map[string]func(*memory.Broker) jugglertest.Roles{"embedded": itself, "waiting": mayWait, "leaky": leaky} {
		t.Run(name, func(t *testing.T) {
			s := newServerOn(t, roles, juggler.WithAuthenticator(inChannels), juggler.WithMaxPatterns(100), juggler.WithLogger(quiet))
			one := s.dialHeader("juggler.1", nil)
			zero := s.dialHeader("juggler.0", nil)
			patterns := []string{"*user*", "*", "?user:u1", "[^a]user:u1", `user:*`, `\\u0000*`, `[\\u0000]*`}
			for i, p := range patterns {
				one.send(fmt.Sprintf(`{"type":"SUB","id":"p%d","channel":"%s","pattern":true}`, i, p))
				one.receive()
				zero.send(fmt.Sprintf(`{"meta":{"type":3,"uuid":"00000000-0000-0000-0000-0000000001%02d"},"payload":{"channel":"%s","pattern":true}}`, i, p))
				zero.receive()
			}
			one.send(`{"type":"SUB","id":"n","channel":"user:u1"}`)
			one.expect(`{"type":"ACK","for":"n"}`)
			for _, m := range []string{
				`{"type":"SUB","id":"x","channel":"\u0000user:u1"}`,
				`{"type":"SUB","id":"x","channel":"\u0000*","pattern":true}`,
				`{"type":"PUB","id":"x","channel":"\u0000user:u1","args":"forged"}`,
				`{"type":"UNSB","id":"x","channel":"\u0000user:u1"}`,
			} {
				one.send(m)
				one.expect(`{"type":"NACK","for":"x","error":{"code":400}}`)
			}
			one.send(`{"type":"SUB","id":"x","channel":"user:u1","own":true}`)
			one.expect(`{"type":"NACK","for":"x","error":{"code":403}}`)
			zero.send(`{"meta":{"type":2,"uuid":"00000000-0000-0000-0000-000000000002"},"payload":{"channel":"\u0000user:u1","args":"forged"}}`)
			zero.receive()

			u1 := s.dialHeader("juggler.1", http.Header{"User": {"u1"}, "Channels": {"own:user:u1"}})
			u1.expect(`{"type":"SUBS","channel":"user:u1","own":true}`)
			s.publish(juggler.User("u1"), 1, 1)
			u1.expect(`{"type":"EVNT","channel":"user:u1","own":true,"args":1}`)
			for _, c := range []*testClient{one, zero} {
				if err := s.h.Publish(t.Context(), "user:end", "end", nil); err != nil {
					t.Fatal(err)
				}
				for !strings.Contains(string(c.receive()), "end") {
					t.Error("something else came")
				}
			}
		})
	}
}

// Each subscription of a client is asked for again when the application says so: what is
// refused ends by UNSS, with what the authorizer says; what the server wants goes on.
func TestReauthorize(t *testing.T) {
	for name, declare := range map[string]func(juggler.AuthorizerFunc) juggler.Authorizer{
		"on the loop": juggler.NonBlocking,
		"may block":   func(f juggler.AuthorizerFunc) juggler.Authorizer { return f },
	} {
		t.Run(name, func(t *testing.T) {
			var refusal atomic.Pointer[map[string]error]
			refusal.Store(&map[string]error{})
			var asked atomic.Int32
			s := newServer(t, juggler.WithAuthenticator(inChannels), juggler.WithLogger(quiet), juggler.WithAuthorizer(declare(func(_ context.Context, r *juggler.Request) error {
				asked.Add(1)
				return (*refusal.Load())[r.Session().User()+" "+r.Channel()]
			})))
			ann := s.dialHeader("juggler.1", http.Header{"User": {"ann"}, "Channels": {"server's both"}})
			bob := s.dialHeader("juggler.1", http.Header{"User": {"bob"}})
			old := s.dialHeader("juggler.0", http.Header{"User": {"old"}})
			ann.expect(`{"type":"SUBS"}`)
			ann.expect(`{"type":"SUBS"}`)
			for _, channel := range []string{"a", "b", "c", "both"} {
				for _, c := range []*testClient{ann, bob} {
					c.send(`{"type":"SUB","id":"` + channel + `","channel":"` + channel + `"}`)
					c.expect(`{"type":"ACK"}`)
				}
			}
			old.send(`{"meta":{"type":3,"uuid":"00000000-0000-0000-0000-000000000001"},"payload":{"channel":"a"}}`)
			old.receive()
			asked.Store(0)
			refusal.Store(&map[string]error{
				"ann a": &juggler.Error{Code: 403, Message: "not in a any more"}, "ann b": errors.New("db: secret"),
				"ann both": juggler.ErrForbidden, "ann server's": juggler.ErrForbidden,
				"bob c": &juggler.Error{Code: 503, Message: "cannot tell", RetryAfter: time.Second}, "old a": juggler.ErrForbidden,
			})
			if err := s.h.ReauthorizeUser(t.Context(), "ann"); err != nil {
				t.Fatal(err)
			}
			if n := asked.Load(); n != 4 {
				t.Errorf("the authorizer was asked %d times", n)
			}
			ann.expect(`{"type":"UNSS","channel":"a","error":{"code":403,"message":"not in a any more"}}`)
			ann.expect(`{"type":"UNSS","channel":"b","error":{"code":500,"message":"internal error"}}`)
			if err := s.h.Reauthorize(t.Context()); err != nil {
				t.Fatal(err)
			}
			bob.expect(`{"type":"UNSS","channel":"c","error":{"code":503,"retry_after":1000}}`)
			old.expectClose(frame.CloseRestart)
			for _, channel := range []string{"a", "b", "c", "both"} {
				s.publish(channel, 1, 1)
			}
			for _, channel := range []string{"c", "both"} {
				ann.expect(`{"type":"EVNT","channel":"` + channel + `"}`)
			}
			for _, channel := range []string{"a", "b", "both"} {
				bob.expect(`{"type":"EVNT","channel":"` + channel + `"}`)
			}
			// Of both, only the server's is left.
			if s := slices.Collect(s.h.SessionsOf("ann")); len(slices.Collect(s[0].Topics())) != 3 {
				t.Errorf("ann has %v", slices.Collect(s[0].Topics()))
			}
		})
	}
}

// A SUB that the authorizer has allowed does not slip through a re-authorization, nor
// through Unsubscribe, that come while the broker is asked.
func TestSubInFlightWhileRightsEnd(t *testing.T) {
	for name, end := range map[string]func(s *testServer) error{
		"Reauthorize of all": func(s *testServer) error { return s.h.Reauthorize(s.t.Context()) },
		"Reauthorize":        func(s *testServer) error { return s.only().Reauthorize(s.t.Context()) },
		"Unsubscribe":        func(s *testServer) error { return s.only().Unsubscribe(s.t.Context(), broker.Topic{Name: "c"}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var refuse atomic.Bool
			asked, confirm := make(chan struct{}, 2), make(chan struct{})
			s := newServerOn(t, func(b *memory.Broker) jugglertest.Roles {
				roles := plainRoles(b)
				roles.PubSub = gatedPubSub{roles.PubSub, confirm}
				return roles.join()
			}, juggler.WithLogger(quiet), juggler.WithAuthorizer(juggler.NonBlocking(func(context.Context, *juggler.Request) error {
				defer func() { asked <- struct{}{} }()
				if refuse.Load() {
					return juggler.ErrForbidden
				}
				return nil
			})))
			c := s.dial("juggler.1")
			c.send(`{"type":"SUB","id":"1","channel":"c"}`)
			<-asked
			refuse.Store(true)
			if err := end(s); err != nil {
				t.Fatal(err)
			}
			close(confirm)
			c.expect(`{"type":"NACK","for":"1","error":{"code":503}}`)
			c.send(`{"type":"SUB","id":"2","channel":"c"}`)
			c.expect(`{"type":"NACK","for":"2","error":{"code":403}}`)
			s.publish("c", 1, 1)
			c.send(`{"type":"UNSB","id":"3","channel":"c"}`)
			c.expect(`{"type":"ACK","for":"3"}`)
		})
	}
}

// UNSS comes behind the events that wait for the answer to a PUB.
func TestUnssBehindHeldEvents(t *testing.T) {
	gate := make(chan struct{})
	s := newServer(t, juggler.WithNonBlockingMiddleware(func(_ context.Context, r *juggler.Request) (func(error) error, error) {
		return func(err error) error {
			if r.Type() == frame.Pub {
				<-gate
			}
			return err
		}, nil
	}), juggler.WithAuthorizer(juggler.AuthorizerFunc(func(_ context.Context, r *juggler.Request) error { return nil })))
	c := s.dial("juggler.1")
	session := s.only()
	if err := session.Subscribe(t.Context(), broker.Topic{Name: "c"}); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"type":"SUBS","channel":"c"}`)
	c.send(`{"type":"PUB","id":"1","channel":"c","args":1}`)
	waitFor(t, "the event", func() bool { return s.h.Stats().Events == 1 })
	if err := session.Unsubscribe(t.Context(), broker.Topic{Name: "c"}, nil); err != nil {
		t.Fatal(err)
	}
	close(gate)
	c.expect(`{"type":"ACK","for":"1"}`)
	c.expect(`{"type":"EVNT","channel":"c","args":1}`)
	c.expect(`{"type":"UNSS","channel":"c"}`)
}

// Hooks are told of what the server subscribes to and ends.
func TestHooksOfServerSubscriptions(t *testing.T) {
	told := make(chan string, 10)
	for name, roles := range map[string]func(*memory.Broker) jugglertest.Roles{"embedded": itself, "waiting": mayWait} {
		t.Run(name, func(t *testing.T) {
			s := newServerOn(t, roles, juggler.WithAuthenticator(inChannels), juggler.WithHooks(juggler.Hooks{
				OnConnect: func(_ context.Context, s juggler.Session) {
					told <- fmt.Sprint("connect ", len(slices.Collect(s.Topics())))
				},
				OnSubscribe: func(_ context.Context, _ juggler.Session, t broker.Topic) { told <- "subscribe " + t.Name },
				OnUnsubscribe: func(_ context.Context, _ juggler.Session, t broker.Topic, why juggler.SubscriptionEnd) {
					told <- "unsubscribe " + t.Name + " " + string(why)
				},
			}))
			c := s.dialHeader("juggler.1", http.Header{"Channels": {"a b"}})
			c.expect(`{"type":"SUBS"}`)
			c.expect(`{"type":"SUBS"}`)
			c.send(`{"type":"SUB","id":"1","channel":"a"}`)
			c.expect(`{"type":"ACK"}`)
			if err := s.only().Unsubscribe(t.Context(), broker.Topic{Name: "a"}, nil); err != nil {
				t.Fatal(err)
			}
			c.conn.CloseNow()
			for _, want := range []string{"connect 2", "subscribe a", "subscribe b", "unsubscribe a server", "unsubscribe b session_ended"} {
				if got := <-told; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

// A hook may subscribe its session, and end its subscriptions.
func TestHookSubscribes(t *testing.T) {
	for name, roles := range map[string]func(*memory.Broker) jugglertest.Roles{"embedded": itself, "waiting": mayWait} {
		t.Run(name, func(t *testing.T) {
			errs := make(chan error, 2)
			s := newServerOn(t, roles, juggler.WithHooks(juggler.Hooks{OnConnect: func(ctx context.Context, s juggler.Session) {
				errs <- s.Subscribe(ctx, broker.Topic{Name: "a"})
				errs <- s.Unsubscribe(ctx, broker.Topic{Name: "a"}, nil)
			}}))
			c := s.dial("juggler.1")
			c.expect(`{"type":"SUBS","channel":"a"}`)
			c.expect(`{"type":"UNSS","channel":"a"}`)
			if err := errors.Join(<-errs, <-errs); err != nil {
				t.Error(err)
			}
		})
	}
}

// A session that moves to another node has its channels there.
func TestServerSubscriptionsOnTheNextNode(t *testing.T) {
	s := newServer(t, juggler.WithAuthenticator(inChannels))
	other := s.secondNode(juggler.WithAuthenticator(inChannels))
	header := http.Header{"User": {"ann"}, "Channels": {"own:user:ann"}}
	a := s.dialHeader("juggler.1", header)
	a.expect(`{"type":"SUBS"}`)
	down := make(chan error, 1)
	go func() { down <- s.h.Shutdown(t.Context()) }()
	a.expect(`{"type":"GOAWAY"}`)
	b := other.dialHeader("juggler.1", header)
	b.expect(`{"type":"SUBS","channel":"user:ann","own":true}`)
	if err := other.h.Publish(t.Context(), juggler.User("ann"), 1, nil); err != nil {
		t.Fatal(err)
	}
	a.expect(`{"type":"EVNT","channel":"user:ann","args":1}`)
	b.expect(`{"type":"EVNT","channel":"user:ann","args":1}`)
	a.conn.CloseNow()
	if err := <-down; err != nil {
		t.Error(err)
	}
}
