package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
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

// room is a rule that channels fall out of.
var room = broker.HistoryRule{Channels: "room", Events: 16, For: time.Minute}

// deployment is real nodes on one broker with history, of which the first that is not
// drained is the front. Its channel's events are numbered.
type deployment struct {
	t     *testing.T
	rand  *rand.Rand
	nodes []*jugglertest.Server

	channels    []string // on which the events are published
	onlyDeploys bool     // of the faults

	mu                        sync.Mutex // guards the following
	front                     int
	conns                     []net.Conn     // of clients
	published                 int            // the newest number
	memberships, memberEvents int            // of the club
	final                     int            // the last one of all
	lost                      map[int]int    // of an event that was rolled back: the newest number then
	draining                  sync.WaitGroup // nodes
}

func newDeployment(t *testing.T, seed uint64, rule broker.HistoryRule) *deployment {
	const nodes = 4
	b, err := memory.New(memory.WithHistory(rule))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	d := &deployment{t: t, rand: rand.New(rand.NewPCG(seed, 18)), lost: make(map[int]int), channels: []string{"room"}}
	for range nodes {
		d.nodes = append(d.nodes, jugglertest.NewOn(t, b, juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) {
			return &juggler.Identity{User: "ann"}, nil
		})))
	}
	return d
}

func (d *deployment) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d.mu.Lock()
	front := d.nodes[d.front]
	d.mu.Unlock()
	conn, err := front.Dial(ctx)
	if err == nil {
		d.mu.Lock()
		d.conns = append(d.conns, conn)
		d.mu.Unlock()
	}
	return conn, err
}

// drop breaks the connections of all clients.
func (d *deployment) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		conn.Close()
	}
	d.conns = nil
}

// publish publishes the next number.
func (d *deployment) publish() {
	d.mu.Lock()
	d.published++
	n := d.published
	front := d.nodes[d.front]
	d.mu.Unlock()
	for _, channel := range d.channels {
		if err := front.Handler.Publish(d.t.Context(), channel, n, nil); err != nil {
			d.t.Error(err)
		}
	}
}

// rollback loses the newest events that are kept.
func (d *deployment) rollback(events int) {
	d.nodes[0].Broker.Rollback("room", events)
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := d.published; n > 0 && events > 0; n-- {
		if _, gone := d.lost[n]; !gone {
			d.lost[n] = d.published
			events--
		}
	}
}

// deploy drains the front node while the next one takes its clients, if there is one.
func (d *deployment) deploy() {
	d.mu.Lock()
	old := d.nodes[d.front]
	last := d.front == len(d.nodes)-1
	if !last {
		d.front++
	}
	d.mu.Unlock()
	if last {
		return
	}
	d.draining.Go(func() {
		if err := old.Handler.Shutdown(context.Background()); err != nil {
			d.t.Error(err)
		}
	})
}

// The first faults of deployment.fault lose connections only.
const (
	faults         = 8
	harmlessFaults = 3
)

// fault does one of the first things, at random, that lose connections or events.
func (d *deployment) fault(among int) {
	which := d.rand.IntN(among)
	if d.onlyDeploys {
		which = 2
		d.draining.Wait() // a client that moves on before it has moved may miss something
	}
	switch which {
	case 0, 1:
		d.drop()
	case 2:
		d.deploy()
	case 3:
		for _, n := range d.nodes {
			n.Broker.Miss("room", 1+d.rand.IntN(3))
		}
	case 4:
		d.nodes[0].Broker.Forget("room")
	case 5:
		d.rollback(1 + d.rand.IntN(4))
	case 6:
		d.drop()
		d.rollback(1 + d.rand.IntN(4))
	case 7:
		d.drop()
		time.Sleep(time.Duration(d.rand.IntN(120)) * time.Second)
	}
}

// run publishes and fails for a while, and ends with an event when all is well.
func (d *deployment) run(faults int) {
	for range 300 {
		for range d.rand.IntN(6) {
			d.publish()
		}
		if d.rand.IntN(6) == 0 {
			d.fault(faults)
		}
		time.Sleep(time.Duration(d.rand.IntN(300)) * time.Millisecond)
	}
	d.draining.Wait()
	time.Sleep(5 * time.Minute)
	for range 3 { // as many as may be missed
		d.publish()
	}
	d.mu.Lock()
	d.final = d.published + 1
	d.mu.Unlock()
	d.publish()
}

// audit is what one subscription has got.
type audit struct {
	d        *deployment
	previous int
	gap      bool
	events   int
	gaps     int
}

// add checks that e comes once and in order, and that what is missing before it is behind a
// gap, and likewise that what e follows was not lost meanwhile.
func (a *audit) add(e client.Event) {
	if e.Gap {
		a.gap = true
		a.gaps++
		return
	}
	var n int
	if err := e.Decode(&n); err != nil {
		a.d.t.Error(err)
	}
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	if n <= a.previous {
		a.d.t.Errorf("%d after %d", n, a.previous)
	}
	if !a.gap && a.previous > 0 {
		for missing := a.previous + 1; missing < n; missing++ {
			if _, gone := a.d.lost[missing]; !gone {
				a.d.t.Errorf("%d after %d, and no gap", n, a.previous)
				break
			}
		}
		if at, gone := a.d.lost[a.previous]; gone && n > at {
			a.d.t.Errorf("%d after %d, which was lost before, and no gap", n, a.previous)
		}
	}
	a.previous, a.gap = n, false
	a.events++
}

// follow reads until the final number.
func (a *audit) follow(sub *client.Subscription) {
	ctx, cancel := context.WithTimeout(a.d.t.Context(), 24*time.Hour)
	defer cancel()
	for !a.complete() {
		e, err := sub.Next(ctx)
		if err != nil {
			a.d.t.Errorf("after %d: %v", a.previous, err)
			return
		}
		a.add(e)
	}
}

func (a *audit) complete() bool {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	return a.d.final > 0 && a.previous == a.d.final
}

// Whatever gets lost, connections, nodes or events: each event comes once, in order, or
// there is a gap in its place.
func TestHistoryProperty(t *testing.T) {
	seeds := uint64(16)
	if race.Enabled {
		seeds = 4 // they take much longer
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runHistory(t, seed) })
		})
	}
}

// client returns a client that connects to the front.
func (d *deployment) client(dial client.DialFunc) *client.Client {
	c, err := client.New(jugglertest.URL, client.WithDialer(dial), client.WithBackoff(10*time.Millisecond, time.Second))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	return c
}

// audits follows three subscriptions through faults. The last one begins with what is kept.
func (d *deployment) audits(faults int) []audit {
	for range 8 {
		d.publish()
	}
	audits := make([]audit, 3)
	var wg sync.WaitGroup
	for i := range audits {
		var opts []client.SubscribeOption
		if i == 2 {
			opts = append(opts, client.Last(5))
		}
		sub := subscribe(d.t, d.client(d.dial), "room", opts...)
		audits[i].d = d
		wg.Go(func() { audits[i].follow(sub) })
	}
	wg.Go(func() { d.run(faults) })
	wg.Wait()
	return audits
}

func runHistory(t *testing.T, seed uint64) {
	d := newDeployment(t, seed, room)
	for _, a := range d.audits(faults) {
		t.Logf("%d of %d events, %d lost, %d gaps", a.events, d.published, len(d.lost), a.gaps)
	}
}

// As long as all events are kept, lost connections and nodes go unnoticed.
func TestNothingIsMissed(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			rule := room
			rule.Events, rule.For = 1000, time.Hour
			d := newDeployment(t, seed, rule)
			for i, a := range d.audits(harmlessFaults) {
				want := d.published - 8
				if i == 2 {
					want += 5
				}
				if a.gaps > 0 || a.events != want {
					t.Errorf("seed %d: %d of %d events, %d gaps", seed, a.events, want, a.gaps)
				}
			}
		})
	}
}

// cutting is a connection that breaks after some of its writes.
type cutting struct {
	net.Conn
	d *deployment
}

func (c cutting) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if c.d.rand.IntN(6) == 0 {
		c.Conn.Close()
	}
	return n, err
}

// What is published over connections that break arrives once, whether or not the server
// had it before.
func TestPublicationsAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const publications = 300
		d := newDeployment(t, 1, broker.HistoryRule{Channels: "room", Events: publications, For: time.Hour})
		sub := subscribe(t, d.client(d.dial), "room")
		c := d.client(func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := d.dial(ctx, network, addr)
			return cutting{conn, d}, err
		})
		for n := range publications {
			if err := c.Publish(t.Context(), "room", n, client.WithTimeout(4*time.Minute)); err != nil {
				t.Fatalf("%d: %v", n, err)
			}
			wantEvents(t, sub, fmt.Sprint(n))
		}
		wantNothing(t, sub)
		d.mu.Lock()
		defer d.mu.Unlock()
		if n := len(d.conns); n < publications/10 {
			t.Errorf("%d connections", n)
		}
	})
}
