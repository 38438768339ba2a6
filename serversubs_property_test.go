package juggler_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/jugglertest"
)

// lazyPubSub takes its time to subscribe.
type lazyPubSub struct{ broker.PubSub }

type lazySubscriber struct{ broker.SubscriberConn }

func (p lazyPubSub) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	conn, err := p.PubSub.OpenSubscriber(ctx, deliver)
	return lazySubscriber{conn}, err
}

func (s lazySubscriber) Subscribe(ctx context.Context, t broker.Topic) error {
	time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
	return s.SubscriberConn.Subscribe(ctx, t)
}

// While a client subscribes and unsubscribes, publishes and signs in without waiting for
// answers, code subscribes its session and takes subscriptions away, and rules change. What
// the client knows from the messages is in the end what the session has, and behind UNSS there
// was no event.
func TestBothSidesSubscribeAtOnce(t *testing.T) {
	slow := func(b *memory.Broker) jugglertest.Roles {
		roles := plainRoles(b)
		roles.PubSub = lazyPubSub{roles.PubSub}
		return roles.join()
	}
	runs := uint64(20)
	if race.Enabled {
		runs = 5
	}
	for name, roles := range map[string]func(*memory.Broker) jugglertest.Roles{"embedded": itself, "waiting": slow} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range runs {
				bothSides(t, seed, roles)
			}
		})
	}
}

var sharedChannels = []string{"a", "b", "c", "d"}

// knownTopic is what a client knows of a channel.
type knownTopic struct{ client, server, ended bool }

func bothSides(t *testing.T, seed uint64, roles func(*memory.Broker) jugglertest.Roles) {
	var forbidden atomic.Pointer[string]
	none := ""
	forbidden.Store(&none)
	s := newServerOn(t, roles, juggler.WithLogger(quiet), juggler.WithAuthenticator(inChannels), juggler.WithDeferredAuth(signInChannels, waiting.Most),
		juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
			if r.Channel() == *forbidden.Load() {
				return juggler.ErrForbidden
			}
			return nil
		})))
	c := s.dial("juggler.1")
	session := s.only()
	anyOf := func(rng *rand.Rand) string { return sharedChannels[rng.IntN(len(sharedChannels))] }

	var all sync.WaitGroup
	all.Go(func() { // the client
		rng := rand.New(rand.NewPCG(seed, 1))
		for i := range 80 {
			switch channel := anyOf(rng); rng.IntN(9) {
			case 0, 1, 2:
				c.send(fmt.Sprintf(`{"type":"SUB","id":"sub %s %d","channel":%q}`, channel, i, channel))
			case 3, 4:
				c.send(fmt.Sprintf(`{"type":"UNSB","id":"unsb %s %d","channel":%q}`, channel, i, channel))
			case 5, 6, 7:
				c.send(fmt.Sprintf(`{"type":"PUB","id":"pub %d","channel":%q}`, i, channel))
			default:
				channels := slices.DeleteFunc(slices.Clone(sharedChannels), func(string) bool { return rng.IntN(2) == 0 })
				c.send(fmt.Sprintf(`{"type":"AUTH","id":"auth %d","token":"ann: %s"}`, i, strings.Join(channels, " ")))
			}
		}
	})
	for i := range uint64(2) {
		all.Go(func() { // code
			rng := rand.New(rand.NewPCG(seed, 2+i))
			for range 40 {
				topic := broker.Topic{Name: anyOf(rng)}
				var err error
				switch rng.IntN(3) {
				case 0:
					err = session.Subscribe(t.Context(), topic)
				case 1:
					err = session.Unsubscribe(t.Context(), topic, nil)
				default:
					forbidden.Store(&sharedChannels[rng.IntN(len(sharedChannels))])
					err = session.Reauthorize(t.Context())
				}
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
	}
	go func() { // ends with the last of them
		all.Wait()
		// The queue is in order, and so are the turns.
		if err := session.Reauthorize(t.Context()); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		c.send(`{"type":"PUB","id":"end","channel":"end"}`)
	}()

	known := make(map[string]*knownTopic)
	for _, channel := range sharedChannels {
		known[channel] = &knownTopic{}
	}
	for over := false; !over; {
		m := decode(t, c.receive())
		channel, _ := m["channel"].(string)
		answered, _ := m["for"].(string)
		words := strings.Fields(answered)
		switch m["type"] {
		case "ACK":
			switch words[0] {
			case "sub":
				known[words[1]].client, known[words[1]].ended = true, false
			case "unsb":
				known[words[1]].client = false
			case "end": // what has waited for this ACK comes next
				c.send(`{"type":"UNSB","id":"over","channel":"end"}`)
			case "over":
				over = true
			}
		case "SUBS":
			if known[channel].server {
				t.Errorf("seed %d: SUBS of %s, which the client knows of", seed, channel)
			}
			known[channel].server, known[channel].ended = true, false
		case "UNSS":
			*known[channel] = knownTopic{ended: true}
		case "EVNT":
			if known[channel].ended {
				t.Errorf("seed %d: an event of %s behind UNSS", seed, channel)
			}
		}
	}
	has := make(map[string]bool)
	for topic := range session.Topics() {
		has[topic.Name] = true
	}
	for channel, k := range known {
		if has[channel] != (k.client || k.server) {
			t.Errorf("seed %d: the session has %s: %v; the client knows %+v", seed, channel, has[channel], *k)
		}
	}
	c.conn.CloseNow()
	waitFor(t, "the subscriptions to end", func() bool { return s.h.Stats().Subscriptions == 0 })
}
