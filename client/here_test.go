package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// members returns what tells that users are there, each with as many sessions as its name has
// bytes.
func members(users ...string) []byte {
	var b []byte
	for _, u := range users {
		b = frame.AppendMember(b, frame.Member{User: u, Sessions: len(u), Info: []byte(`{"name":"` + u + `"}`)})
	}
	if b == nil {
		b = []byte("[")
	}
	return append(b, ']')
}

func left(users ...string) []byte {
	var b []byte
	for _, u := range users {
		b = frame.AppendUser(b, u)
	}
	return append(b, ']')
}

// askedHere answers the next message, a SUB that has to have here, with the users.
func (p *peer) askedHere(users ...string) *frame.Frame {
	p.t.Helper()
	f := p.expect(frame.Sub)
	if !f.WantsHere {
		p.t.Error("SUB without here")
	}
	p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Members: members(users...), Count: len(users), HasCount: true})
	return f
}

// here sends a HERE.
func (p *peer) here(f frame.Frame) {
	f.Type, f.Channel, f.HasCount = frame.Here, []byte("ch"), true
	p.send(&f)
}

// names returns who is there, as text.
func names(h client.Here) string {
	if h.Members == nil {
		return fmt.Sprint(h.Count)
	}
	var users []string
	for _, m := range h.Members {
		users = append(users, m.User)
	}
	return fmt.Sprint(h.Count, users)
}

// wantHere checks who is there.
func wantHere(t *testing.T, sub *client.Subscription, want string) {
	t.Helper()
	synctest.Wait()
	if h, ok := sub.Here(); !ok || names(h) != want {
		t.Errorf("%s, %v; want %s", names(h), ok, want)
	}
}

func TestHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			p.askedHere("b", "aa")
			if n == 2 {
				p.serve()
				return
			}
			for _, f := range []frame.Frame{
				{Joined: members("c"), Left: left("b"), Count: 2},
				{Count: 101}, // more than are listed
				{Joined: members("x"), Count: 102},
				{Members: members("d", "e"), Count: 2},
				{Left: left("d", "nobody"), Count: 1},
				{Members: members(), Count: 0},
			} {
				p.serveOne()
				p.here(f)
				p.send(&frame.Frame{Type: frame.Here, Channel: []byte("other"), Count: 7, HasCount: true})
			}
			p.serveOne()
			p.drop()
		})
		s.hello.Here = true
		c := s.client()
		sub := subscribe(t, c, "ch", client.WithHere())
		for _, want := range []string{"2 [aa b]", "2 [aa c]", "101", "102", "2 [d e]", "1 [e]", "0 []"} {
			wantHere(t, sub, want)
			if err := c.Call(t.Context(), "u", nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		wantEvents(t, sub, "gap")
		wantHere(t, sub, "2 [aa b]")
		h, _ := sub.Here()
		var info struct{ Name string }
		if m := h.Members[0]; m.Decode(&info) != nil || info.Name != "aa" || m.Sessions != 2 {
			t.Errorf("%+v, %+v", m, info)
		}
		if err := (&client.Member{User: "u"}).Decode(&info); err == nil {
			t.Error("decoded nothing")
		}
	})
}

// A loop over the changes begins with who is there, and gets what comes while it is busy as
// one change.
func TestHereChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.askedHere("a", "b")
			p.serveOne()
			p.here(frame.Frame{Joined: members("c"), Count: 3})
			p.serveOne()
			p.here(frame.Frame{Joined: members("d"), Left: left("a"), Count: 3})
			p.here(frame.Frame{Joined: members("e"), Left: left("c"), Count: 3})
			p.serveOne()
			p.here(frame.Frame{Count: 200})
			p.serveOne()
			p.here(frame.Frame{Members: members("f"), Count: 1})
			p.serveOne()
			p.unss("ch", false, 403)
			p.serve()
		})
		s.hello.Here = true
		c := s.client()
		sub := subscribe(t, c, "ch", client.WithHere())
		var got []string
		for change, err := range sub.HereChanges(t.Context()) {
			if err != nil {
				got = append(got, err.Error())
				continue
			}
			text := names(change.Here)
			for _, m := range change.Joined {
				text += " +" + m.User
			}
			for _, user := range change.Left {
				text += " -" + user
			}
			got = append(got, text)
			if err := c.Call(t.Context(), "u", nil, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		want := []string{"2 [a b]", "3 [a b c] +c", "3 [b d e] +d +e -a -c", "200", "1 [f]", "juggler: subscribe ch: removed from the room (403)"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range subscribe(t, c, "other").HereChanges(ctx) {
			if !errors.Is(err, client.ErrInvalidOption) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestHereChangesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.askedHere()
			p.serve()
		})
		s.hello.Here = true
		sub := subscribe(t, s.client(), "ch", client.WithHere())
		ctx, cancel := context.WithCancel(t.Context())
		var got []error
		defer cancel()
		for _, err := range sub.HereChanges(ctx) {
			got = append(got, err)
			cancel()
		}
		if len(got) != 2 || got[0] != nil || got[1] != context.Canceled {
			t.Errorf("got %v", got)
		}
		for range sub.HereChanges(t.Context()) {
			sub.Unsubscribe()
		}
	})
}

// Subscriptions with and without it share the wire: one SUB more asks, and another ends that.
func TestHereOfOneOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.subscribed(at(1), frame.NoRecovery)
			p.kept(at(2))
			f := p.expect(frame.Sub)
			p.wantSince(f, frame.Position{})
			p.kept(at(3))
			p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Members: members("a"), Count: 1, HasCount: true})
			p.kept(at(4))
			p.here(frame.Frame{Joined: members("b"), Count: 2})
			f = p.expect(frame.Sub)
			if f.WantsHere {
				t.Error("SUB asks still")
			}
			p.kept(at(5))
			p.here(frame.Frame{Joined: members("c"), Count: 3}) // on its way
			p.ack(f)
			p.nack(p.expect(frame.Sub), 503, 0)
			p.kept(at(6))
			p.ack(p.expect(frame.Unsb))
			p.serve()
		})
		s.hello.Here = true
		c := s.client()
		first := subscribe(t, c, "ch")
		second := subscribe(t, c, "ch", client.WithHere())
		wantHere(t, second, "2 [a b]")
		third := subscribe(t, c, "ch", client.WithHere()) // asks no more
		wantHere(t, third, "2 [a b]")
		if _, ok := first.Here(); ok {
			t.Error("known to who has not asked")
		}
		second.Unsubscribe()
		third.Unsubscribe()
		synctest.Wait()
		if _, err := c.Subscribe(t.Context(), "ch", client.WithHere()); !errors.Is(err, client.CodeUnavailable) {
			t.Errorf("got %v", err)
		}
		wantEvents(t, first, `2`, `3`, `4`, `5`, `6`)
		first.Unsubscribe()
		advance(time.Hour)
		if s.connections() != 1 {
			t.Errorf("%d connections", s.connections())
		}
	})
}

func TestHereIsNotTold(t *testing.T) {
	for name, test := range map[string]struct {
		proto   frame.Protocol
		offered bool
		want    string
	}{
		"by the server":    {frame.Juggler1, false, "who is in channels"},
		"of this channel":  {frame.Juggler1, true, "who is in this channel"},
		"in old protocols": {frame.Juggler0, false, "who is in channels"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, func(_ int, p *peer) {
					f := p.expect(frame.Sub)
					if f.WantsHere != test.offered {
						t.Errorf("asks: %v", f.WantsHere)
					}
					p.ack(f)
					p.ack(p.expect(frame.Unsb))
					p.serve()
				})
				s.proto, s.hello.Here = test.proto, test.offered
				c := s.client(client.WithProtocols(test.proto))
				if _, err := c.Subscribe(t.Context(), "ch", client.WithHere()); !errors.Is(err, client.ErrUnsupported) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v", err)
				}
				synctest.Wait()
				sub := subscribe(t, c, "ch")
				if _, err := c.Subscribe(t.Context(), "ch", client.WithHere()); !errors.Is(err, client.ErrUnsupported) {
					t.Errorf("got %v", err)
				}
				if sub.Err() != nil {
					t.Errorf("the other one: %v", sub.Err())
				}
				if _, err := c.Subscribe(t.Context(), "c*", client.Pattern(), client.WithHere()); !errors.Is(err, client.ErrInvalidOption) {
					t.Errorf("a pattern: %v", err)
				}
			})
		})
	}
}

// While a channel moves, the old connection tells until the new one does. A server that does
// not tell any more ends no subscription.
func TestHereMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrived, asked := make(chan bool), make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			switch n {
			case 1:
				p.askedHere("a")
				p.goAway(0)
				<-arrived
				p.here(frame.Frame{Joined: members("b"), Count: 2})
				<-asked
				p.here(frame.Frame{Joined: members("late"), Count: 3})
				p.serve()
			case 2:
				f := p.expect(frame.Sub)
				close(arrived)
				advance(time.Second)
				p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Members: members("c"), Count: 1, HasCount: true})
				close(asked)
				p.serveOne()
				p.here(frame.Frame{Joined: members("d"), Count: 2})
				p.serveOne()
				p.drop()
			default:
				p.serve() // without here and count
			}
		})
		s.hello.Here = true
		c := s.client()
		sub := subscribe(t, c, "ch", client.WithHere())
		<-arrived
		wantHere(t, sub, "2 [a b]")
		<-asked
		advance(time.Second)
		wantHere(t, sub, "1 [c]")
		for range 2 {
			if err := c.Call(t.Context(), "u", nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		wantHere(t, sub, "2 [c d]")
		wantEvents(t, sub, "gap")
		if h, ok := sub.Here(); ok || sub.Err() != nil {
			t.Errorf("%v, %v, %v", h, ok, sub.Err())
		}
	})
}
