// Package redissim is a Redis for tests that fails as told, in memory: it runs
// in a bubble of testing/synctest, where a minute costs what happens in it.
// A World holds servers, alone, with sentinels or as a cluster, and the network
// between them and the processes that use them. It runs real Lua scripts; of
// the commands it has those that the broker sends, and some more.
package redissim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// A World is servers and a network. Its methods, and those of its servers, may
// be called concurrently.
type World struct {
	mu      sync.Mutex // guards the following, and the state of servers and sessions
	rand    *rand.Rand
	servers map[string]*Server // by address
	links   []*link            // that are open
	rules   map[way]rule
	latency time.Duration
	slots   slotMap // as the majority of a cluster has it
	lua     *lua.LState
	running *run            // the script that runs
	strange map[string]bool // commands that the fake does not know
	closed  bool

	reading sync.WaitGroup // goroutines of sessions
}

// New returns a world without servers. Close must be called at the end.
func New(seed uint64) *World {
	w := &World{
		rand:    rand.New(rand.NewPCG(seed, 1)),
		servers: map[string]*Server{},
		rules:   map[way]rule{},
		strange: map[string]bool{},
	}
	w.lua = w.newState()
	return w
}

// SetLatency sets how long a packet takes at most on a network that is well. At
// first it takes no time.
func (w *World) SetLatency(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latency = d
}

// Close ends all connections.
func (w *World) Close() {
	w.mu.Lock()
	w.closed = true
	links := slices.Clone(w.links)
	w.mu.Unlock()
	for _, l := range links {
		l.reset()
	}
	w.reading.Wait()
	w.lua.Close()
}

// Strange returns the commands that were sent and that the fake does not know.
func (w *World) Strange() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.strange))
}

// A way leads from a process to a server, or from all ("") or to all.
type way struct{ process, addr string }

// covers reports whether p means the way from a process to a server.
func (p way) covers(process, addr string) bool {
	return (p.process == "" || p.process == process) && (p.addr == "" || p.addr == addr)
}

// A rule is what a way does to what is new on it.
type rule struct {
	refuses bool          // connections
	holds   bool          // all: packets get lost, and are sent again
	delay   time.Duration // of each packet, one way
}

// rule returns what holds for the way from a process to a server. mu is held.
func (w *World) rule(process, addr string) (sum rule) {
	for p, r := range w.rules {
		if p.covers(process, addr) {
			sum.refuses = sum.refuses || r.refuses
			sum.holds = sum.holds || r.holds
			sum.delay = max(sum.delay, r.delay)
		}
	}
	return sum
}

// A link is a connection between a process and a server.
type link struct {
	way
	client, server *conn
	session        *session
	losing         bool // the next reply, and the connection with it
}

func (l *link) reset() {
	l.client.reset()
	l.server.reset()
}

// Dialer returns how a process connects: for the options of go-redis.
func (w *World) Dialer(process string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		if err := w.await(ctx, process, addr); err != nil {
			return nil, err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		s, r := w.servers[addr], w.rule(process, addr)
		switch {
		case s == nil, s.down, r.refuses, w.closed:
			return nil, &net.OpError{Op: "dial", Net: "memory", Addr: Addr(addr), Err: syscall.ECONNREFUSED}
		}
		return w.connect(s, process).client, nil
	}
}

// await waits while nothing arrives, as long as a system tries to connect.
func (w *World) await(ctx context.Context, process, addr string) error {
	for tries := 0; ; tries++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.mu.Lock()
		holds := w.rule(process, addr).holds
		w.mu.Unlock()
		if !holds {
			return nil
		}
		if tries == 10 {
			return &net.OpError{Op: "dial", Net: "memory", Addr: Addr(addr), Err: syscall.ETIMEDOUT}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// connect makes a connection. mu is held.
func (w *World) connect(s *Server, process string) *link {
	up, down := newWire(), newWire()
	l := &link{way: way{process, s.Addr}}
	random := rand.New(rand.NewPCG(w.rand.Uint64(), 2))
	delay := func() time.Duration {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.delayOf(l, random)
	}
	l.client = &conn{in: down, out: up, delay: delay, peer: Addr(s.Addr)}
	l.server = &conn{in: up, out: down, peer: Addr(process)}
	l.session = &session{server: s, link: l}
	// The server writes with mu held.
	l.server.delay = func() time.Duration { return w.delayOf(l, random) }
	w.links = append(w.links, l)
	s.sessions = append(s.sessions, l.session)
	w.reading.Go(l.session.read)
	return l
}

// delayOf returns how long a packet takes. mu is held.
func (w *World) delayOf(l *link, random *rand.Rand) time.Duration {
	d := w.rule(l.process, l.addr).delay
	return d/2 + time.Duration(random.Int64N(int64(d/2+w.latency)+1))
}

// A fault of the network is between a process and a server; "" means each.

// Refuse has connections be refused, or accepted again.
func (w *World) Refuse(process, addr string, on bool) {
	w.change(process, addr, func(r *rule) { r.refuses = on })
}

// Delay has packets take longer: up to d, one way.
func (w *World) Delay(process, addr string, d time.Duration) {
	w.change(process, addr, func(r *rule) { r.delay = d })
}

// Hold has nothing arrive, and none connect, until it is called with false:
// then what was sent meanwhile arrives.
func (w *World) Hold(process, addr string, on bool) {
	w.change(process, addr, func(r *rule) { r.holds = on })
	for _, l := range w.linksOn(process, addr) {
		l.client.in.hold(on)
		l.server.in.hold(on)
	}
}

// Swallow has nothing arrive any more on the connections that there are now:
// a firewall forgot them. New ones work.
func (w *World) Swallow(process, addr string) {
	for _, l := range w.linksOn(process, addr) {
		l.client.in.swallow()
		l.server.in.swallow()
	}
}

// Cut ends the connections that there are now.
func (w *World) Cut(process, addr string) {
	for _, l := range w.linksOn(process, addr) {
		l.reset()
	}
}

// LoseReplies ends each connection that there is now when the server next
// replies on it: what was asked is done, and the reply is lost.
func (w *World) LoseReplies(process, addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.links {
		if (way{process, addr}).covers(l.process, l.addr) {
			l.losing = true
		}
	}
}

func (w *World) change(process, addr string, f func(*rule)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := way{process, addr}
	r := w.rules[p]
	f(&r)
	if w.rules[p] = r; r == (rule{}) {
		delete(w.rules, p)
	}
}

func (w *World) linksOn(process, addr string) (links []*link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.links {
		if (way{process, addr}).covers(l.process, l.addr) {
			links = append(links, l)
		}
	}
	return links
}

// Connections returns how many connections a process has, by server.
func (w *World) Connections(process string) map[string]int {
	n := map[string]int{}
	for _, l := range w.linksOn(process, "") {
		n[l.addr]++
	}
	return n
}

// Server adds a server, a master with nothing in it. As part of a cluster it
// gets its slots from Assign.
func (w *World) Server(addr string) *Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.servers[addr] != nil {
		panic(fmt.Sprintf("redissim: there is a server at %s", addr))
	}
	s := &Server{Addr: addr, world: w, store: store{}, scripts: map[string]string{}, buses: map[*Server]*bus{}}
	s.runID = s.newRunID()
	w.servers[addr] = s
	return s
}

// Heal ends all faults of the network.
func (w *World) Heal() {
	w.mu.Lock()
	w.rules = map[way]rule{}
	links := slices.Clone(w.links)
	w.mu.Unlock()
	for _, l := range links {
		l.client.in.hold(false)
		l.server.in.hold(false)
	}
}
