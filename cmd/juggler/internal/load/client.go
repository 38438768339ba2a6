package load

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
	"github.com/juggler-go/juggler/frame"
)

// A client is one connection, and the one that comes in its place when it is
// lost.
type client struct {
	run     *run
	index   int
	channel string
	ready   chan struct{} // closed when it is connected, and subscribed

	mu       sync.Mutex
	socket   *socket // nil while there is none
	requests requests
	known    bool   // ready is closed
	scratch  []byte // for args and messages
	message  []byte
	pubs     uint64 // publications begun: the number of the last
	acked    uint64 // of those, how many were confirmed
	peers    map[int]*peer
	recovery recovery
	gapped   bool // a connection was lost for good, or GAP came: events may be missing rightly
}

func newClient(r *run, index int) *client {
	c := &client{run: r, index: index, ready: make(chan struct{}), requests: newRequests(r.config.InFlight), peers: make(map[int]*peer)}
	if r.config.Publish > 0 {
		c.channel = fmt.Sprintf("load.%s.%d", r.name, index%r.config.Channels)
	}
	return c
}

// Bounds of the pause before a client connects anew, half of it more or less.
const (
	minPause = 50 * time.Millisecond
	maxPause = 2 * time.Second
)

// serve keeps the client connected until ctx ends. The first attempt must
// succeed. Pauses grow until a connection holds: a server that closes each one
// at once must not be measured under a storm of handshakes.
func (c *client) serve(ctx context.Context, fail func(error)) {
	pause := minPause
	for first := true; ctx.Err() == nil; first = false {
		began := time.Now()
		s, err := dial(ctx, &c.run.config, &c.run.traffic)
		connected := err == nil
		if connected {
			err = c.attend(ctx, s)
		}
		switch {
		case ctx.Err() != nil:
			return
		case connected:
			c.lost(err, s.dropped())
		case first:
			fail(fmt.Errorf("connect to %s: %w", redact.URL(c.run.config.URL), err))
			return
		default:
			c.run.record.failedConnect()
		}
		if connected && (s.dropped() || time.Since(began) > maxPause) {
			pause = minPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, maxPause)
	}
}

// attend reads a socket until it ends.
func (c *client) attend(ctx context.Context, s *socket) error {
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	defer s.close()
	defer c.dropLater(s)()
	c.mu.Lock()
	c.socket = s
	if c.channel == "" {
		c.connected()
	} else {
		c.write(c.recovery.subscribe(c.channel, c.run.now()), kindSub, 0)
	}
	c.mu.Unlock()
	var f frame.Frame
	for {
		message, err := s.read()
		if err != nil {
			return err
		}
		if err := c.run.config.Protocol.DecodeAnswer(message, &f); err != nil {
			return fmt.Errorf("not a message of juggler: %w", err)
		}
		c.handle(&f)
	}
}

// connected takes note of a connection that is ready.
func (c *client) connected() {
	if !c.known {
		c.known = true
		close(c.ready)
	}
	c.begin()
}

// begin starts the requests if all clients are ready: from then on each event
// has to reach each of its subscribers. In the closed loop it fills the slots.
func (c *client) begin() {
	if !c.run.sending() {
		return
	}
	if c.run.config.Rate > 0 {
		c.sendQueued()
		return
	}
	for c.socket != nil && len(c.requests.free) > 0 {
		c.send(c.run.now())
	}
}

// request sends one request that is due, or queues it.
func (c *client) request(due int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket == nil || len(c.requests.free) == 0 {
		c.requests.queue = append(c.requests.queue, due)
		return
	}
	c.send(due)
}

func (c *client) sendQueued() {
	for len(c.requests.queue) > 0 && len(c.requests.free) > 0 && c.socket != nil {
		c.send(c.requests.queue[0])
		c.requests.queue = c.requests.queue[1:]
	}
}

// send sends one request, for which there is a slot.
func (c *client) send(due int64) {
	config := &c.run.config
	f := frame.Frame{Type: frame.Call, URI: []byte(config.URI), Timeout: config.Timeout, Args: config.Args}
	if config.Stream > 0 {
		f.Parts = window
	}
	kind := kindCall
	if config.Publish > 0 && rand.Float64() < config.Publish {
		kind = kindPub
		f = frame.Frame{Type: frame.Pub, Channel: []byte(c.channel)}
	}
	q := c.requests.begin(kind, due)
	number := q.seq
	if kind == kindPub {
		c.pubs++
		number = c.pubs
	}
	if kind == kindPub || config.Args == nil {
		c.scratch = appendArgs(c.scratch[:0], c.index, number, due, config.Payload)
		f.Args = c.scratch
	}
	c.write(&f, kind, q.seq)
	c.run.record.sent(c.index, kind, c.run.now()-due)
}

func (c *client) write(f *frame.Frame, kind byte, seq uint64) {
	var id [64]byte
	f.ID = appendID(id[:0], c.run.config.Protocol, kind, seq)
	c.message = c.run.config.Protocol.Append(c.message[:0], f)
	c.socket.send(c.message)
}

// handle handles one message of the server.
func (c *client) handle(f *frame.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Type {
	case frame.Ping:
		c.socket.send([]byte(`{"type":"PONG"}`))
	case frame.Evnt:
		c.event(f)
	case frame.Gap:
		c.gap(f)
	case frame.Part:
		c.part(f)
	case frame.Ack, frame.Nack, frame.Res:
		kind, seq, ok := parseID(f.For, c.run.config.Protocol)
		if !ok {
			c.run.record.unexpected(c.index)
			return
		}
		if kind == kindSub {
			c.subscribed(f)
			return
		}
		c.outcome(f, kind, seq)
	}
}

func (c *client) subscribed(f *frame.Frame) {
	if f.Type == frame.Nack {
		c.run.fail(fmt.Errorf("the server refused to subscribe: %d %s", f.Err.Code, f.Err.Message))
		return
	}
	c.confirmed(f)
	c.connected()
}

// outcome takes note of an answer to a request.
func (c *client) outcome(f *frame.Frame, kind byte, seq uint64) {
	q := c.requests.find(kind, seq)
	if q == nil || f.Type == frame.Ack && q.acked {
		c.run.record.unexpected(c.index)
		return
	}
	if f.Type == frame.Ack && kind == kindCall {
		q.acked = true
		return
	}
	code := f.Err.Code
	switch {
	case kind == kindPub && f.Type == frame.Ack:
		c.acked++
	case kind == kindCall && f.Type == frame.Res && code == 0:
		code = c.check(f, q)
	}
	c.run.record.outcome(c.index, kind, q.due, c.run.now(), code)
	c.requests.end(q)
	if c.run.config.Rate > 0 {
		c.sendQueued()
	} else if c.run.sending() {
		c.send(c.run.now())
	}
}

// Codes of our own beside those of the protocol.
const (
	codeWrong  = -1 // the result is not what was sent
	codeError0 = -2 // an error of a callee in juggler.0, which has no codes
	codeParts  = -3 // the result came before all parts
)

// check compares a result with what was sent.
func (c *client) check(f *frame.Frame, q *request) int {
	if c.run.config.Protocol == frame.Juggler0 && bytes.HasPrefix(f.Args, []byte(`{"error":{"message":`)) {
		return codeError0
	}
	if q.parts != c.run.config.Stream {
		return codeParts
	}
	if !c.run.config.Echo {
		return 0
	}
	want := []byte(c.run.config.Args)
	if want == nil {
		c.scratch = appendArgs(c.scratch[:0], c.index, q.seq, q.due, c.run.config.Payload)
		want = c.scratch
	}
	if !bytes.Equal(bytes.TrimSpace(f.Args), want) {
		return codeWrong
	}
	return 0
}

func (c *client) event(f *frame.Frame) {
	defer c.reached(f.Pos)
	from, n, due, ok := parseArgs(f.Args)
	if !ok {
		c.run.record.unexpected(c.index)
		return
	}
	p := c.peers[from]
	if p == nil {
		p = &peer{}
		if c.gapped {
			p.last = n - 1
		}
		c.peers[from] = p
	}
	p.arrive(n)
	c.run.record.event(c.index, due, c.run.now())
}

// lost takes note of the end of a connection: what was sent on it may have been
// done or not. It was dropped by us or not.
func (c *client) lost(err error, dropped bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.socket = nil
	if c.recovery.pos.IsZero() {
		c.gapped = true
	}
	unknown := 0
	for i := range c.requests.slots {
		if q := &c.requests.slots[i]; q.active {
			c.requests.end(q)
			unknown++
		}
	}
	c.run.record.lostConnection(unknown, err, dropped)
}
