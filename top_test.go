package juggler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
)

func TestTop(t *testing.T) {
	s := newServer(t, juggler.WithTop(20), juggler.WithLogger(quiet))
	s.handle("echo", echo)
	a, b := s.dial("juggler.1"), s.dial("juggler.1")
	for _, c := range []*testClient{a, b} {
		c.send(`{"type":"SUB","id":"1","channel":"news"}`)
		c.expect(`{"type":"ACK"}`)
	}
	for range 3 {
		a.send(`{"type":"CALL","id":"2","uri":"echo"}`)
		a.expect(`{"type":"ACK"}`)
		a.expect(`{"type":"RES"}`)
	}
	a.send(`{"type":"CALL","id":"2","uri":"nobody"}`)
	a.expect(`{"type":"NACK"}`)
	for range 2 {
		b.send(`{"type":"PUB","id":"3","channel":"news"}`)
		b.expect(`{"type":"ACK"}`)
		b.expect(`{"type":"EVNT"}`)
		a.expect(`{"type":"EVNT"}`)
	}
	b.send(`{"type":"PUB","id":"3","channel":"nobody listens"}`)
	b.expect(`{"type":"ACK"}`)

	top := s.h.Top()
	for _, tt := range []struct {
		what string
		got  []juggler.NameCount
		want string
	}{
		{"calls", top.Calls, "echo 3, nobody 1"},
		{"publications", top.Publications, "news 2, nobody listens 1"},
		{"events", top.Events, "news 4"},
	} {
		if got := topText(tt.got); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, got, tt.want)
		}
	}
	if top.Over <= 0 {
		t.Errorf("it was counted for %v", top.Over)
	}
}

func topText(counts []juggler.NameCount) string {
	var all []string
	for _, c := range counts {
		all = append(all, fmt.Sprint(c.Name, " ", c.Count-c.Error))
	}
	return strings.Join(all, ", ")
}

// Names that a client makes up do not drive out what is frequent, and the list stays as
// short as it was asked to be.
func TestTopAmongMadeUpNames(t *testing.T) {
	const most = 8
	s := newServer(t, juggler.WithTop(most), juggler.WithLogger(quiet))
	s.handle("echo", echo)
	c := s.dial("juggler.1")
	const names = 1000
	for i := range names {
		uri := fmt.Sprint("made.up.", i)
		if i%4 == 0 {
			uri = "echo"
		}
		c.send(`{"type":"CALL","id":"1","uri":"` + uri + `"}`)
		if c.receive(); uri == "echo" {
			c.expect(`{"type":"RES"}`)
		}
	}
	calls := s.h.Top().Calls
	i := slices.IndexFunc(calls, func(c juggler.NameCount) bool { return c.Name == "echo" })
	switch {
	case len(calls) > most:
		t.Errorf("%d names, want at most %d", len(calls), most)
	case i < 0:
		t.Errorf("what was most frequent is missing in %v", calls)
	case calls[i].Count < names/4 || calls[i].Count-calls[i].Error > names/4 || calls[i].Error > 2*names/most:
		t.Errorf("%+v, want %d", calls[i], names/4)
	}
}

// The server's own channels are named as the application names them.
func TestTopOfOwnChannels(t *testing.T) {
	s := newServer(t, juggler.WithTop(1), juggler.WithAuthenticator(asUser("ann")), juggler.WithLogger(quiet))
	c := s.dial("juggler.1")
	for session := range s.h.SessionsOf("ann") {
		if err := session.Subscribe(t.Context(), broker.Topic{Name: juggler.User("ann")}); err != nil {
			t.Fatal(err)
		}
	}
	c.expect(`{"type":"SUBS"}`)
	if err := s.h.Publish(t.Context(), juggler.User("ann"), 1, nil); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"type":"EVNT"}`)
	events := s.h.Top().Events
	if len(events) != 1 || !events[0].Own || strings.Contains(events[0].Name, "\x00") || !strings.Contains(events[0].Name, "ann") {
		t.Errorf("%+v", events)
	}
}

func TestTopIsOff(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet))
	c := s.dial("juggler.1")
	c.send(`{"type":"CALL","id":"1","uri":"nobody"}`)
	c.expect(`{"type":"NACK"}`)
	if top := s.h.Top(); len(top.Calls) > 0 || top.Over != 0 {
		t.Errorf("%+v", top)
	}
}

// What was counted is forgotten in the next window but one, also if nobody looked meanwhile.
func TestTopForgets(t *testing.T) {
	const window = 30 * time.Second
	c := juggler.NewTopCounter(4)
	c.Call("a", 0)
	c.Call("b", window-1)
	c.Call("b", window)
	for _, tt := range []struct {
		at   time.Duration
		want string
	}{{window, "b 2, a 1"}, {2*window - 1, "b 2, a 1"}, {2 * window, "b 1"}, {3 * window, ""}} {
		if got := topText(c.Calls(tt.at)); got != tt.want {
			t.Errorf("after %v: %q, want %q", tt.at, got, tt.want)
		}
	}
	c.Call("c", 4*window)
	if got := topText(c.Calls(1_000_000 * window)); got != "" {
		t.Errorf("after very long: %q", got)
	}
}
