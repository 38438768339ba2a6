package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// takeServed returns an option, and where the subscriptions come that the server makes.
func takeServed(t *testing.T) (client.Option, <-chan *client.Subscription) {
	made, over := make(chan *client.Subscription, 100), make(chan bool)
	t.Cleanup(func() { close(over) })
	return client.WithServerSubscriptions(func(sub *client.Subscription) {
		made <- sub
		<-over
	}), made
}

func (p *peer) subs(channel string, own bool, pos frame.Position) {
	p.send(&frame.Frame{Type: frame.Subs, Channel: []byte(channel), Own: own, Pos: pos})
}

func (p *peer) unss(channel string, own bool, code int) {
	p.send(&frame.Frame{Type: frame.Unss, Channel: []byte(channel), Own: own,
		Err: frame.ErrorBody{Code: code, Message: []byte("removed from the room")}})
}

// ownEvent sends an EVNT of one of the server's own channels; without a position its id is
// of the number.
func (p *peer) ownEvent(n byte, channel string, pos frame.Position) {
	p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{n}, Channel: []byte(channel), Own: true, Pos: pos, Args: []byte{'0' + n}})
}

// connect waits for the first connection of c, or the next one.
func connect(t *testing.T, c *client.Client) {
	t.Helper()
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wantEnd(t *testing.T, sub *client.Subscription, want error) {
	t.Helper()
	if _, err := sub.Next(t.Context()); !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", sub.Channel(), err, want)
	}
}

func TestServerSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.subs("user:u1", true, frame.Position{})
			p.ownEvent(1, "user:u1", frame.Position{})
			p.event(2, "user:u1", `"of a client's channel"`)
			p.send(&frame.Frame{Type: frame.Subs, Channel: []byte("r*"), Pattern: true})
			p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{3}, Channel: []byte("room"), Matched: []byte("r*"), Args: []byte(`3`)})
			p.subs("room", false, at(4))
			p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{5}, Channel: []byte("room"), Pos: at(5), Args: []byte(`5`)})
			p.subs("room", false, at(6)) // to say it twice changes nothing
			p.send(&frame.Frame{Type: frame.Gap, Channel: []byte("user:u1"), Own: true})
			p.serve()
		})
		option, made := takeServed(t)
		c := s.client(option)
		connect(t, c)
		subs := map[string]*client.Subscription{}
		for range 3 {
			sub := <-made
			subs[sub.Channel()] = sub
		}
		if !subs["user:u1"].Own() || subs["r*"].Own() || subs["room"].Own() {
			t.Errorf("own: %v, %v, %v", subs["user:u1"].Own(), subs["r*"].Own(), subs["room"].Own())
		}
		wantEvents(t, subs["user:u1"], `1`, "gap")
		wantEvents(t, subs["r*"], `3`)
		if pos := subs["room"].Pos(); pos != at(4) {
			t.Errorf("begins at %v", pos)
		}
		wantEvents(t, subs["room"], `5`)
		if pos := subs["room"].Pos(); pos != at(5) {
			t.Errorf("stands at %v", pos)
		}
		for _, sub := range subs {
			wantNothing(t, sub)
		}
		c.Close()
		wantEnd(t, subs["room"], client.ErrClosed)
	})
}

// A channel of the server's own and one of the same name are two.
func TestOwnAndOtherOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.subs("ch", true, frame.Position{})
			f := p.expect(frame.Sub)
			if f.Own {
				t.Error("SUB has own")
			}
			p.ack(f)
			p.ownEvent(1, "ch", frame.Position{})
			p.event(2, "ch", `2`)
			p.unss("ch", true, 403)
			p.event(3, "ch", `3`)
			p.serve()
		})
		option, made := takeServed(t)
		c := s.client(option)
		sub := subscribe(t, c, "ch")
		own := <-made
		wantEvents(t, own, `1`)
		wantEnd(t, own, client.CodeForbidden)
		wantEvents(t, sub, `2`, `3`)
	})
}

// A server subscribes a session before the client has signed in, or while it does.
func TestServedBeforeSignedIn(t *testing.T) {
	for _, events := range []int{2, 5000} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, func(_ int, p *peer) {
				p.subs("a", true, frame.Position{})
				for range events {
					p.ownEvent(1, "a", frame.Position{})
				}
				p.subs("gone", true, frame.Position{})
				p.ownEvent(1, "gone", frame.Position{})
				p.unss("gone", true, 403)
				p.ack(p.expect(frame.Auth))
				p.subs("b", true, frame.Position{})
				p.ownEvent(2, "b", frame.Position{})
				p.serve()
			})
			option, made := takeServed(t)
			c := s.client(option, client.WithToken(func(context.Context) (string, error) { return "t", nil }),
				client.WithEventBuffer(10000))
			connect(t, c)
			subs := map[string]*client.Subscription{}
			for range 3 {
				sub := <-made
				subs[sub.Channel()] = sub
			}
			got := read(t, subs["a"], min(events, 4096))
			want := `1`
			if events > 4096 {
				want = "gap" // more than is held for who has not signed in
			}
			if got[0] != `1` || got[len(got)-1] != want {
				t.Errorf("%d events, the last one %s, want %s", len(got), got[len(got)-1], want)
			}
			wantNothing(t, subs["a"])
			if events < 4096 {
				wantEvents(t, subs["b"], `2`)
				wantEvents(t, subs["gone"], `1`)
			}
			wantEnd(t, subs["gone"], client.CodeForbidden)
		})
	}
}

// What the server subscribes to and nobody wants is ignored, also where its handler returns.
func TestServerSubscriptionThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			p.subs("ch", true, frame.Position{})
			for range 10 {
				p.ownEvent(1, "ch", frame.Position{})
			}
			p.serveOne()
			p.drop()
		})
		var handled int
		handler := client.WithServerSubscriptions(func(*client.Subscription) { handled++ })
		for _, opts := range [][]client.Option{nil, {handler}} {
			c := s.client(append(opts, client.WithEventBuffer(1), client.WithStallTimeout(time.Hour))...)
			for range 3 {
				begin := time.Now()
				if err := c.Call(t.Context(), "u", nil, nil, client.Idempotent()); err != nil || time.Since(begin) > time.Minute {
					t.Errorf("%v, after %v", err, time.Since(begin))
				}
			}
			c.Close()
		}
		synctest.Wait()
		if handled != 3 {
			t.Errorf("handled %d times, want once for each session", handled)
		}
	})
}

// A subscription of the server goes on over a lost connection.
func TestServerSubscriptionIsRestored(t *testing.T) {
	const ch = "ch"
	none := frame.Position{}
	answer := func(p *peer, pos frame.Position, r frame.Recovery) {
		p.ownEvent(9, ch, at(9)) // comes again, or would
		f := p.subscribed(pos, r)
		if !f.Own {
			t.Error("SUB without own")
		}
		p.wantSince(f, at(2))
	}
	for _, test := range []struct {
		name  string
		begin frame.Position
		next  func(p *peer)
		want  []string
	}{
		{"not kept", none, func(p *peer) {
			p.subs(ch, true, none)
			p.ownEvent(3, ch, none)
		}, []string{`1`, `2`, "gap", `3`}},
		{"nothing happened", at(1), func(p *peer) {
			p.subs(ch, true, at(2))
			p.ownEvent(3, ch, at(3))
		}, []string{`1`, `2`, `3`}},
		{"recovered", at(1), func(p *peer) {
			p.subs(ch, true, at(8))
			answer(p, at(9), frame.Recovered)
			p.ownEvent(8, ch, at(8))
			p.ownEvent(9, ch, at(9))
		}, []string{`1`, `2`, `8`, `9`}},
		{"not recovered", at(1), func(p *peer) {
			p.subs(ch, true, at(8))
			answer(p, other(9), frame.NotRecovered)
			p.ownEvent(5, ch, other(10))
		}, []string{`1`, `2`, "gap", `5`}},
		{"kept no more", at(1), func(p *peer) {
			p.subs(ch, true, none)
			answer(p, none, frame.NotRecovered)
			p.ownEvent(5, ch, none)
		}, []string{`1`, `2`, "gap", `5`}},
		{"refused", at(1), func(p *peer) {
			p.subs(ch, true, at(8))
			p.nack(p.expect(frame.Sub), 503, 0)
			p.ownEvent(5, ch, at(10))
		}, []string{`1`, `2`, "gap", `5`}},
		{"not allowed", at(1), func(p *peer) {
			p.subs(ch, true, at(8))
			p.nack(p.expect(frame.Sub), 403, 0)
			p.ownEvent(5, ch, at(10))
		}, []string{`1`, `2`, "gap", `5`}},
		{"ended meanwhile", at(1), func(p *peer) {
			p.subs(ch, true, at(8))
			f := p.expect(frame.Sub)
			p.unss(ch, true, 403)
			p.nack(f, 403, 0)
		}, []string{`1`, `2`, "juggler: subscription to ch: removed from the room (403)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, func(n int, p *peer) {
					if n == 1 {
						p.subs(ch, true, test.begin)
						p.ownEvent(1, ch, test.begin)
						pos := none
						if !test.begin.IsZero() {
							pos = at(2)
						}
						p.ownEvent(2, ch, pos)
						p.drop()
						return
					}
					test.next(p)
					p.serve()
				})
				option, made := takeServed(t)
				c := s.client(option)
				connect(t, c)
				sub := <-made
				wantEvents(t, sub, test.want...)
				if sub.Err() == nil {
					wantNothing(t, sub)
				}
				advance(time.Hour)
				if s.connections() != 2 {
					t.Errorf("%d connections", s.connections())
				}
				if len(test.want) > 2 && sub.Err() != nil && test.name != "ended meanwhile" {
					t.Errorf("ended: %v", sub.Err())
				}
			})
		})
	}
}

// A subscription that the server does not make again ends, and is a new one after that.
func TestServerSubscriptionIsNotRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			if n == 1 {
				p.subs("ch", false, frame.Position{})
				p.event(1, "ch", `1`)
				p.drop()
				return
			}
			advance(time.Minute)
			p.subs("ch", false, frame.Position{})
			p.event(2, "ch", `2`)
			p.serve()
		})
		option, made := takeServed(t)
		c := s.client(option, client.WithCallTimeout(20*time.Second))
		connect(t, c)
		sub := <-made
		wantEvents(t, sub, `1`)
		begin := time.Now()
		wantEnd(t, sub, client.ErrNotRestored)
		if d := time.Since(begin); d < 20*time.Second || d > 22*time.Second {
			t.Errorf("ended after %v", d)
		}
		wantEvents(t, <-made, `2`)
	})
}

// UNSS ends what both sides have of a channel, behind the events before it.
func TestUnss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.subs("ch", false, frame.Position{})
			p.ack(p.expect(frame.Sub))
			p.event(1, "ch", `1`)
			p.unss("ch", false, 403)
			p.ack(p.expect(frame.Sub)) // after a new Subscribe
			p.event(2, "ch", `2`)
			p.unss("never", false, 403)
			p.ack(p.expect(frame.Unsb))
			p.serve()
		})
		option, made := takeServed(t)
		c := s.client(option)
		sub := subscribe(t, c, "ch")
		var refused *client.Error
		for _, sub := range []*client.Subscription{sub, <-made} {
			wantEvents(t, sub, `1`)
			if _, err := sub.Next(t.Context()); !errors.As(err, &refused) || refused.Code != client.CodeForbidden || refused.Message != "removed from the room" {
				t.Errorf("got %v", err)
			}
		}
		sub = subscribe(t, c, "ch")
		wantEvents(t, sub, `2`)
		sub.Unsubscribe()
		advance(time.Hour)
		if s.connections() != 1 {
			t.Errorf("%d connections", s.connections())
		}
	})
}

// After an UNSS with a code that passes the program's subscriptions are made again, after a
// pause.
func TestUnssThatPasses(t *testing.T) {
	for _, kept := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var pos frame.Position
			recovery, want := frame.NoRecovery, []string{"gap", `2`}
			if kept {
				pos, recovery, want = at(1), frame.Recovered, []string{`2`}
			}
			s := newServer(t, func(_ int, p *peer) {
				p.subs("ch", false, pos)
				p.ack(p.expect(frame.Sub))
				p.unss("ch", false, 503)
				p.wantSince(p.subscribed(pos, recovery), pos)
				p.event(2, "ch", `2`)
				p.serve()
			})
			option, made := takeServed(t)
			c := s.client(option)
			sub := subscribe(t, c, "ch")
			wantEnd(t, <-made, client.CodeUnavailable) // the server's: only it can make that again
			begin := time.Now()
			wantEvents(t, sub, want...)
			if d := time.Since(begin); d < time.Second || d > 3*time.Second {
				t.Errorf("again after %v", d)
			}
		})
	}
}

// The program and the server subscribe to one channel: it is one on the wire, which lasts
// as long as one of them wants it.
func TestBothSidesSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			event := func(n uint64) {
				p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{byte(n)}, Channel: []byte("ch"), Pos: at(n), Args: []byte{'0' + byte(n)}})
			}
			p.subs("ch", false, at(1))
			event(2)
			f := p.expect(frame.Sub)
			p.wantSince(f, frame.Position{}) // nothing is missing
			event(3)
			p.ack(f)
			event(4)
			f = p.expect(frame.Unsb)
			event(5)
			p.ack(f)
			event(6)
			p.wantSince(p.expect(frame.Sub), frame.Position{})
			p.drop()
		})
		option, made := takeServed(t)
		c := s.client(option)
		connect(t, c)
		theirs := <-made
		wantEvents(t, theirs, `2`)
		ours := subscribe(t, c, "ch")
		if ours.Pos() != at(3) {
			t.Errorf("begins at %v", ours.Pos())
		}
		wantEvents(t, ours, `4`)
		ours.Unsubscribe()
		wantEvents(t, theirs, `3`, `4`, `5`, `6`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		c.Subscribe(ctx, "ch")
	})
}

// Last, of a channel that the server has subscribed to.
func TestLastOfServedChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.subs("ch", false, at(3))
			p.kept(at(4))
			f := p.expect(frame.Sub)
			if f.Last != 2 {
				t.Errorf("last %d", f.Last)
			}
			p.kept(at(5))
			p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Pos: at(5)})
			p.kept(at(4))
			p.kept(at(5))
			p.kept(at(6))
			p.serve()
		})
		c := s.client()
		connect(t, c)
		synctest.Wait()
		wantEvents(t, subscribe(t, c, "ch", client.Last(2)), `4`, `5`, `6`)
	})
}

// A handover: events that come over both connections come once and in order.
func TestServerSubscriptionMoves(t *testing.T) {
	for _, own := range []bool{false, true} {
		for _, test := range []struct {
			name string
			from func(uint64) frame.Position
			next frame.Position // of SUBS on the next connection
			want []string
		}{
			{"not kept", nil, frame.Position{}, []string{`1`, `2`, `3`, `4`, `5`}},
			{"kept, and it stands elsewhere", at, at(9), []string{`1`, `2`, `4`, `5`}},
			{"kept", at, at(1), []string{`1`, `3`, `4`, `5`}},
		} {
			t.Run(fmt.Sprint(test.name, own), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pos := func(n uint64) frame.Position {
						if test.from == nil {
							return frame.Position{}
						}
						return test.from(n)
					}
					event := func(p *peer, n byte) {
						p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{n}, Channel: []byte("ch"), Own: own, Pos: pos(uint64(n)), Args: []byte{'0' + n}})
					}
					moved := make(chan bool)
					left := make(chan bool)
					s := newServer(t, func(n int, p *peer) {
						if n == 1 {
							p.subs("ch", own, pos(0))
							event(p, 1)
							p.goAway(time.Second)
							<-moved
							if test.next != at(1) {
								event(p, 2)
							}
							if test.from == nil {
								event(p, 3)
								f := p.expect(map[bool]frame.Type{false: frame.Unsb, true: frame.Sub}[own])
								p.nack(f, 503, 0)
							}
							p.untilClosed()
							close(left)
							return
						}
						p.subs("ch", own, test.next)
						switch {
						case test.from == nil:
							event(p, 3)
							event(p, 4)
							close(moved)
						case test.next == at(9):
							event(p, 9)
							f := p.expect(frame.Sub)
							p.wantSince(f, at(1))
							close(moved)
							advance(time.Second)
							p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Pos: at(4), Recovery: frame.Recovered})
							event(p, 2)
							event(p, 4)
						default:
							event(p, 3)
							event(p, 4)
							close(moved)
						}
						<-left
						event(p, 5)
						p.serve()
					})
					option, made := takeServed(t)
					c := s.client(option)
					connect(t, c)
					sub := <-made
					wantEvents(t, sub, test.want...)
					wantNothing(t, sub)
					if s.connections() != 2 {
						t.Errorf("%d connections", s.connections())
					}
				})
			})
		}
	}
}

// The next server does not make the subscription: the old one delivers as long as it can.
func TestServerSubscriptionDoesNotMove(t *testing.T) {
	for _, end := range []string{"drop", "unss", "late"} {
		synctest.Test(t, func(t *testing.T) {
			late := make(chan bool)
			s := newServer(t, func(n int, p *peer) {
				if n == 2 {
					if end == "late" {
						<-late
						p.subs("ch", true, frame.Position{})
						p.ownEvent(2, "ch", frame.Position{})
					}
					p.serve()
					return
				}
				p.subs("ch", true, frame.Position{})
				p.goAway(0)
				advance(5 * time.Second)
				p.ownEvent(1, "ch", frame.Position{})
				switch end {
				case "drop":
					p.drop()
				case "unss":
					p.unss("ch", true, 403)
					p.untilClosed()
				case "late":
					p.drop()
					close(late)
				}
			})
			option, made := takeServed(t)
			c := s.client(option)
			connect(t, c)
			sub := <-made
			wantEvents(t, sub, `1`)
			switch end {
			case "drop":
				wantEnd(t, sub, client.ErrNotRestored)
			case "unss":
				wantEnd(t, sub, client.CodeForbidden)
			case "late":
				wantEvents(t, sub, "gap", `2`)
			}
			c.Close()
		})
	}
}

// What the program asks for while a channel moves, and what the server ends then.
func TestHandoverOfBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrived := make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			p.subs("ch", false, frame.Position{})
			if n == 2 {
				close(arrived)
				p.ack(p.expect(frame.Sub))
				p.event(3, "ch", `3`)
				advance(time.Second)
				p.unss("ch", false, 403)
				p.serve()
				return
			}
			f := p.expect(frame.Sub)
			p.event(1, "ch", `1`)
			p.goAway(0)
			<-arrived
			synctest.Wait() // until the client has moved on
			p.ack(f)        // no end of the handover
			p.event(2, "ch", `2`)
			p.ack(p.expect(frame.Unsb))
			p.serve()
		})
		option, made := takeServed(t)
		c := s.client(option)
		connect(t, c)
		theirs := <-made
		ours := subscribe(t, c, "ch")
		got := read(t, ours, 3)
		if !slices.Equal(got[:2], []string{`2`, `3`}) && !slices.Equal(got[:1], []string{`3`}) {
			t.Errorf("got %v", got)
		}
		wantEvents(t, theirs, `1`, `2`, `3`)
		wantEnd(t, theirs, client.CodeForbidden)
		wantEnd(t, ours, client.CodeForbidden)
	})
}

func TestServerSubscriptionsOption(t *testing.T) {
	if _, err := client.New("ws://x", client.WithServerSubscriptions(nil)); !errors.Is(err, client.ErrInvalidOption) {
		t.Errorf("got %v", err)
	}
}

// What connections that are being left, and answers that cross a SUBS, must not change.
func TestServedCrossings(t *testing.T) {
	none := frame.Position{}
	event := func(p *peer, pos frame.Position, n byte) {
		p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{n}, Channel: []byte("ch"), Pos: pos, Args: []byte{'0' + n}})
	}

	t.Run("SUBS while a SUB with since is under way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, func(n int, p *peer) {
				if n == 1 {
					p.subscribed(at(2), frame.NoRecovery)
					p.drop()
					return
				}
				f := p.expect(frame.Sub)
				p.subs("ch", false, at(2))
				event(p, at(3), 3)
				p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Pos: at(3), Recovery: frame.Recovered})
				event(p, at(3), 3)
				event(p, at(4), 4)
				p.serve()
			})
			option, _ := takeServed(t)
			wantEvents(t, subscribe(t, s.client(option), "ch"), `3`, `4`)
		})
	})

	t.Run("SUBS of the connection that is left", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			arrived := make(chan bool)
			s := newServer(t, func(n int, p *peer) {
				if n == 2 {
					close(arrived)
					p.serve()
					return
				}
				p.ack(p.expect(frame.Sub))
				p.goAway(0)
				<-arrived
				synctest.Wait()
				p.subs("other", false, none)
				p.serve()
			})
			option, made := takeServed(t)
			c := s.client(option)
			wantNothing(t, subscribe(t, c, "ch"))
			if len(made) > 0 {
				t.Error("a subscription for the old connection")
			}
		})
	})

	t.Run("SUBS twice", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, func(_ int, p *peer) {
				p.subs("ch", false, at(1))
				event(p, at(2), 2)
				p.subs("ch", false, at(3)) // 3 is on its way
				event(p, at(3), 3)
				if f := p.next(); f != nil {
					t.Errorf("the client sent %v", f.Type)
				}
			})
			option, made := takeServed(t)
			c := s.client(option)
			connect(t, c)
			wantEvents(t, <-made, `2`, `3`)
			advance(time.Minute)
		})
	})

	t.Run("UNSS of the next connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, func(n int, p *peer) {
				p.subs("ch", false, none)
				if n == 2 {
					event(p, none, 2)
					p.unss("ch", false, 403)
					p.serve()
					return
				}
				event(p, none, 1)
				p.goAway(0)
				p.serve()
			})
			option, made := takeServed(t)
			c := s.client(option)
			connect(t, c)
			sub := <-made
			wantEvents(t, sub, `1`, `2`)
			wantEnd(t, sub, client.CodeForbidden)
		})
	})

	t.Run("the old connection is lost before the next one has sent what was missed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			asked := make(chan bool)
			s := newServer(t, func(n int, p *peer) {
				if n == 1 {
					p.subs("ch", true, at(1))
					p.goAway(0)
					<-asked
					p.drop()
					return
				}
				p.subs("ch", true, at(2))
				p.ownEvent(3, "ch", at(3))
				f := p.expect(frame.Sub)
				close(asked)
				advance(time.Minute / 2)
				p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Pos: at(3), Recovery: frame.Recovered})
				p.ownEvent(2, "ch", at(2))
				p.ownEvent(3, "ch", at(3))
				if f := p.next(); f != nil {
					t.Errorf("the client sent %v", f.Type) // there is nothing to UNSB
				}
			})
			option, made := takeServed(t)
			c := s.client(option, client.WithCallTimeout(time.Minute))
			connect(t, c)
			sub := <-made
			wantEvents(t, sub, `2`, `3`)
			wantNothing(t, sub)
		})
	})

	t.Run("a program that subscribes where nobody did", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, func(_ int, p *peer) {
				p.subs("ch", false, at(1))
				event(p, at(2), 2)
				p.ack(p.expect(frame.Sub)) // it changes nothing: without a position
				event(p, at(3), 3)
				p.serve()
			})
			c := s.client()
			connect(t, c)
			synctest.Wait()
			sub := subscribe(t, c, "ch")
			if sub.Pos() != at(2) {
				t.Errorf("begins at %v", sub.Pos())
			}
			wantEvents(t, sub, `3`)
		})
	})

	t.Run("a program that subscribes while the channel moves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			arrived := make(chan bool)
			s := newServer(t, func(n int, p *peer) {
				if n == 2 {
					close(arrived)
					p.nack(p.expect(frame.Sub), 403, 0)
					p.subs("ch", false, none)
					p.serve()
					return
				}
				p.subs("ch", false, none)
				p.goAway(0)
				p.serve()
			})
			option, made := takeServed(t)
			c := s.client(option)
			connect(t, c)
			theirs := <-made
			<-arrived
			synctest.Wait()
			if _, err := c.Subscribe(t.Context(), "ch"); !errors.Is(err, client.CodeForbidden) {
				t.Errorf("got %v", err)
			}
			wantNothing(t, theirs)
		})
	})
}
