package juggler_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/kept"
	"github.com/juggler-go/juggler/jugglertest"
)

// TestNothingIsMissedInSilence runs clients that come and go, read slowly and remember
// where they stand, on channels that lose deliveries, kept events and the newest of them.
// Whatever happens, each gets the events of a channel in order and once, and where one is
// missing a GAP or recovered:false stands in its place.
func TestNothingIsMissedInSilence(t *testing.T) {
	for name, wait := range map[string]bool{"embedded": false, "waiting": true} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				synctest.Test(t, func(t *testing.T) { newKeptWorld(t, seed, wait).run() })
			}
		})
	}
}

// keptWorld is one random run. The events of a channel are numbered from 1.
type keptWorld struct {
	t    *testing.T
	rng  *rand.Rand
	b    *memory.Broker
	srv  *jugglertest.Server
	miss atomic.Int32 // deliveries to lose

	channels []*keptChannel
}

type keptChannel struct {
	name      string
	begun     atomic.Int64 // publications
	published atomic.Int64 // of these, confirmed

	log []int64 // those that are not lost; the publisher's

	mu   sync.Mutex // guards lost
	lost map[int64]bool
}

// lose loses the newest n events, as a replica does that takes over without them: who
// has not received them cannot know of them.
func (w *keptWorld) lose(c *keptChannel, n int) {
	c.mu.Lock()
	keep := max(0, len(c.log)-n)
	for _, lost := range c.log[keep:] {
		c.lost[lost] = true
	}
	c.log = c.log[:keep]
	c.mu.Unlock()
	w.b.LoseKept(kept.Loss{Channel: c.name, Newest: n})
}

// follows reports whether n is the first event after newest, but for those that were lost.
func (c *keptChannel) follows(n, newest int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for newest++; c.lost[newest] && newest < n; newest++ {
	}
	return n == newest
}

func newKeptWorld(t *testing.T, seed uint64, wait bool) *keptWorld {
	b, err := memory.New(memory.WithHistory(broker.HistoryRule{Channels: "long", Events: 500, For: time.Hour}, broker.HistoryRule{Channels: "short", Events: 20, For: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	w := &keptWorld{t: t, rng: rand.New(rand.NewPCG(seed, 7)), b: b,
		channels: []*keptChannel{{name: "long", lost: map[int64]bool{}}, {name: "short", lost: map[int64]bool{}}}}
	roles := jugglertest.Roles(b)
	if wait {
		roles = w.waiting(newHistoryBroker(b))
	}
	w.srv = jugglertest.NewOn(t, roles, juggler.WithMaxMessageBytes(2<<10), juggler.WithMaxQueueBytes(8<<10), juggler.WithLogger(quiet), quietly)
	return w
}

// waiting has a broker take its time, fail, and lose deliveries.
func (w *keptWorld) waiting(k *historyBroker) *historyBroker {
	nap := func() { time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond) }
	k.read = func(ctx context.Context, r []broker.Read, p []broker.Page) {
		nap()
		k.Broker.ReadKept(ctx, r, p)
		if rand.IntN(10) == 0 {
			p[0] = broker.Page{Err: broker.ErrUnavailable}
		}
		nap()
	}
	k.deliver = func(d []broker.Delivery) (rest []broker.Delivery) {
		nap()
		for _, one := range d {
			if !one.Topic.Pattern && w.miss.Load() > 0 && w.miss.Add(-1) >= 0 {
				one = broker.Delivery{Topic: one.Topic, Gap: true, Pos: one.Pos}
			}
			rest = append(rest, one)
		}
		return rest
	}
	return k
}

func (w *keptWorld) run() {
	var publishers, clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 8))
		clients.Go(func() { (&keptClient{w: w, rng: rng, index: i, slow: i%2 == 0}).act(stop) })
	}
	for _, c := range w.channels {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 9))
		publishers.Go(func() { w.publish(c, rng) })
	}
	publishers.Wait()
	time.Sleep(time.Minute) // who is there has caught up
	close(stop)
	clients.Wait()
	w.srv.WaitSessions(0)
	if s := w.srv.Handler.Stats(); s.Replays != 0 || s.QueuedBytes != 0 {
		w.t.Errorf("in the end there are %d replays, and %d bytes wait", s.Replays, s.QueuedBytes)
	}
}

// publish publishes on a channel, and loses what was.
func (w *keptWorld) publish(c *keptChannel, rng *rand.Rand) {
	for n := range 400 {
		switch rng.IntN(100) {
		case 0:
			w.miss.Store(int32(rng.IntN(3)))
		case 1:
			w.b.LoseKept(kept.Loss{Channel: c.name})
			c.log = nil
		case 2:
			w.lose(c, 1+rng.IntN(3))
		}
		w.publishOne(c)
		if rng.IntN(20) == 0 && n < 390 {
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		}
	}
	w.miss.Store(0)
	time.Sleep(time.Second)
	for range 3 {
		w.publishOne(c)
	}
}

func (w *keptWorld) publishOne(c *keptChannel) {
	n := c.begun.Add(1)
	c.log = append(c.log, n)
	pad := ""
	if n%3 == 0 {
		pad = fmt.Sprintf("%0*d", n%900, 0)
	}
	for w.srv.Handler.Publish(w.t.Context(), c.name, []any{n, pad}, nil) != nil {
		time.Sleep(time.Millisecond) // the node is behind
	}
	c.published.Store(n)
}

// keptClient keeps its positions as docs/protocol.md says.
type keptClient struct {
	w     *keptWorld
	rng   *rand.Rand
	index int
	slow  bool
	conn  *rawClient
	topic [2]keptTopic
}

// keptTopic is what a client knows of a channel.
type keptTopic struct {
	pos       broker.Position
	newest    int64 // event
	known     bool  // newest is just before the next event; otherwise something may be missing, or come again
	asked     bool  // a SUB is out
	recovered bool
	fresh     bool  // the ACK of a SUB without since has come, and no event yet
	atMost    int64 // begun when that came
	signal    bool  // GAP or recovered:false since the newest event
}

// act connects again and again until stop is closed.
func (c *keptClient) act(stop chan struct{}) {
	for {
		conn, err := c.w.srv.Dial(c.w.t.Context())
		if err != nil {
			c.w.t.Error(err)
			return
		}
		upgrade("http://jugglertest/").Write(conn)
		c.conn = &rawClient{conn, bufio.NewReader(conn)}
		c.conn.skipHandshake(c.w.t)
		for i := range c.topic {
			c.subscribe(i)
		}
		lost := make(chan struct{})
		go func() { // ends with the connection
			defer close(lost)
			c.receive()
		}()
		select {
		case <-stop:
			conn.Close()
			<-lost
			c.check()
			return
		case <-lost:
		case <-time.After(c.life(stop)):
		}
		conn.Close()
		<-lost
	}
}

// life is for how long a connection lasts: the last one does not end.
func (c *keptClient) life(stop chan struct{}) time.Duration {
	for _, ch := range c.w.channels {
		if ch.begun.Load() < 380 {
			return time.Duration(c.rng.IntN(800)) * time.Millisecond
		}
	}
	return time.Hour
}

func (c *keptClient) subscribe(i int) {
	t := &c.topic[i]
	f := frame.Frame{Type: frame.Sub, ID: fmt.Append(nil, i), Channel: []byte(c.w.channels[i].name), Since: t.pos, HasSince: !t.pos.IsZero()}
	t.asked, t.recovered = true, f.HasSince
	c.conn.conn.Write(maskedText(string(frame.Juggler1.Append(nil, &f))))
}

func (c *keptClient) receive() {
	var f frame.Frame
	for {
		op, payload, err := c.conn.frame()
		if err != nil || op == ws.OpClose {
			return
		}
		if err := frame.Juggler1.DecodeAnswer(payload, &f); err != nil {
			c.w.t.Errorf("%s: %v", payload, err)
		}
		for i := range c.topic {
			if string(f.For) == fmt.Sprint(i) || string(f.Channel) == c.w.channels[i].name {
				c.take(i, &f, payload)
			}
		}
		if c.slow && rand.IntN(30) == 0 {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		}
	}
}

// take checks a message about a channel.
func (c *keptClient) take(i int, f *frame.Frame, text []byte) {
	t, ch := &c.topic[i], c.w.channels[i]
	switch f.Type {
	case frame.Nack: // the log could not be read
		c.subscribe(i)
	case frame.Ack:
		if (f.Recovery != frame.NoRecovery) != t.recovered || !t.asked {
			c.w.t.Errorf("client %d: %s, since: %v, asked: %v", c.index, text, t.recovered, t.asked)
		}
		t.asked = false
		if f.Recovery != frame.Recovered {
			t.pos, t.known, t.signal = f.Pos, false, f.Recovery == frame.NotRecovered
			t.fresh, t.atMost = true, ch.begun.Load()
		}
	case frame.Gap:
		t.pos, t.known, t.fresh, t.signal = f.Pos, false, false, true
	case frame.Evnt:
		if t.asked {
			c.w.t.Errorf("client %d: %s before the ACK", c.index, text)
		}
		c.event(i, f, text)
	}
}

// event checks the number of an event.
func (c *keptClient) event(i int, f *frame.Frame, text []byte) {
	t, ch := &c.topic[i], c.w.channels[i]
	var n int64
	fmt.Sscanf(string(f.Args), "[%d,", &n)
	switch {
	case t.known && !ch.follows(n, t.newest):
		c.w.t.Errorf("client %d: event %d of %s after %d", c.index, n, f.Channel, t.newest)
	case f.Pos.At <= t.pos.At: // a gap may have gone back
		c.w.t.Errorf("client %d: %s does not come behind %+v", c.index, text, t.pos)
	case t.fresh && n > t.atMost+1 && !ch.follows(n, t.atMost):
		c.w.t.Errorf("client %d: the first event of %s is %d, of %d when the ACK came", c.index, f.Channel, n, t.atMost)
	}
	t.pos, t.newest, t.known, t.fresh, t.signal = f.Pos, n, true, false, false
}

// check checks that the last events have come.
func (c *keptClient) check() {
	for i := range c.topic {
		if n := c.w.channels[i].published.Load(); c.topic[i].newest != n {
			c.w.t.Errorf("client %d: the newest event of %s is %d, of %d", c.index, c.w.channels[i].name, c.topic[i].newest, n)
		}
	}
}
