package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/redissim"
	"github.com/oklog/ulid/v2"
	goredis "github.com/redis/go-redis/v9"
)

const (
	simURIs     = 6
	simChannels = 4
)

// build makes the servers.
func (s *simulation) build() {
	s.world.SetLatency(500 * time.Microsecond)
	s.kind = pick(s.rand, "cluster", "cluster", "sentinel", "server")
	lanes := 1
	switch s.kind {
	case "cluster":
		lanes = pick(s.rand, 3, 6)
		for i := range 3 {
			m := s.newServer()
			s.masters = append(s.masters, m)
			s.world.Assign(i*redissim.Slots/3, (i+1)*redissim.Slots/3-1, m)
		}
	case "sentinel":
		s.masters = append(s.masters, s.newServer())
		for i := range 3 {
			s.sentinels = append(s.sentinels, s.world.Sentinel(fmt.Sprintf("10.0.1.%d:26379", i+1), "main", s.masters[0].Addr))
		}
	default:
		s.masters = append(s.masters, s.newServer())
	}
	s.keys = newKeyspace("juggler", lanes, s.kind == "cluster" && s.rand.IntN(3) == 0)
	s.tell("%s, %d lanes, sharded %v", s.kind, lanes, s.keys.sharded)
}

// broker returns the broker of a process.
func (s *simulation) broker(process string) *Broker {
	dial := s.world.Dialer(process)
	var server Option
	switch s.kind {
	case "cluster":
		server = WithCluster(&goredis.ClusterOptions{Addrs: []string{"10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"}, Dialer: dial})
	case "sentinel":
		server = WithSentinel(&goredis.FailoverOptions{
			MasterName: "main", SentinelAddrs: []string{"10.0.1.1:26379", "10.0.1.2:26379", "10.0.1.3:26379"}, Dialer: dial,
		})
	default:
		server = WithServer(&goredis.Options{Addr: "10.0.0.1:6379", Dialer: dial})
	}
	options := []Option{server, WithLanes(len(s.keys.tags)), WithLogger(s.logger(process))}
	if s.keys.sharded {
		options = append(options, WithShardedPubSub())
	}
	if s.seed%3 == 0 { // on some channels what is missed is read from the log, which may be short
		options = append(options, WithHistory(
			broker.HistoryRule{Channels: simChannel(0), Events: 10, For: time.Hour},
			broker.HistoryRule{Channels: simChannel(1), Events: 1000, For: time.Hour},
		))
	}
	b, err := New(options...)
	if err != nil {
		panic(err)
	}
	return b
}

// open opens two nodes and two callees.
func (s *simulation) open() {
	for i := range 2 {
		s.callees = append(s.callees, s.openCallee(fmt.Sprintf("callee-%d", i+1)))
	}
	for i := range 2 {
		s.nodes = append(s.nodes, s.openNode(fmt.Sprintf("node-%d", i+1)))
	}
}

// A simCallee is a process that answers all URIs. A call says how long it takes.
type simCallee struct {
	name   string
	broker *Broker
	callee *calleekit.Callee
}

// A simArgs is what a call says.
type simArgs struct {
	Number int           `json:"n"`
	Work   time.Duration `json:"w"`
	Parts  int           `json:"p"` // of the answer, if it may have some
}

func (s *simulation) openCallee(name string) *simCallee {
	c := &simCallee{name: name, broker: s.broker(name)}
	var err error
	if c.callee, err = calleekit.New(c.broker, calleekit.WithLogger(s.logger(name))); err != nil {
		panic(err)
	}
	for _, uri := range s.others(name) {
		c.callee.Handle(uri, func(context.Context, *calleekit.Call) (any, error) { return nil, nil })
	}
	for i := range simURIs {
		c.callee.Handle(simURI(i), func(ctx context.Context, call *calleekit.Call) (any, error) {
			var args simArgs
			if err := json.Unmarshal(call.Args, &args); err != nil {
				return nil, err
			}
			number := s.books.attempt(args.Number, call.Attempt())
			s.books.ran(number, name)
			if call.Streaming() {
				for n := range args.Parts {
					if err := call.Send(ctx, n+1); err != nil {
						return nil, err
					}
				}
			}
			t := time.NewTimer(args.Work)
			defer t.Stop()
			select {
			case <-t.C:
				s.books.answered(number, name)
				return number, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	}
	if err := c.callee.Start(s.over); err != nil {
		s.tell("%s cannot start: %v", name, err)
	}
	return c
}

// others returns URIs that a callee answers besides and nobody calls: those who answer
// many in a lane are announced, and wait, in another way. They do in a quarter of the
// seeds, and in half of these each has some of its own.
func (s *simulation) others(callee string) []string {
	if s.seed%4 != 1 {
		return nil
	}
	var uris []string
	for i := range (fewURIs + 8) * len(s.keys.tags) {
		uris = append(uris, fmt.Sprint("other.", i))
		if s.seed%8 == 5 && i%8 == 0 {
			uris = append(uris, fmt.Sprint(callee, i))
		}
	}
	return uris
}

func simURI(i int) string { return fmt.Sprint("uri.", i) }

func simChannel(i int) string { return fmt.Sprint("channel.", i) }

// A simNode calls, publishes and subscribes.
type simNode struct {
	sim    *simulation
	name   string
	id     broker.ID
	broker *Broker
	caller broker.KeyedCallerConn
	subs   []*simSubscriber
	rand   *rand.Rand // of one goroutine

	mu      sync.Mutex // guards the following
	pending map[broker.Address]int
}

func (s *simulation) openNode(name string) *simNode {
	n := &simNode{
		sim: s, name: name, broker: s.broker(name), pending: map[broker.Address]int{},
		rand: rand.New(rand.NewPCG(s.seed, uint64(len(s.nodes)+10))),
	}
	// The schedule says in which lane its results are.
	for lane := s.rand.IntN(len(s.keys.tags)); ; {
		n.id = broker.ID(ulid.Make())
		if s.keys.laneOfNode(n.id) == lane {
			break
		}
	}
	var err error
	if n.caller, err = n.broker.OpenKeyedCaller(s.over, n.id, n.deliver, n.deliverParts, n.hint); err != nil {
		panic(err)
	}
	s.tell("%s is in lane %d", name, s.keys.laneOfNode(n.id))
	for i := range 2 {
		n.subs = append(n.subs, s.openSubscriber(fmt.Sprintf("%s/%d", name, i+1), n.broker))
	}
	return n
}

func (n *simNode) deliver(results []broker.Result) {
	for _, r := range results {
		n.mu.Lock()
		number, known := n.pending[r.To]
		n.mu.Unlock()
		if known {
			n.sim.books.outcome(number, r)
		}
	}
}

// play lets nodes make calls, publish, and subscribe.
func (s *simulation) play() {
	for i := range simChannels {
		for _, n := range s.nodes {
			n.subs[0].subscribe(s.over, broker.Topic{Name: simChannel(i)})
		}
	}
	for i, n := range s.nodes {
		for worker := range 3 {
			r := rand.New(rand.NewPCG(s.seed, uint64(100+10*i+worker)))
			s.load.Go(func() {
				for s.over.Err() == nil {
					s.pause(between(r, 10*time.Millisecond, 900*time.Millisecond))
					uri := simURI(r.IntN(simURIs))
					timeout := pick(r, 2*time.Second, 5*time.Second, 25*time.Second)
					work := pick(r, 0, 0, 20*time.Millisecond, time.Second, 4*time.Second)
					if r.IntN(8) == 0 {
						other, again := s.nodes[r.IntN(len(s.nodes))], r.IntN(2) == 0
						s.load.Go(func() { n.callKeyed(other, uri, timeout, min(work, timeout/2), again) })
						continue
					}
					parts := pick(r, 0, 0, 0, 0, 0, 0, 0, 12)
					s.load.Go(func() { n.call(uri, timeout, min(work, timeout/2), parts) })
				}
			})
		}
		r := rand.New(rand.NewPCG(s.seed, uint64(200+i)))
		s.load.Go(func() { n.wander(r) })
	}
	for i := range simChannels {
		n := s.nodes[i%len(s.nodes)]
		r := rand.New(rand.NewPCG(s.seed, uint64(300+i)))
		s.load.Go(func() {
			for s.over.Err() == nil {
				s.pause(between(r, 10*time.Millisecond, 500*time.Millisecond))
				n.publish(i)
			}
		})
	}
}

// wander has the second subscriber subscribe and unsubscribe.
func (n *simNode) wander(r *rand.Rand) {
	for n.sim.over.Err() == nil {
		topic := broker.Topic{Name: simChannel(r.IntN(simChannels))}
		if !n.sim.keys.sharded && r.IntN(4) == 0 {
			topic = broker.Topic{Name: "channel.*", Pattern: true}
		}
		n.subs[1].subscribe(n.sim.over, topic)
		n.sim.pause(between(r, 100*time.Millisecond, 5*time.Second))
		n.subs[1].unsubscribe(topic)
		n.sim.pause(between(r, 100*time.Millisecond, 2*time.Second))
	}
}

// call makes a call and waits until its time is over or its outcome is there.
func (n *simNode) call(uri string, timeout, work time.Duration, parts int) *simCall {
	c := n.sim.books.call(n, uri, timeout, work, parts)
	to := broker.Address{Node: n.id}
	copy(to.Ref[:], fmt.Sprintf("%016d", c.number))
	n.mu.Lock()
	n.pending[to] = c.number
	n.mu.Unlock()
	args, _ := json.Marshal(simArgs{c.number, work, parts})
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := n.caller.Call(ctx, &broker.Call{URI: uri, ReplyTo: to, Timeout: timeout, Window: n.window(c), Args: args})
	n.sim.books.called(c, err)
	if err == nil {
		n.await(c, to)
	}
	return c
}

// await waits for the outcome of a call, with all parts that came before, or until its time
// is over. It grants more parts, and what it has granted before once more.
func (n *simNode) await(c *simCall, to broker.Address) {
	over := time.NewTimer(time.Until(c.began.Add(c.timeout)))
	defer over.Stop()
	var more <-chan time.Time // never
	if c.parts > 0 {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		more = ticker.C
	}
	for {
		select {
		case <-c.done:
			return
		case <-over.C:
			n.sim.books.expired(c)
			return
		case <-more:
			if from := n.sim.books.sender(c); from != (broker.ID{}) {
				n.caller.Grant(context.Background(), []broker.Grant{{To: to, Callee: from, Window: n.window(c)}}) //nolint:errcheck // tried again
			}
		}
	}
}

// window returns how much of an answer the node takes now.
func (n *simNode) window(c *simCall) broker.Window {
	if c.parts == 0 {
		return broker.Window{}
	}
	return broker.Window{Parts: n.sim.books.came(c) + simWindow, Bytes: 1 << 20}
}

func (n *simNode) deliverParts(parts []broker.Part) {
	for _, p := range parts {
		n.mu.Lock()
		number, known := n.pending[p.To]
		n.mu.Unlock()
		if known {
			n.sim.books.part(number, p)
		}
	}
}

func (n *simNode) publish(channel int) error {
	serial := n.sim.books.publish(channel)
	err := n.broker.Publish(context.Background(), &broker.Event{
		ID: broker.ID(ulid.Make()), Channel: simChannel(channel), Args: strconv.AppendInt(nil, int64(serial), 10),
	})
	n.sim.books.published(channel, serial, err)
	return err
}

// settle waits until the system should be well again, and tries it.
func (s *simulation) settle() {
	time.Sleep(simRecovery)
	s.tell("all should be well")
	s.books.allWell = time.Now()
	var all sync.WaitGroup
	for _, n := range s.nodes {
		for i := range simURIs {
			all.Go(func() { n.call(simURI(i), 5*time.Second, 0, i) })
			all.Go(func() { n.callKeyed(s.nodes[0], simURI(i), 5*time.Second, 0, true) })
		}
	}
	for i := range simChannels {
		all.Go(func() {
			if err := s.nodes[i%len(s.nodes)].publish(i); err != nil {
				s.books.violated("in the end nothing is published on channel %d: %v", i, err)
			}
		})
	}
	all.Wait()
	s.followAll()
	time.Sleep(2 * time.Second)
	for _, n := range s.nodes {
		for _, sub := range n.subs {
			sub.finish()
		}
	}
}

func (s *simulation) close() {
	s.world.Heal()
	for _, c := range append(s.callees, s.dead...) {
		c.callee.Close()
		c.broker.Close() //nolint:errcheck // never fails
	}
	for _, n := range s.nodes {
		n.broker.Close() //nolint:errcheck // never fails
	}
	s.world.Close()
	time.Sleep(time.Minute) // go-redis may still be dialling
}
