package client_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/jugglertest"
)

// newHereDeployment returns nodes that tell who is in the room, of which up to most are
// listed. The user of a session is in its handshake.
func newHereDeployment(t *testing.T, seed uint64, most int) *deployment {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	d := &deployment{t: t, rand: rand.New(rand.NewPCG(seed, 23)), lost: make(map[int]int), channels: []string{"room"}}
	for range 4 {
		d.nodes = append(d.nodes, jugglertest.NewOn(t, b,
			juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
				return &juggler.Identity{User: r.Header.Get("User")}, nil
			}),
			juggler.WithPresence(juggler.PresenceRule{Channels: "room"}),
			juggler.WithMaxPresent(most)))
	}
	return d
}

// Whatever connections and nodes do, and whoever comes and leaves: in the end all who ask
// know who is there. Until then what has changed is told without contradiction.
func TestHereProperty(t *testing.T) {
	seeds := uint64(8)
	if race.Enabled {
		seeds = 2 // they take much longer
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				most := []int{4, 100}[seed%2]
				d := newHereDeployment(t, seed, most)
				var users []*hereUser
				var wg sync.WaitGroup
				for i := range 7 { // two are of one user
					u := &hereUser{name: fmt.Sprintf("u%d", i%6), d: d, most: most, random: rand.New(rand.NewPCG(seed, uint64(i)))}
					users = append(users, u)
					wg.Go(u.comeAndGo)
				}
				wg.Go(func() { d.run(harmlessFaults) })
				wg.Wait()
				time.Sleep(time.Minute) // more than the grace of who left
				want := make(map[string]int)
				for _, u := range users {
					if u.sub != nil {
						want[u.name]++
					}
				}
				changes := 0
				for _, u := range users {
					u.check(want)
					changes += u.changes
				}
				t.Logf("%d are there, %d changes were told", len(want), changes)
				if changes < 50 {
					t.Errorf("%d changes were told", changes)
				}
			})
		})
	}
}

// hereUser is a client that comes and goes.
type hereUser struct {
	name    string
	d       *deployment
	most    int // how many are listed
	random  *rand.Rand
	client  *client.Client
	sub     *client.Subscription // nil: it is not in the room
	changes int
}

func (u *hereUser) comeAndGo() {
	c, err := client.New(jugglertest.URL, client.WithDialer(u.d.dial), client.WithBackoff(10*time.Millisecond, time.Second),
		client.WithHTTPHeader(http.Header{"User": {u.name}}))
	if err != nil {
		u.d.t.Fatal(err)
	}
	u.client = c
	u.d.t.Cleanup(func() { c.Close() })
	for u.d.isRunning() {
		time.Sleep(time.Duration(u.random.IntN(2000)) * time.Millisecond)
		u.toggle()
		if u.sub != nil {
			ctx, cancel := context.WithTimeout(u.d.t.Context(), time.Duration(u.random.IntN(20_000))*time.Millisecond)
			u.follow(ctx)
			cancel()
		}
	}
}

// toggle enters the room, or leaves it.
func (u *hereUser) toggle() {
	if u.sub != nil {
		u.sub.Unsubscribe()
		u.sub = nil
		return
	}
	var opts []client.SubscribeOption
	if u.random.IntN(5) > 0 {
		opts = append(opts, client.WithHere())
	}
	sub, err := u.client.Subscribe(u.d.t.Context(), "room", append(opts, client.WithBuffer(10_000))...)
	if err != nil {
		u.d.t.Error(err)
		return
	}
	u.sub = sub
}

// follow checks that each change leads from one list to the next.
func (u *hereUser) follow(ctx context.Context) {
	var there map[string]bool
	for h, err := range u.sub.HereChanges(ctx) {
		switch {
		case errors.Is(err, client.ErrInvalidOption):
			<-ctx.Done() // it has not asked
			return
		case err != nil:
			if ctx.Err() == nil {
				u.d.t.Error(err)
			}
			return
		}
		u.changes++
		now := make(map[string]bool)
		for _, m := range h.Members {
			now[m.User] = true
		}
		if h.Members != nil && len(now) != h.Count || h.Members == nil && h.Count <= u.most {
			u.d.t.Errorf("%d members, %d listed", h.Count, len(now))
		}
		if there != nil && h.Members != nil {
			for _, m := range h.Joined {
				there[m.User] = true
			}
			for _, user := range h.Left {
				delete(there, user)
			}
			if !maps.Equal(there, now) {
				u.d.t.Errorf("%s: changes lead to %v, and there are %v", u.name, there, now)
			}
		}
		if there = now; h.Members == nil {
			there = nil
		}
	}
}

// check checks that u knows who is there, if it is itself and has asked.
func (u *hereUser) check(want map[string]int) {
	if u.sub == nil {
		return
	}
	h, ok := u.sub.Here()
	if !ok {
		for _, err := range u.sub.HereChanges(u.d.t.Context()) {
			if !errors.Is(err, client.ErrInvalidOption) {
				u.d.t.Errorf("%s: not known who is there, %v", u.name, err)
			}
			break
		}
		return
	}
	got := make(map[string]int)
	for _, m := range h.Members {
		got[m.User] = m.Sessions
	}
	if len(want) > u.most {
		if h.Members != nil || h.Count != len(want) {
			u.d.t.Errorf("%s: got %d, %v, want %d", u.name, h.Count, got, len(want))
		}
	} else if !maps.Equal(got, want) || h.Count != len(want) {
		u.d.t.Errorf("%s: got %d, %v, want %v", u.name, h.Count, got, strings.Join(slices.Sorted(maps.Keys(want)), " "))
	}
}
