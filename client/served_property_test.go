package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/jugglertest"
)

// servedChannels are what each session of newServedDeployment has: a kept one, and two that
// are not, of which one is the server's own.
var servedChannels = []string{"room", "chat", juggler.User("ann")}

// club is a channel that sessions are subscribed to, and removed from, while they live.
const club = "club"

// newServedDeployment returns nodes that subscribe all sessions to servedChannels.
func newServedDeployment(t *testing.T, seed uint64, rule broker.HistoryRule) *deployment {
	b, err := memory.New(memory.WithHistory(rule))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	d := &deployment{t: t, rand: rand.New(rand.NewPCG(seed, 20)), lost: make(map[int]int), channels: append(servedChannels, club)}
	for range 4 {
		d.nodes = append(d.nodes, jugglertest.NewOn(t, b, juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) {
			return &juggler.Identity{User: "ann", Channels: servedChannels}, nil
		})))
	}
	return d
}

// followServed follows the subscriptions that the server makes for a client, those to
// servedChannels until they are complete; the audits are in their order.
func (d *deployment) followServed(between func(*client.Client)) []audit {
	audits := make([]audit, len(servedChannels))
	begun := make(chan bool, 100)
	var following sync.WaitGroup
	following.Add(len(audits))
	c, err := client.New(jugglertest.URL, client.WithDialer(d.dial), client.WithBackoff(10*time.Millisecond, time.Second),
		client.WithServerSubscriptions(func(sub *client.Subscription) {
			for i, channel := range servedChannels {
				name, own := broker.IsOwn(channel)
				if sub.Channel() == name && sub.Own() == own {
					begun <- true
					audits[i].follow(sub)
					following.Done()
					return
				}
			}
			d.followWhileMember(sub)
		}))
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	for i := range audits {
		audits[i].d = d
	}
	if err := c.Connect(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	for range audits {
		<-begun
	}
	var wg sync.WaitGroup
	wg.Go(following.Wait)
	if between != nil {
		wg.Go(func() { between(c) })
	}
	wg.Go(func() { d.run(harmlessFaults) })
	wg.Wait()
	return audits
}

// Whatever connections and nodes do, and whatever the program subscribes to besides: what the
// server subscribes to comes once, and in order. Where it is kept nothing is missing;
// elsewhere a gap is in the place of what is.
func TestServedProperty(t *testing.T) {
	seeds := uint64(12)
	if race.Enabled {
		seeds = 3 // they take much longer
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rule := room
				rule.Events, rule.For = 2000, time.Hour
				d := newServedDeployment(t, seed, rule)
				var wg sync.WaitGroup
				wg.Go(func() { d.changeMembers(rand.New(rand.NewPCG(seed, 22))) })
				audits := d.followServed(func(c *client.Client) { d.alsoSubscribe(c, rand.New(rand.NewPCG(seed, 21))) })
				wg.Wait()
				synctest.Wait() // until the last membership has ended
				d.mu.Lock()
				defer d.mu.Unlock()
				if kept := audits[0]; kept.gaps > 0 || kept.events != d.published {
					t.Errorf("%d of %d events that are kept, %d gaps", kept.events, d.published, kept.gaps)
				}
				if d.memberships < 10 || d.memberEvents < d.published/10 {
					t.Errorf("%d events in %d memberships of the club", d.memberEvents, d.memberships)
				}
				for i, a := range audits {
					t.Logf("%s: %d of %d events, %d gaps", d.channels[i], a.events, d.published, a.gaps)
				}
			})
		})
	}
}

// alsoSubscribe subscribes to the channels of d, which the server does as well, for a while
// each.
func (d *deployment) alsoSubscribe(c *client.Client, random *rand.Rand) {
	for d.isRunning() {
		channel := []string{"room", "chat", "room", "user:ann"}[random.IntN(4)]
		ctx, cancel := context.WithTimeout(d.t.Context(), time.Duration(random.IntN(3000))*time.Millisecond)
		sub, err := c.Subscribe(ctx, channel)
		if err == nil {
			a := audit{d: d}
			for {
				e, err := sub.Next(ctx)
				if err != nil {
					break
				}
				a.add(e)
			}
			if channel == "user:ann" && a.events > 0 {
				d.t.Errorf("%d events of the server's own channel without being subscribed to it", a.events)
			}
			sub.Unsubscribe()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			d.t.Error(err)
		}
		cancel()
	}
}

// changeMembers subscribes sessions to the club, and removes them.
func (d *deployment) changeMembers(random *rand.Rand) {
	for d.isRunning() {
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		for _, n := range d.nodes {
			for s := range n.Handler.Sessions() {
				var err error
				if random.IntN(3) > 0 {
					err = s.Subscribe(d.t.Context(), broker.Topic{Name: club})
				} else {
					err = s.Unsubscribe(d.t.Context(), broker.Topic{Name: club}, nil)
				}
				if err != nil && !errors.Is(err, juggler.ErrSessionEnded) && !errors.Is(err, juggler.ErrShutdown) {
					d.t.Error(err)
				}
			}
		}
	}
}

// followWhileMember reads the events of the club until the subscription ends.
func (d *deployment) followWhileMember(sub *client.Subscription) {
	a := audit{d: d}
	for {
		e, err := sub.Next(context.Background())
		switch {
		case err == nil:
			a.add(e)
			continue
		case errors.Is(err, client.CodeForbidden), errors.Is(err, client.ErrNotRestored), errors.Is(err, client.ErrClosed):
		default:
			d.t.Errorf("the subscription to the club ended: %v", err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.memberships++
		d.memberEvents += a.events
		return
	}
}

func (d *deployment) isRunning() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.final == 0
}

// A deploy loses nothing, and repeats nothing, whether or not the events are kept.
func TestServedThroughDeploys(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			d := newServedDeployment(t, seed, room)
			d.onlyDeploys = true
			for i, a := range d.followServed(nil) {
				if a.gaps > 0 || a.events != d.published {
					t.Errorf("seed %d, %s: %d of %d events, %d gaps", seed, d.channels[i], a.events, d.published, a.gaps)
				}
			}
		})
	}
}
