//go:build long

package systemtest_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// A player is a client that does what it likes, in one session after the other.
type player struct {
	soak    *soak
	rand    *rand.Rand
	loyal   bool // stays in its first session
	session *session
}

func newPlayer(s *soak, number int) *player {
	return &player{soak: s, rand: rand.New(rand.NewPCG(s.seed, uint64(number+1))), loyal: number%3 == 0}
}

// play goes on until the soak is over, and leaves a session open.
func (p *player) play() {
	for {
		p.session = openSession(p.soak, p.soak.nodes[p.rand.IntN(len(p.soak.nodes))])
		for end := time.Now().Add(between(p.rand, 500, 10_000)); p.loyal || time.Now().Before(end); {
			select {
			case <-p.soak.over:
				return
			default:
			}
			p.move()
			p.soak.pause(between(p.rand, 0, 20))
		}
		if p.rand.IntN(2) == 0 {
			p.session.drain()
		}
		p.session.end()
	}
}

// What players call: each with the longest time that they give it.
var soakURIs = []struct {
	uri     string
	timeout time.Duration
}{
	{"echo", longestCall},
	{"echo", longestCall},
	{"echo", longestCall},
	{"child.echo", longestCall},
	{"slow", 2 * time.Second},
	{"child.slow", 2 * time.Second},
	{"fail", longestCall},
	{"parts", longestCall},
	{"child.parts", longestCall},
	{"hold", 300 * time.Millisecond},
	{"nobody", time.Second},
}

const longestCall = 5 * time.Second

// What they publish on and subscribe to.
var (
	channels = []broker.Topic{{Name: "a.1"}, {Name: "a.2"}, {Name: "b.1"}, {Name: "b.2"}}
	patterns = []broker.Topic{{Name: "a.*", Pattern: true}, {Name: "?.1", Pattern: true}}
)

// channelOf returns a channel whose events reach a topic.
func channelOf(t broker.Topic) string { return strings.NewReplacer("*", "1", "?", "b").Replace(t.Name) }

// move makes one request.
func (p *player) move() {
	topic := p.soak.topics[p.rand.IntN(len(p.soak.topics))]
	switch n := p.rand.IntN(100); {
	case n < 45:
		call := soakURIs[p.rand.IntN(len(soakURIs))]
		window := 0
		if strings.HasSuffix(call.uri, "parts") {
			window = p.rand.IntN(soakParts) // 0: its answer is the result alone
		}
		p.session.call(call.uri, between(p.rand, 1, int(call.timeout.Milliseconds())), window)
	case n < 51:
		p.session.callKeyed(p.rand)
	case n < 55:
		p.session.cancel(p.rand.Uint32())
	case n < 80:
		p.session.publish(channelOf(topic))
	case n < 92:
		p.session.subscribe(topic, frame.Sub)
	default:
		p.session.subscribe(topic, frame.Unsb)
	}
}

// settle wants everything to work in a session that has lived through it all.
func (p *player) settle() {
	s := p.session
	s.drain()
	for _, uri := range []string{"echo", "child.echo", "parts", "child.parts"} {
		s.until("calls of "+uri+" are answered", func() bool {
			return s.outcome(s.call(uri, longestCall, strings.Count(uri, "parts"))) == "RES"
		})
	}
	s.until("calls with keys are answered", func() bool { return s.outcome(s.callKeyed(p.rand)) == "RES" })
	for _, topic := range s.topicsNow() {
		s.until(fmt.Sprintf("events for %+v arrive", topic), func() bool {
			before := s.eventsOf(topic)
			if s.outcome(s.publish(channelOf(topic))) != "ACK" {
				return false
			}
			s.until(fmt.Sprintf("an event for %+v arrives", topic), func() bool { return s.eventsOf(topic) > before })
			return true
		})
	}
}

// An eventArgs is what publications of a soak carry.
type eventArgs struct {
	stream
	N      int
	Serial uint32 // of the PUB
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
