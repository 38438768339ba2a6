package juggler_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/jugglertest"
)

// TestPromises runs random interleavings of calls, cancellations, expiries,
// subscriptions, publications, broken connections, outages and callees that
// come and go, and checks what docs/protocol.md promises to each client:
// exactly one ACK or NACK before anything else, exactly one outcome, events
// complete and in order, nothing left.
func TestPromises(t *testing.T) {
	plain := juggler.WithAuthorizer(juggler.AuthorizerFunc(func(context.Context, *juggler.Request) error {
		time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
		return nil
	}))
	middleware := juggler.WithNonBlockingMiddleware(func(context.Context, *juggler.Request) (func(error) error, error) {
		return func(err error) error { return err }, nil
	})
	for _, way := range []struct {
		name  string
		roles func(*memory.Broker) jugglertest.Roles
		opts  []juggler.Option
	}{
		{"inline", itself, nil},
		{"inline, middleware", itself, []juggler.Option{middleware}},
		{"queued", itself, []juggler.Option{plain}},
		{"broker that waits", mayWait, nil},
		{"broker that waits and takes batches", waitingInBatches, nil},
		{"broker that waits and takes batches, middleware", waitingInBatches, []juggler.Option{middleware}},
		{"broker that waits and takes batches, queued, middleware", waitingInBatches, []juggler.Option{plain, middleware}},
	} {
		t.Run(way.name, func(t *testing.T) {
			for seed := range uint64(25) {
				synctest.Test(t, func(t *testing.T) { runWorld(t, seed, way.roles, way.opts...) })
			}
		})
	}
}

// mayWait returns b as a broker that may wait.
func mayWait(b *memory.Broker) jugglertest.Roles { return plainRoles(b).join() }

// waitingInBatches returns b as a broker that does wait, and takes calls in
// batches, like one on a network.
func waitingInBatches(b *memory.Broker) jugglertest.Roles {
	plain := plainRoles(b)
	plain.Caller = batchCaller{b}
	return plain.join()
}

type roles brokertest.Roles

func plainRoles(b *memory.Broker) roles {
	return roles(brokertest.Plain(brokertest.Roles{Caller: b, Callee: b, PubSub: b}))
}

func (r roles) join() jugglertest.Roles {
	return struct {
		brokerCaller
		brokerCallee
		brokerPubSub
	}{r.Caller, r.Callee, r.PubSub}
}

type batchCaller struct{ broker.Caller }

func (c batchCaller) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	conn, err := c.Caller.OpenCaller(ctx, node, deliver)
	return batchCallerConn{conn}, err
}

type batchCallerConn struct{ broker.CallerConn }

func (c batchCallerConn) CallBatch(ctx context.Context, calls []broker.Call, errs []error) {
	time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
	c.CallerConn.(broker.BatchCaller).CallBatch(ctx, calls, errs)
	time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond) // results may overtake
}

// world is one random run.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	srv   *jugglertest.Server
	clock atomic.Int64 // logical time: counts what clients send and receive

	mu        sync.Mutex // guards published
	published []publication
}

// publication is a PUB that was acknowledged.
type publication struct {
	channel      string
	publisher, n int
	sent, acked  int64 // logical times
}

var worldURIs = []string{"echo", "slow", "stuck", "fails", "panics", "nobody"}
var worldChannels = []string{"a.1", "a.2", "b"}
var worldTopics = []string{"a.1", "a.2", "b", "a.*", "*"} // the last two are patterns

func runWorld(t *testing.T, seed uint64, roles func(*memory.Broker) jugglertest.Roles, opts ...juggler.Option) {
	b, err := memory.New(memory.WithQueueCapacity(8))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1))}
	w.srv = jugglertest.NewOn(t, roles(b), append(opts, juggler.WithCallTimeout(2*time.Second), juggler.WithLogger(quiet))...)
	var clients sync.WaitGroup
	var peers []*peer
	for i := range 6 {
		p := w.connect(i)
		peers = append(peers, p)
		clients.Go(p.act)
	}
	callees := make(chan struct{})
	go w.callees(callees)
	clients.Wait()
	close(callees)
	time.Sleep(time.Minute) // every call has its outcome now
	for _, p := range peers {
		p.check()
		p.conn.Close()
	}
	w.srv.WaitSessions(0)
	w.srv.WaitSubscriptions(0)
}

// callees come and go, with calls in their hands.
func (w *world) callees(stop chan struct{}) {
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 2))
	for {
		c := w.srv.NewCallee(calleekit.WithConcurrency(2), calleekit.WithLogger(quiet))
		c.Handle("echo", echo)
		c.Handle("stuck", wait)
		c.Handle("slow", func(ctx context.Context, c *calleeCall) (any, error) {
			time.Sleep(time.Duration(c.Args[0]-'0') * 100 * time.Millisecond)
			return c.Args, nil
		})
		c.Handle("fails", func(context.Context, *calleeCall) (any, error) { return nil, errors.New("as it should") })
		c.Handle("panics", func(context.Context, *calleeCall) (any, error) { panic("as it should") })
		if err := c.Start(context.Background()); err != nil {
			w.t.Error(err)
			return
		}
		select {
		case <-stop:
			c.Close()
			return
		case <-time.After(time.Duration(rng.IntN(3000)) * time.Millisecond):
			c.Close()
		}
	}
}

// peer is a client that remembers what it sent and checks what it gets.
type peer struct {
	w     *world
	index int
	rng   *rand.Rand
	conn  net.Conn

	mu       sync.Mutex // guards the following
	requests map[string]*request
	topics   map[string]*topicState
	lost     bool // this side broke the connection
}

// request is what became of one request.
type request struct {
	frame    frame.Frame
	pub      publication
	answered bool // ACK or NACK
	acked    bool
	outcomes int
}

// topicState is what was received for a topic while subscribed.
type topicState struct {
	since int64           // logical time of the SUB's ACK; 0: not subscribed
	until int64           // of the UNSB
	seen  map[[2]int]bool // publisher and number
	last  map[string]int  // publisher and channel
}

// connect does the handshake.
func (w *world) connect(index int) *peer {
	conn, err := w.srv.Dial(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	p := &peer{w: w, index: index, conn: conn, rng: rand.New(rand.NewPCG(w.rng.Uint64(), 3)),
		requests: make(map[string]*request), topics: make(map[string]*topicState)}
	upgrade("http://jugglertest/").Write(conn)
	c := &rawClient{conn, bufio.NewReader(conn)}
	c.skipHandshake(w.t)
	go p.receive(c) // ends with the connection
	return p
}

// act sends random requests.
func (p *peer) act() {
	for n := range 60 {
		id := fmt.Sprint("r", n)
		topic := worldTopics[p.rng.IntN(len(worldTopics))]
		switch p.rng.IntN(12) {
		case 0, 1, 2, 3:
			f := frame.Frame{Type: frame.Call, ID: []byte(id), Args: []byte(fmt.Sprint(p.rng.IntN(10))),
				URI: []byte(worldURIs[p.rng.IntN(len(worldURIs))])}
			if p.rng.IntN(2) == 0 {
				f.Timeout = time.Duration(1+p.rng.IntN(1000)) * time.Millisecond
			}
			p.send(&request{frame: f})
		case 4:
			p.send(&request{frame: frame.Frame{Type: frame.Cancel, For: fmt.Append(nil, "r", p.rng.IntN(n+1))}})
		case 5, 6:
			p.send(&request{frame: frame.Frame{Type: frame.Sub, ID: []byte(id), Channel: []byte(topic), Pattern: strings.Contains(topic, "*")}})
		case 7:
			time.Sleep(10 * time.Millisecond) // what was published before is delivered
			p.send(&request{frame: frame.Frame{Type: frame.Unsb, ID: []byte(id), Channel: []byte(topic), Pattern: strings.Contains(topic, "*")}})
			time.Sleep(10 * time.Millisecond)
		case 8, 9, 10:
			pub := publication{channel: worldChannels[p.rng.IntN(len(worldChannels))], publisher: p.index, n: n}
			f := frame.Frame{Type: frame.Pub, ID: []byte(id), Channel: []byte(pub.channel), Args: fmt.Appendf(nil, "[%d,%d]", p.index, n)}
			p.send(&request{frame: f, pub: pub})
		case 11:
			time.Sleep(time.Duration(p.rng.IntN(300)) * time.Millisecond)
			if p.rng.IntN(12) == 0 {
				p.mu.Lock()
				p.lost = true
				p.mu.Unlock()
				p.conn.Close() // with calls and subscriptions
				return
			}
		}
		if p.rng.IntN(3) == 0 {
			time.Sleep(time.Duration(p.rng.IntN(20)) * time.Millisecond)
		}
	}
}

// send remembers and sends a request.
func (p *peer) send(r *request) {
	p.mu.Lock()
	now := p.w.clock.Add(1)
	r.pub.sent = now
	if id := string(r.frame.ID); id != "" {
		p.requests[id] = r
	}
	if r.frame.Type == frame.Unsb {
		if ts := p.topics[string(r.frame.Channel)]; ts != nil && ts.until == 0 {
			ts.until = now
		}
	}
	p.mu.Unlock()
	p.write(&r.frame)
}

func (p *peer) write(f *frame.Frame) {
	text := frame.Juggler1.Append(nil, f)
	p.conn.Write(maskedText(string(text))) // a lost connection shows below
}

// receive checks what comes.
func (p *peer) receive(c *rawClient) {
	var f frame.Frame
	for {
		op, payload, err := c.frame()
		if err != nil {
			return
		}
		if op == ws.OpClose {
			code, reason := ws.ParseCloseFrameData(payload)
			p.fail("closed by the server: %d %s", code, reason)
			return
		}
		if err := frame.Juggler1.DecodeAnswer(payload, &f); err != nil {
			p.fail("cannot decode: %v", err)
			return
		}
		p.mu.Lock()
		p.take(&f)
		p.mu.Unlock()
	}
}

func (p *peer) fail(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lost {
		p.w.t.Errorf("client %d: %s", p.index, fmt.Sprintf(format, args...))
	}
}

// take checks one message; p.mu is held.
func (p *peer) take(f *frame.Frame) {
	now := p.w.clock.Add(1)
	r := p.requests[string(f.For)]
	complain := func(format string, args ...any) {
		p.w.t.Errorf("client %d: %v for %q: %s", p.index, f.Type, f.For, fmt.Sprintf(format, args...))
	}
	switch f.Type {
	case frame.Ack, frame.Nack:
		if r == nil || r.answered {
			complain("answers nothing that waits for it")
			return
		}
		r.answered, r.acked = true, f.Type == frame.Ack
		if r.acked {
			p.acknowledged(r, now)
		}
	case frame.Res:
		if r == nil || r.frame.Type != frame.Call || !r.acked {
			complain("before the ACK")
			return
		}
		if r.outcomes++; r.outcomes > 1 {
			complain("a second outcome")
		}
	case frame.Evnt:
		p.event(f, complain)
	case frame.Ping:
		p.write(&frame.Frame{Type: frame.Pong})
	}
}

// acknowledged follows subscriptions and publications.
func (p *peer) acknowledged(r *request, now int64) {
	name := string(r.frame.Channel)
	switch r.frame.Type {
	case frame.Sub:
		if ts := p.topics[name]; ts == nil || ts.until != 0 {
			p.topics[name] = &topicState{since: now, seen: make(map[[2]int]bool), last: make(map[string]int)}
		}
	case frame.Unsb:
		if ts := p.topics[name]; ts != nil {
			p.complete(name, ts)
		}
		delete(p.topics, name)
	case frame.Pub:
		r.pub.acked = now
		p.w.mu.Lock()
		p.w.published = append(p.w.published, r.pub)
		p.w.mu.Unlock()
	}
}

// event checks the order of an EVNT, and that a publisher's own follows its ACK.
func (p *peer) event(f *frame.Frame, complain func(string, ...any)) {
	var args [2]int
	if err := json.Unmarshal(f.Args, &args); err != nil {
		complain("args %s: %v", f.Args, err)
		return
	}
	name := string(f.Channel)
	if len(f.Matched) > 0 {
		name = string(f.Matched)
	}
	if args[0] == p.index {
		if own := p.requests[fmt.Sprint("r", args[1])]; own == nil || !own.acked {
			complain("own publication %v before its ACK", args)
		}
	}
	ts := p.topics[name]
	if ts == nil {
		return // between SUB and its ACK, or UNSB and its ACK
	}
	from := fmt.Sprint(args[0], " ", string(f.Channel))
	if last, ok := ts.last[from]; ok && args[1] <= last {
		complain("publication %d of %s after %d", args[1], from, last)
	}
	ts.last[from] = args[1]
	ts.seen[args] = true
}

// complete checks that nothing was missed while name was subscribed.
func (p *peer) complete(name string, ts *topicState) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, pub := range p.w.published {
		if pub.sent > ts.since && (ts.until == 0 || pub.acked < ts.until) && matches(name, pub.channel) && !ts.seen[[2]int{pub.publisher, pub.n}] {
			p.w.t.Errorf("client %d: missed publication %d of %d on %s through %s", p.index, pub.n, pub.publisher, pub.channel, name)
		}
	}
}

// matches knows the patterns of worldTopics.
func matches(topic, channel string) bool {
	return topic == channel || topic == "*" || topic == "a.*" && channel[0] == 'a'
}

// check is called when everything has had its time.
func (p *peer) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost {
		return
	}
	for id, r := range p.requests {
		switch {
		case !r.answered:
			p.w.t.Errorf("client %d: %v %q was not answered", p.index, r.frame.Type, id)
		case r.acked && r.frame.Type == frame.Call && r.outcomes != 1:
			p.w.t.Errorf("client %d: CALL %q of %s has %d outcomes", p.index, id, r.frame.URI, r.outcomes)
		}
	}
	for name, ts := range p.topics {
		p.complete(name, ts)
	}
}
