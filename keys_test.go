package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/jugglertest"
)

// keptBroker is an embedded broker that keeps the channels that begin with "room.".
func keptBroker(t *testing.T) *memory.Broker {
	t.Helper()
	b, err := memory.New(memory.WithHistory(broker.HistoryRule{Channels: "room.*", Events: 100, For: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// keptAndWaits returns b as a broker that may wait, takes batches, and keeps history.
func keptAndWaits(b *memory.Broker) jugglertest.Roles {
	return struct {
		brokerCaller
		brokerCallee
		brokerPubSub
		broker.BatchPublisher
		broker.History
	}{b, b, b, b, b}
}

// byUserHeader takes the user from a header; without one the client is nobody.
func byUserHeader(r *http.Request) (*juggler.Identity, error) {
	if user := r.Header.Get("User"); user != "" {
		return &juggler.Identity{User: user}, nil
	}
	return nil, nil
}

// keyRoads are the ways that a PUB takes to the broker.
var keyRoads = map[string]struct {
	roles func(*memory.Broker) jugglertest.Roles
	opts  []juggler.Option
}{
	"on the turn":  {itself, nil},
	"in batches":   {keptAndWaits, nil},
	"in the queue": {itself, []juggler.Option{juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler { return next })}},
}

// Whoever repeats a PUB with its key has it published once, and nobody else's key is in
// the way.
func TestKeysOfPublications(t *testing.T) {
	for road, r := range keyRoads {
		t.Run(road, func(t *testing.T) {
			s := newServerWith(t, keptBroker(t), r.roles, append(r.opts, juggler.WithAuthenticator(byUserHeader))...)
			reader := s.dial("juggler.1")
			for _, channel := range []string{"room.7", "room.8", "news"} {
				reader.send(`{"type":"SUB","id":"1","channel":"` + channel + `"}`)
				reader.expect(`{"type":"ACK"}`)
			}
			ann, bob, nobody := s.dialHeader("juggler.1", user("ann")), s.dialHeader("juggler.1", user("bob")), s.dial("juggler.1")
			for _, p := range []struct {
				c       *testClient
				pub     string
				code    int // 0: ACK
				arrives bool
			}{
				{ann, `"channel":"room.7","args":1,"key":"k"`, 0, true},
				{ann, `"channel":"room.7","args":1,"key":"k"`, 0, false},
				{ann, `"channel":"room.7","args":1,"key":"k","again":true,"headers":{"a":"b"}`, 0, false},
				{ann, `"channel":"room.7","args":2,"key":"k"`, 409, false},
				{ann, `"channel":"room.7","args":1,"key":"k2"`, 0, true},
				{ann, `"channel":"room.7","args":1`, 0, true},
				{ann, `"channel":"room.8","args":2,"key":"k"`, 0, true},
				{bob, `"channel":"room.7","args":2,"key":"k"`, 0, true},
				{nobody, `"channel":"room.7","args":1,"key":"k"`, 403, false},
				{nobody, `"channel":"news","args":1,"key":"k"`, 403, false},
				{nobody, `"channel":"room.7","args":1`, 0, true},
				{ann, `"channel":"news","args":1,"key":"k"`, 0, true},
				{ann, `"channel":"news","args":2,"key":"k"`, 0, true},
				{ann, `"channel":"news","args":2,"key":"k","again":true`, 500, false},
				{ann, `"channel":"room.7","args":1,"key":""`, 400, false},
			} {
				p.c.send(`{"type":"PUB","id":"1",` + p.pub + `}`)
				if p.code != 0 {
					p.c.expect(fmt.Sprintf(`{"type":"NACK","for":"1","error":{"code":%d}}`, p.code))
				} else {
					p.c.expect(`{"type":"ACK","for":"1"}`)
				}
				if p.arrives {
					reader.expect(`{"type":"EVNT",` + cutKey(p.pub) + `}`)
				}
			}
			reader.send(`{"type":"UNSB","id":"2","channel":"news"}`)
			reader.expect(`{"type":"ACK","for":"2"}`) // and no event before it
			if got := s.h.Stats().Repeated; got != 2 {
				t.Errorf("%d were repeated, want 2", got)
			}
		})
	}
}

// user returns a header for byUserHeader.
func user(name string) http.Header { return http.Header{"User": {name}} }

// cutKey returns what an event has of a PUB.
func cutKey(pub string) string {
	pub, _, _ = strings.Cut(pub, `,"key"`)
	return pub
}

// Publications with keys and without keep their order, also where they go to the broker
// together.
func TestKeysInBatches(t *testing.T) {
	for road, r := range keyRoads {
		t.Run(road, func(t *testing.T) {
			s := newServerWith(t, keptBroker(t), r.roles, append(r.opts, juggler.WithAuthenticator(asUser("ann")))...)
			c := dialRaw(t, s.http.Listener.Addr().String())
			reader := s.dial("juggler.1")
			reader.send(`{"type":"SUB","id":"1","channel":"room.7"}`)
			reader.expect(`{"type":"ACK"}`)
			const n = 200
			var pubs []string
			for i := range n {
				plain := fmt.Sprintf(`{"type":"PUB","id":"1","channel":"room.7","args":%d}`, 2*i)
				keyed := fmt.Sprintf(`{"type":"PUB","id":"1","channel":"room.7","args":%d,"key":"k%d"}`, 2*i+1, i)
				pubs = append(pubs, plain, keyed, keyed)
			}
			if _, err := c.conn.Write(maskedText(pubs...)); err != nil {
				t.Fatal(err)
			}
			for i := range 2 * n {
				reader.expect(fmt.Sprintf(`{"type":"EVNT","args":%d}`, i))
			}
			c.read(t, 3*n)
			if got := s.h.Stats(); got.Repeated != n || got.Nacks != 0 {
				t.Errorf("%d were repeated, want %d; %d were refused", got.Repeated, n, got.Nacks)
			}
		})
	}
}

// HELLO and the ACK of AUTH say whether keys count: for whom has a user, where history is
// kept.
func TestKeysInHello(t *testing.T) {
	kept := newServerWith(t, keptBroker(t), itself, juggler.WithAuthenticator(byUserHeader))
	plain := newServerOn(t, mayWait, juggler.WithAuthenticator(byUserHeader))
	for _, tt := range []struct {
		s    *testServer
		user http.Header
		want any
	}{{kept, user("ann"), true}, {kept, nil, nil}, {plain, user("ann"), nil}} {
		if hello := tt.s.connect("juggler.1", tt.user).expect(`{"type":"HELLO"}`); hello["keys"] != tt.want {
			t.Errorf("%v: %v", tt.user, hello)
		}
	}

	late := newServerWith(t, keptBroker(t), itself, juggler.WithDeferredAuth(tokens, time.Hour))
	c := late.dial("juggler.1")
	c.send(`{"type":"AUTH","id":"1","token":"ann"}`)
	c.expect(`{"type":"ACK","for":"1","keys":true}`)
	c.send(`{"type":"AUTH","id":"2","token":""}`)
	c.expect(`{"type":"NACK","for":"2"}`)
	c.send(`{"type":"AUTH","id":"3","token":" until="}`) // a user without a name
	if ack := c.expect(`{"type":"ACK","for":"3"}`); ack["keys"] != nil {
		t.Errorf("ACK of AUTH: %v", ack)
	}
}

// A key belongs to who has the session now.
func TestKeysAfterAuth(t *testing.T) {
	s := newServerWith(t, keptBroker(t), itself, juggler.WithDeferredAuth(tokens, time.Hour))
	c := s.dial("juggler.1")
	for _, m := range []string{
		`{"type":"AUTH","id":"1","token":"ann"}`,
		`{"type":"PUB","id":"2","channel":"room.7","args":1,"key":"k"}`,
		`{"type":"AUTH","id":"3","token":"bob"}`,
		`{"type":"PUB","id":"4","channel":"room.7","args":2,"key":"k"}`, // not ann's
	} {
		c.send(m)
	}
	for i := range 4 {
		c.expect(fmt.Sprintf(`{"type":"ACK","for":"%d"}`, i+1))
	}
}

// Middleware sees keys.
func TestKeyOfRequest(t *testing.T) {
	keys := make(chan string, 2)
	s := newServerWith(t, keptBroker(t), itself, juggler.WithAuthenticator(asUser("ann")),
		juggler.WithNonBlockingMiddleware(func(_ context.Context, r *juggler.Request) (func(error) error, error) {
			keys <- r.Key()
			return nil, nil
		}))
	c := s.dial("juggler.1")
	c.send(`{"type":"PUB","id":"1","channel":"room.7","key":"k"}`)
	c.send(`{"type":"PUB","id":"2","channel":"room.7"}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	c.expect(`{"type":"ACK","for":"2"}`)
	if a, b := <-keys, <-keys; a != "k" || b != "" {
		t.Errorf("the keys are %q, %q", a, b)
	}
}

func TestPublishKeyed(t *testing.T) {
	s := newServerWith(t, keptBroker(t), itself, juggler.WithAuthenticator(asUser("ann")))
	reader := s.dial("juggler.1")
	reader.send(`{"type":"SUB","id":"1","channel":"room.7"}`)
	reader.expect(`{"type":"ACK"}`)

	first, err := s.h.PublishKeyed(t.Context(), "k", "room.7", 1, nil)
	if err != nil || first.Repeated || first.Pos.IsZero() {
		t.Fatalf("%+v, %v", first, err)
	}
	reader.expect(`{"type":"EVNT","args":1}`)
	second, err := broker.PublishKeyed(t.Context(), s.broker, "k", "room.7", 1, map[string]string{"a": "b"})
	if err != nil || !second.Repeated || second.Pos != first.Pos {
		t.Errorf("the second time: %+v, %v; want %v", second, err, first.Pos)
	}
	if _, err := s.h.PublishKeyed(t.Context(), "k", "room.7", 2, nil); !errors.Is(err, broker.ErrKeyConflict) {
		t.Errorf("other args: %v", err)
	}
	for key, channel := range map[string]string{"": "room.7", strings.Repeat("k", 65): "room.7", "\xff": "room.7", "k": ""} {
		if _, err := s.h.PublishKeyed(t.Context(), key, channel, 1, nil); !errors.Is(err, frame.Code(400)) {
			t.Errorf("key %q, channel %q: %v", key, channel, err)
		}
	}
	if _, err := s.h.PublishKeyed(t.Context(), "k", "news", 1, nil); !errors.Is(err, broker.ErrNotKept) {
		t.Errorf("a channel that is not kept: %v", err)
	}
	if _, err := s.h.PublishKeyed(t.Context(), "k", "room.7", strings.Repeat("x", 2<<20), nil); !errors.Is(err, frame.Code(413)) {
		t.Errorf("large args: %v", err)
	}

	// A client's key is never the application's.
	reader.send(`{"type":"PUB","id":"2","channel":"room.7","args":3,"key":"k"}`)
	reader.expect(`{"type":"ACK","for":"2"}`)
	reader.expect(`{"type":"EVNT","args":3}`)
	reader.conn.CloseNow()
	if err := s.h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.h.PublishKeyed(t.Context(), "k", "room.7", 1, nil); !errors.Is(err, juggler.ErrShutdown) {
		t.Errorf("after Shutdown: %v", err)
	}
}
