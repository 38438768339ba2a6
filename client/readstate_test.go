package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// wantLog checks what a reader of states and events has got.
func wantLog(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// follow reads events of sub into a log, and returns how the last Next ended.
func follow(ctx context.Context, sub *client.Subscription, log *[]string) error {
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if e.Gap {
			*log = append(*log, "gap")
		}
		*log = append(*log, string(e.Args))
	}
}

// The state is read before the first event, and again after what is missed; events wait
// for it. Nothing is missed where the server has proved that.
func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan bool)
		s := newServer(t, func(n int, p *peer) {
			switch n {
			case 1:
				p.subscribed(at(1), frame.NoRecovery)
				p.kept(at(2))
				<-goOn
			case 2:
				p.subscribed(at(3), frame.Recovered)
				p.kept(at(3))
				p.gap(at(5))
				p.kept(at(6))
				<-goOn
			case 3:
				p.subscribed(other(4), frame.NotRecovered)
				p.kept(other(5))
				<-goOn
			}
			p.drop()
		})
		var log []string
		sub := subscribe(t, s.client(), "ch", client.WithState(func(context.Context) error {
			log = append(log, "state")
			advance(time.Second) // events come meanwhile
			return nil
		}))
		var wg sync.WaitGroup
		wg.Go(func() { follow(t.Context(), sub, &log) })
		for range 3 {
			advance(time.Minute)
			goOn <- true
		}
		advance(time.Minute)
		sub.Unsubscribe()
		wg.Wait()
		wantLog(t, log, "state", "2", "3", "state", "6", "state", "5")
	})
}

// A state that cannot be read is read again, with pauses that grow, and events wait.
func TestStateFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			p.event(1, "ch", `1`)
			p.untilClosed()
		})
		var logged bytes.Buffer
		c := s.client(client.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
		var log []string
		failures := 0
		sub := subscribe(t, c, "ch", client.WithState(func(context.Context) error {
			if failures++; failures <= 3 {
				log = append(log, "failure")
				return errors.New("no database")
			}
			log = append(log, "state")
			return nil
		}))
		e, err := sub.Next(t.Context())
		log = append(log, string(e.Args))
		if err != nil {
			t.Error(err)
		}
		wantLog(t, log, "failure", "failure", "failure", "state", "1")
		c.Close()
		if !strings.Contains(logged.String(), "cannot read the state") || !strings.Contains(logged.String(), "no database") {
			t.Errorf("logged %s", logged.String())
		}
	})
}

// While the state is read events are held, but not without bound: then it is read anew, and
// nothing else waits for it.
func TestStateIsOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer = 4
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			p.ack(p.expect(frame.Pub)) // the state is being read
			for i := range byte(3 * buffer) {
				p.event(i, "ch", fmt.Sprint(i))
			}
			p.ack(p.expect(frame.Pub))
			p.event(100, "ch", `100`)
			p.untilClosed()
		})
		c := s.client()
		var log []string
		reads := 0
		sub := subscribe(t, c, "ch", client.WithBuffer(buffer), client.WithState(func(context.Context) error {
			log = append(log, "state")
			if reads++; reads == 1 {
				for range 2 {
					if err := c.Publish(t.Context(), "other", nil); err != nil {
						t.Error(err)
					}
					synctest.Wait() // the connection is read
				}
			}
			return nil
		}))
		for !slices.Contains(log, "100") {
			e, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			log = append(log, string(e.Args))
		}
		if n := len(log); !slices.Equal(log[:2], []string{"state", "state"}) || n > 2+buffer {
			t.Errorf("got %v", log)
		}
	})
}

// The end of Next's context ends the reading of the state, which the next Next begins anew;
// so does the end of the subscription, or of the client.
func TestStateIsInterrupted(t *testing.T) {
	for name, end := range map[string]func(*client.Client, *client.Subscription){
		"Unsubscribe": func(_ *client.Client, s *client.Subscription) { s.Unsubscribe() },
		"Close":       func(c *client.Client, _ *client.Subscription) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, func(_ int, p *peer) {
					p.ack(p.expect(frame.Sub))
					p.event(1, "ch", `1`)
					p.untilClosed()
				})
				c := s.client()
				reads := 0
				sub := subscribe(t, c, "ch", client.WithState(func(ctx context.Context) error {
					reads++
					<-ctx.Done()
					return ctx.Err()
				}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := sub.Next(ctx); !errors.Is(err, context.DeadlineExceeded) || reads != 1 {
					t.Errorf("got %v after %d reads", err, reads)
				}
				time.AfterFunc(time.Second, func() { end(c, sub) })
				want := client.ErrUnsubscribed
				if name == "Close" {
					want = client.ErrClosed
				}
				if e, err := sub.Next(t.Context()); !errors.Is(err, want) || reads != 2 {
					t.Errorf("got %+v, %v after %d reads", e, err, reads)
				}
			})
		})
	}
}

// A gap that comes while the state is read has it read anew; another reader waits.
func TestGapWhileStateIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reading := make(chan bool)
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			p.event(1, "ch", `1`)
			<-reading
			p.gap(frame.Position{})
			p.gap(frame.Position{})
			p.event(2, "ch", `2`)
			p.event(3, "ch", `3`)
			reading <- true
			p.untilClosed()
		})
		reads := 0
		sub := subscribe(t, s.client(), "ch", client.WithState(func(context.Context) error {
			if reads++; reads == 1 {
				reading <- true
				<-reading
				synctest.Wait()
			}
			return nil
		}))
		got := make(chan string, 2)
		for range 2 {
			go func() {
				e, _ := sub.Next(t.Context())
				got <- string(e.Args)
			}()
		}
		log := []string{<-got, <-got}
		slices.Sort(log)
		wantLog(t, log, "2", "3")
		if reads != 2 {
			t.Errorf("%d reads", reads)
		}
	})
}

// A read that panics leaves the state to the next Next.
func TestStatePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(_ int, p *peer) {
			p.ack(p.expect(frame.Sub))
			p.event(1, "ch", `1`)
			p.untilClosed()
		})
		reads := 0
		sub := subscribe(t, s.client(), "ch", client.WithState(func(context.Context) error {
			if reads++; reads == 1 {
				panic("no state")
			}
			return nil
		}))
		func() {
			defer func() { recover() }()
			sub.Next(t.Context())
		}()
		wantEvents(t, sub, `1`)
		if _, err := s.client().Subscribe(t.Context(), "ch", client.WithState(nil)); !errors.Is(err, client.ErrInvalidOption) {
			t.Errorf("got %v", err)
		}
	})
}
