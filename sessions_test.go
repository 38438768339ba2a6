package juggler_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
)

func TestSessionsAndTheirTopics(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet))
	want := make(map[string][]string)
	for i := range 300 {
		c := s.dial("juggler.1")
		var topics []string
		for j := range i % 3 {
			topics = append(topics, fmt.Sprintf("{c%d.%d %v}", i, j, j == 1))
			c.send(fmt.Sprintf(`{"type":"SUB","id":"1","channel":"c%d.%d","pattern":%v}`, i, j, j == 1))
			c.expect(`{"type":"ACK"}`)
		}
		want[strings.Join(topics, " ")] = topics
	}
	n, seen := 0, make(map[string]bool)
	for session := range s.h.Sessions() {
		n++
		var topics []string
		for topic := range session.Topics() {
			topics = append(topics, fmt.Sprint(topic))
		}
		slices.Sort(topics)
		key := strings.Join(topics, " ")
		if _, ok := want[key]; !ok {
			t.Errorf("a session with the topics %s", key)
		}
		seen[key] = true
	}
	if n != 300 || len(seen) != len(want) {
		t.Errorf("%d sessions with %d sets of topics, want 300 with %d", n, len(seen), len(want))
	}
	for range s.h.Sessions() {
		break
	}
}

// Sessions and topics may come and go while they are looked at, from code on the event
// loop, too.
func TestSessionsWhileTheyChange(t *testing.T) {
	var s *testServer
	look := func() {
		for session := range s.h.Sessions() {
			for topic := range session.Topics() {
				if topic != (broker.Topic{Name: "c"}) {
					t.Errorf("subscribed to %v", topic)
				}
			}
		}
	}
	s = newServer(t, juggler.WithLogger(quiet), juggler.WithCallObserver(func(juggler.CallEnd) { look() }))
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 10 {
				c := s.dial("juggler.1")
				for _, typ := range []string{"SUB", "UNSB", "SUB"} {
					c.send(`{"type":"` + typ + `","id":"1","channel":"c"}`)
					c.expect(`{"type":"ACK"}`)
				}
				c.send(`{"type":"CALL","id":"1","uri":"nobody"}`)
				c.expect(`{"type":"NACK"}`)
				look()
				c.conn.CloseNow()
			}
		})
	}
	clients.Wait()
}
