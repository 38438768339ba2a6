package client_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// wantPositions checks the next events and where each leaves the application.
func wantPositions(t *testing.T, s *client.Subscription, want ...frame.Position) {
	t.Helper()
	for _, pos := range want {
		e, err := s.Next(t.Context())
		if err != nil || e.Pos != pos || s.Pos() != pos {
			t.Fatalf("position %v of %v, and then %v, %v; want %v", e.Pos, e, s.Pos(), err, pos)
		}
	}
}

// An application learns the position of each event, and where it is not known.
func TestPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(n int, p *peer) {
			if n == 1 {
				p.subscribed(at(1), frame.NoRecovery)
				p.kept(at(2))
				p.event(9, "ch", `3`)
				p.gap(other(4))
				p.gap(frame.Position{})
				p.kept(at(6))
				p.serveOne()
				p.drop()
				return
			}
			p.wantSince(p.subscribed(at(7), frame.NotRecovered), at(6))
			p.kept(at(8))
			p.untilClosed()
		})
		c := s.client()
		sub := subscribe(t, c, "ch")
		if sub.Pos() != at(1) {
			t.Errorf("begins at %v", sub.Pos())
		}
		if err := c.Call(t.Context(), "u", nil, nil); err != nil {
			t.Fatal(err)
		}
		wantPositions(t, sub, at(2), frame.Position{}, other(4), frame.Position{}, at(6), at(7), at(8))
	})
}

// A new client goes on after a position of an earlier one, also if it finds no connection at
// first; or it is told that something may be missing.
func TestSubscribeSince(t *testing.T) {
	for _, test := range []struct {
		recovery frame.Recovery
		want     []frame.Position
	}{
		{frame.Recovered, []frame.Position{at(8)}},
		{frame.NotRecovered, []frame.Position{at(7), at(8)}}, // a gap
		{frame.NoRecovery, []frame.Position{at(7), at(8)}},   // of a server that keeps nothing
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, func(n int, p *peer) {
				f := p.expect(frame.Sub)
				p.wantSince(f, at(5))
				if n == 1 {
					p.drop()
					return
				}
				p.send(&frame.Frame{Type: frame.Ack, For: f.ID, Pos: at(7), Recovery: test.recovery})
				p.kept(at(8))
				p.untilClosed()
			})
			sub := subscribe(t, s.client(), "ch", client.Since(at(5)))
			if sub.Pos() != at(5) {
				t.Errorf("begins at %v", sub.Pos())
			}
			wantPositions(t, sub, test.want...)
		})
	}
}

// A SUB that is under way for nobody any more does not stand for one with Since.
func TestSubscribeSinceBehindAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			f := p.subscribed(at(1), frame.NoRecovery)
			p.wantSince(f, frame.Position{})
			p.ack(p.expect(frame.Unsb))
			p.wantSince(p.subscribed(at(9), frame.Recovered), at(5))
			p.kept(at(6))
			p.untilClosed()
		})
		c := s.client()
		subscribe(t, c, "ch").Unsubscribe()
		sub := subscribe(t, c, "ch", client.Since(at(5)))
		wantPositions(t, sub, at(6))
		for _, opts := range [][]client.SubscribeOption{
			{client.Since(at(5))}, // beside sub
			{client.Since(client.Position{})},
			{client.Since(at(5)), client.Last(1)},
			{client.Since(at(5)), client.Pattern()},
		} {
			if _, err := c.Subscribe(t.Context(), "ch", opts...); !errors.Is(err, client.ErrInvalidOption) {
				t.Error(err)
			}
		}
	})
}

// An application that stores the text of a position misses nothing while it is away.
func TestRealPositions(t *testing.T) {
	b, err := memory.New(memory.WithHistory(broker.HistoryRule{Channels: "room.*", Events: 100, For: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	cl := &cluster{t: t, broker: b}
	cl.start(juggler.WithAuthorizer(juggler.AllowAll()))
	publisher := cl.client()
	next, stored := 0, ""
	for round := range 3 {
		c := cl.client()
		var opts []client.SubscribeOption
		if pos, ok := client.ParsePosition(stored); ok {
			opts = append(opts, client.Since(pos))
		}
		sub := subscribe(t, c, "room.7", opts...)
		for range 3 * min(round, 1) { // of when nobody was there
			e, err := sub.Next(t.Context())
			if err != nil || string(e.Args) != fmt.Sprint(next) {
				t.Fatalf("round %d: got %v, %v; want %d", round, e, err, next)
			}
			next++
		}
		stored = sub.Pos().String()
		c.Close()
		for i := range 3 {
			if err := publisher.Publish(t.Context(), "room.7", next+i); err != nil {
				t.Fatal(err)
			}
		}
	}
}
