package client_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// at returns the position of event n in the first life of a channel.
func at(n uint64) frame.Position { return frame.Position{At: n, Tag: n << 40} }

// other returns another position with the number n.
func other(n uint64) frame.Position { return frame.Position{At: n, Tag: n<<40 + 1} }

// subscribed answers the next message, a SUB, with a position.
func (p *peer) subscribed(pos frame.Position, r frame.Recovery) (f *frame.Frame) {
	f = p.expect(frame.Sub)
	p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Pos: pos, Recovery: r})
	return f
}

// kept sends an EVNT with a position, whose id and args are the number.
func (p *peer) kept(pos frame.Position) {
	p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{byte(pos.At), byte(pos.Tag)}, Pos: pos,
		Channel: []byte("ch"), Args: []byte{'0' + byte(pos.At)}})
}

func (p *peer) gap(pos frame.Position) {
	p.send(&frame.Frame{Type: frame.Gap, Channel: []byte("ch"), Pos: pos})
}

// wantSince checks what a SUB asks for; the zero position stands for no since.
func (p *peer) wantSince(f *frame.Frame, want frame.Position) {
	p.t.Helper()
	if f.HasSince == want.IsZero() || f.Since != want || f.Last != 0 {
		p.t.Errorf("SUB with since %v: %v, last %d; want since %v", f.HasSince, f.Since, f.Last, want)
	}
}

// Where a client goes on after a lost connection: what its subscription was sent, and
// nothing else.
func TestSince(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(p *peer)
		want frame.Position // that the SUB on the next connection has
		then []string       // events of the first one
	}{
		{"ACK", func(p *peer) { p.subscribed(at(1), frame.NoRecovery) }, at(1), nil},
		{"EVNT", func(p *peer) {
			p.subscribed(at(1), frame.NoRecovery)
			p.kept(at(2))
		}, at(2), []string{"2"}},
		{"EVNT without a position", func(p *peer) {
			p.subscribed(at(1), frame.NoRecovery)
			p.kept(at(2))
			p.event(9, "ch", `3`)
		}, frame.Position{}, []string{"2", "3"}},
		{"GAP", func(p *peer) {
			p.subscribed(at(5), frame.NoRecovery)
			p.gap(other(3))
		}, other(3), []string{"gap"}},
		{"GAP without a position", func(p *peer) {
			p.subscribed(at(5), frame.NoRecovery)
			p.gap(frame.Position{})
		}, frame.Position{}, []string{"gap"}},
		{"another channel, and a pattern", func(p *peer) {
			p.subscribed(at(1), frame.NoRecovery)
			p.send(&frame.Frame{Type: frame.Evnt, Publication: [16]byte{1}, Pos: at(4), Channel: []byte("other"), Args: []byte(`1`)})
			p.raw(`{"type":"EVNT","id":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","at":4,"tag":"AAAAAAAAAAE","channel":"ch","pattern":"c*","args":1}`)
			p.send(&frame.Frame{Type: frame.Gap, Channel: []byte("other"), Pos: at(4)})
		}, at(1), nil},
		{"a channel that is not kept", func(p *peer) { p.subscribed(frame.Position{}, frame.NoRecovery) }, frame.Position{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, func(n int, p *peer) {
					if n == 1 {
						test.send(p)
						p.serveOne()
						p.drop()
						return
					}
					f := p.expect(frame.Sub)
					p.wantSince(f, test.want)
					recovery := frame.NoRecovery
					if f.HasSince {
						recovery = frame.Recovered
					}
					p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Pos: at(9), Recovery: recovery})
					p.kept(at(9))
					p.untilClosed()
				})
				c := s.client()
				sub := subscribe(t, c, "ch")
				if err := c.Call(t.Context(), "u", nil, nil); err != nil {
					t.Fatal(err)
				}
				wantEvents(t, sub, test.then...)
				if test.want.IsZero() {
					wantEvents(t, sub, "gap")
				}
				wantEvents(t, sub, "9")
			})
		})
	}
}

// What the answer to since is for the application, and for the position.
func TestRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lose := make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			switch n {
			case 1:
				p.subscribed(at(1), frame.NoRecovery)
				p.kept(at(2))
			case 2: // where the channel stands says nothing of what was delivered
				p.wantSince(p.subscribed(at(4), frame.Recovered), at(2))
				p.kept(at(3))
			case 3:
				p.wantSince(p.subscribed(other(4), frame.NotRecovered), at(3))
			case 4:
				p.wantSince(p.subscribed(frame.Position{}, frame.NotRecovered), other(4))
			case 5: // the rule was taken away
				p.wantSince(p.subscribed(at(6), frame.NoRecovery), frame.Position{})
			case 6: // a server that does not know since
				p.wantSince(p.subscribed(frame.Position{}, frame.NoRecovery), at(6))
			}
			<-lose
			p.drop()
		})
		sub := subscribe(t, s.client(), "ch")
		wantEvents(t, sub, "2")
		for _, want := range []string{"3", "gap", "gap", "gap", "gap"} {
			lose <- true
			wantEvents(t, sub, want)
		}
		close(lose)
	})
}

// The handover of a channel that is kept: the new connection goes on where the old one
// stood, and brings what that has brought meanwhile once more.
func TestGoAwayWithSince(t *testing.T) {
	for _, test := range []struct {
		name    string
		old     []frame.Position // of the old connection after the SUB on the new one
		recover frame.Recovery
		send    []frame.Position // of the new one
		want    []string
	}{
		{"nothing meanwhile", nil, frame.Recovered, []frame.Position{at(3), at(4)}, []string{"3", "4"}},
		{"both brought some", []frame.Position{at(3), at(4)}, frame.Recovered, []frame.Position{at(3), at(4), at(5)}, []string{"3", "4", "5"}},
		{"the old one is ahead", []frame.Position{at(3), at(4)}, frame.Recovered, []frame.Position{at(3)}, []string{"3", "4"}},
		{"not recovered", nil, frame.NotRecovered, []frame.Position{at(8)}, []string{"gap", "8"}},
		{"rolled back in between", []frame.Position{at(3), at(4)}, frame.Recovered, []frame.Position{at(3), other(4), other(5)}, []string{"3", "4", "gap", "4", "5"}},
		{"trimmed in between", []frame.Position{at(3), at(4)}, frame.Recovered, []frame.Position{at(3), {}, at(7)}, []string{"3", "4", "gap", "7"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, sent := make(chan bool), make(chan bool)
				s := newServer(t, func(n int, p *peer) {
					if n == 1 {
						p.subscribed(at(1), frame.NoRecovery)
						p.kept(at(2))
						p.goAway(0)
						<-asked
						for _, pos := range test.old {
							p.kept(pos)
						}
						advance(time.Second / 2) // more than any overlap
						close(sent)
						p.ack(p.expect(frame.Unsb))
						p.kept(at(9))
						p.serve()
						return
					}
					f := p.expect(frame.Sub)
					p.wantSince(f, at(2))
					close(asked)
					<-sent
					p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Pos: at(5), Recovery: test.recover})
					for _, pos := range test.send {
						if pos.IsZero() {
							p.gap(at(6))
							continue
						}
						p.kept(pos)
					}
					p.serve()
				})
				sub := subscribe(t, s.client(), "ch")
				wantEvents(t, sub, append([]string{"2"}, test.want...)...)
				wantNothing(t, sub)
			})
		})
	}
}

// The new connection is lost before it has confirmed, or the old one: the next one goes on
// where the last event was.
func TestLostInHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			switch n {
			case 1:
				p.subscribed(at(1), frame.NoRecovery)
				p.kept(at(2))
				p.goAway(0)
				<-asked
				p.kept(at(3))
				advance(time.Millisecond)
				p.drop()
				asked <- true
			case 2:
				p.expect(frame.Sub)
				asked <- true
				<-asked
				p.drop()
			case 3:
				p.wantSince(p.subscribed(at(4), frame.Recovered), at(3))
				p.kept(at(4))
				p.untilClosed()
			}
		})
		wantEvents(t, subscribe(t, s.client(), "ch"), "2", "3", "4")
	})
}

// The newest events are asked for until one has come; meanwhile the position where the
// server began proves that none was missed.
func TestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lose := make(chan bool)
		wantLast := func(p *peer, f *frame.Frame) {
			if f.HasSince || f.Last != 3 {
				p.t.Errorf("SUB with since %v, last %d; want last 3", f.HasSince, f.Last)
			}
		}
		s := newServer(t, func(n int, p *peer) {
			switch n {
			case 1, 2:
				wantLast(p, p.subscribed(at(5), frame.NoRecovery))
			case 3:
				wantLast(p, p.subscribed(at(6), frame.NoRecovery))
				p.kept(at(4))
			case 4:
				p.wantSince(p.subscribed(at(6), frame.Recovered), at(4))
				p.kept(at(5))
			}
			<-lose
			p.drop()
		})
		sub := subscribe(t, s.client(), "ch", client.Last(3))
		lose <- true // for nothing that is missed
		lose <- true
		wantEvents(t, sub, "gap", "4")
		lose <- true
		wantEvents(t, sub, "5")
		close(lose)
	})
}

func TestLastIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newServer(t, serveAll).client()
		subscribe(t, c, "ch")
		for name, err := range map[string]error{
			"of a pattern":  second(c.Subscribe(t.Context(), "c*", client.Pattern(), client.Last(1))),
			"none":          second(c.Subscribe(t.Context(), "a", client.Last(0))),
			"too many":      second(c.Subscribe(t.Context(), "a", client.Last(1_000_001))),
			"after another": second(c.Subscribe(t.Context(), "ch", client.Last(1))),
		} {
			if !errors.Is(err, client.ErrInvalidOption) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}

// Who comes while the SUB or UNSB of those who have left is under way gets what it asked
// for, and nothing of theirs.
func TestLastAfterOthersHaveLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			if n == 1 {
				p.subscribed(at(1), frame.NoRecovery)
				p.drop()
				return
			}
			f := p.expect(frame.Sub)
			p.wantSince(f, at(1))
			answer <- true
			<-answer
			p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Pos: at(5), Recovery: frame.Recovered})
			p.kept(at(2))
			f = p.expect(frame.Unsb)
			p.kept(at(3))
			p.ack(f)
			p.kept(at(4))
			if f := p.subscribed(at(5), frame.NoRecovery); f.HasSince || f.Last != 2 {
				t.Errorf("got %+v", f)
			}
			p.kept(at(4))
			p.kept(at(5))
			f = p.expect(frame.Unsb)
			p.kept(at(6))
			p.ack(f)
			p.wantSince(p.subscribed(at(6), frame.NoRecovery), frame.Position{})
			p.kept(at(7))
			p.untilClosed()
		})
		c := s.client()
		first := subscribe(t, c, "ch")
		<-answer
		first.Unsubscribe()
		go func() { // while the second one waits
			synctest.Wait()
			answer <- true
		}()
		second := subscribe(t, c, "ch", client.Last(2))
		wantEvents(t, second, "4", "5")
		second.Unsubscribe()
		wantEvents(t, subscribe(t, c, "ch"), "7")
	})
}
