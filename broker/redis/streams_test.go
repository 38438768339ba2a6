package redis_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/oklog/ulid/v2"
)

// streams are calls whose answers come in parts, on a node and a callee that do with windows
// what a server and a calleekit do, and that keep book.
type streams struct {
	t      testing.TB
	node   broker.ID
	caller broker.StreamCallerConn
	callee broker.StreamCalleeConn
	parts  uint32 // of each answer
	size   int    // of each part, at least
	same   []byte // the arguments of all parts, if not nil

	mu      sync.Mutex // guards the following
	calls   map[broker.Address]*streamed
	sending map[broker.Address]*streamWindow
	over    map[broker.Address]int // cancelled at the callee
	hold    chan struct{}          // not nil: who delivers parts waits for it

	full, unavailable, unknown, twice atomic.Int64

	serial   atomic.Uint64
	granting chan struct{} // has an element when there may be more to grant
	stop     chan struct{}
	running  sync.WaitGroup
}

// streamed is what a node knows of a call.
type streamed struct {
	got     broker.Window // so much came, in order
	granted broker.Window
	known   broker.Window // by the callee
	from    broker.ID
	hole    uint32 // the number of a part before which others are missing
	result  *broker.Result
}

// streamWindow is what a callee knows of a call.
type streamWindow struct {
	window  broker.Window
	greater chan struct{} // has an element when it may be
}

const streamURI = "stream"

// startStreams opens a node and a callee.
func startStreams(t testing.TB, node, callee *redis.Broker, parts uint32) *streams {
	t.Helper()
	s := &streams{
		t: t, node: broker.ID{'s', 't', 'r', 15: byte(parts)}, parts: parts, size: 10,
		calls: map[broker.Address]*streamed{}, sending: map[broker.Address]*streamWindow{}, over: map[broker.Address]int{},
		granting: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	var err error
	if s.caller, err = node.OpenStreamCaller(t.Context(), s.node, s.results, s.received); err != nil {
		t.Fatal(err)
	}
	if s.callee, err = callee.OpenStreamCallee(t.Context(), []string{streamURI}, s.cancelled, s.granted); err != nil {
		t.Fatal(err)
	}
	s.running.Go(s.serve)
	s.running.Go(s.grant)
	t.Cleanup(s.close)
	return s
}

func (s *streams) close() {
	close(s.stop)
	s.mu.Lock()
	hold := s.hold
	s.hold = nil
	s.mu.Unlock()
	if hold != nil {
		close(hold)
	}
	s.callee.Close()
	s.caller.Close()
	s.running.Wait()
}

// start makes calls with a Window.
func (s *streams) start(calls int) (made []broker.Address) {
	s.t.Helper()
	for range calls {
		var to broker.Address
		await(s.t, "a call is made", func() (ok bool) {
			to, ok = s.call()
			return ok
		})
		made = append(made, to)
	}
	return made
}

// call makes a call, and reports whether that was certainly queued.
func (s *streams) call() (broker.Address, bool) {
	to := broker.Address{Node: s.node}
	binary.BigEndian.PutUint64(to.Ref[:], s.serial.Add(1))
	w := broker.Window{Parts: 32, Bytes: 64 << 10}
	s.mu.Lock()
	s.calls[to] = &streamed{granted: w}
	s.mu.Unlock()
	err := s.caller.Call(context.Background(), &broker.Call{URI: streamURI, ReplyTo: to, Timeout: time.Minute, Window: w, Args: []byte("1")})
	if err != nil {
		s.mu.Lock()
		delete(s.calls, to)
		s.mu.Unlock()
	}
	return to, err == nil
}

// partArgs returns the arguments of a part.
func (s *streams) partArgs(to broker.Address, n uint32) []byte {
	if s.same != nil {
		return s.same
	}
	return fmt.Appendf(nil, "%d of %d %0*d", n, binary.BigEndian.Uint64(to.Ref[:]), s.size, 0)
}

// received gets parts at the node.
func (s *streams) received(parts []broker.Part) {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		c := s.calls[p.To]
		switch {
		case c == nil:
			continue
		case p.N <= c.got.Parts:
			s.twice.Add(1)
		case p.N > c.got.Parts+1:
			c.hole = p.N
		default:
			if want := s.partArgs(p.To, p.N); string(p.Args) != string(want) {
				s.t.Errorf("part %d is %q, want %q", p.N, p.Args, want)
			}
			c.got.Parts, c.got.Bytes = p.N, c.got.Bytes+uint64(len(p.Args))
		}
		c.known, c.from = p.Window, p.From
	}
	select {
	case s.granting <- struct{}{}:
	default:
	}
}

// grant grants more when half of a window is used, and now and then again what a callee does
// not know though it has used up the rest.
func (s *streams) grant() {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		again := false
		select {
		case <-s.granting:
		case <-ticker.C:
			again = true
		case <-s.stop:
			return
		}
		var grants []broker.Grant
		s.mu.Lock()
		for to, c := range s.calls {
			want := broker.Window{Parts: c.got.Parts + 32, Bytes: c.got.Bytes + 64<<10}
			if c.result != nil || c.from == (broker.ID{}) {
				continue
			}
			half := want.Parts >= c.granted.Parts+16 || want.Bytes >= c.granted.Bytes+32<<10
			if half || again && !c.known.Takes(c.got) {
				c.granted = want
				grants = append(grants, broker.Grant{To: to, Callee: c.from, Window: want})
			}
		}
		s.mu.Unlock()
		s.caller.Grant(context.Background(), grants) //nolint:errcheck // see above
	}
}

func (s *streams) results(results []broker.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range results {
		if c := s.calls[r.To]; c != nil && c.result == nil {
			r.Args = nil
			c.result = &r
		}
	}
}

// serve is the callee.
func (s *streams) serve() {
	dst := make([]broker.Call, 32)
	for {
		n, err := s.callee.Take(context.Background(), dst)
		if err != nil {
			return
		}
		for _, c := range dst[:n] {
			w := &streamWindow{window: c.Window, greater: make(chan struct{}, 1)}
			s.mu.Lock()
			s.sending[c.ReplyTo] = w
			s.mu.Unlock()
			s.running.Go(func() { s.answer(c.ReplyTo, w) })
		}
	}
}

func (s *streams) answer(to broker.Address, w *streamWindow) {
	var sent broker.Window
	for n := uint32(1); n <= s.parts; n++ {
		known, ok := s.awaitWindow(w, sent)
		if !ok {
			return
		}
		p := &broker.Part{To: to, N: n, Args: s.partArgs(to, n), Window: known}
		if !s.send(p) {
			return
		}
		sent.Parts, sent.Bytes = n, sent.Bytes+uint64(len(p.Args))
	}
	s.callee.Reply(context.Background(), []broker.Result{{To: to, Args: []byte("0"), Parts: sent.Parts}}) //nolint:errcheck // seen by the test
}

func (s *streams) awaitWindow(w *streamWindow, sent broker.Window) (broker.Window, bool) {
	for {
		s.mu.Lock()
		known := w.window
		s.mu.Unlock()
		if known.Takes(sent) {
			return known, true
		}
		select {
		case <-w.greater:
		case <-s.stop:
			return known, false
		}
	}
}

// send sends a part until it is stored, and reports whether it was.
func (s *streams) send(p *broker.Part) bool {
	for {
		err := s.callee.SendPart(context.Background(), p)
		switch {
		case err == nil:
			return true
		case errors.Is(err, broker.ErrQueueFull):
			s.full.Add(1)
		case errors.Is(err, broker.ErrUnavailable):
			s.unavailable.Add(1)
		case errors.Is(err, broker.ErrUnknownOutcome):
			s.unknown.Add(1)
		case errors.Is(err, broker.ErrCallOver), errors.Is(err, broker.ErrClosed):
			return false
		default:
			s.t.Error(err)
			return false
		}
		timer := time.NewTimer(2 * time.Millisecond)
		select {
		case <-timer.C:
		case <-s.stop:
			return false
		}
	}
}

func (s *streams) granted(grants []broker.Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range grants {
		if w := s.sending[g.To]; w != nil {
			w.window = broker.Window{Parts: max(w.window.Parts, g.Window.Parts), Bytes: max(w.window.Bytes, g.Window.Bytes)}
			select {
			case w.greater <- struct{}{}:
			default:
			}
		}
	}
}

func (s *streams) cancelled(calls []broker.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, to := range calls {
		s.over[to]++
	}
}

// told returns how many calls the callee was told to be over.
func (s *streams) told() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.over)
}

// came counts the parts that came of all calls.
func (s *streams) came() (n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		n += c.got.Parts
	}
	return n
}

// flows waits until parts have come of all calls that are not over.
func (s *streams) flows() {
	s.t.Helper()
	before := s.came()
	await(s.t, "parts come", func() bool { return s.came() > before || s.left() == 0 })
}

// left returns how many calls have not ended.
func (s *streams) left() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.result == nil || c.got.Parts < c.result.Parts {
			n++
		}
	}
	return n
}

// finish waits until each call has its result, and all parts that came before.
func (s *streams) finish() {
	s.t.Helper()
	await(s.t, "all answers are there", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.calls {
			if c.hole > 0 {
				s.t.Fatalf("parts are missing before number %d, of which %d came", c.hole, c.got.Parts)
			}
			if c.result == nil || c.got.Parts < c.result.Parts {
				return false
			}
		}
		return true
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.result.Err != nil || c.result.Parts != s.parts {
			s.t.Errorf("a call ended in %+v with %d parts", c.result.Err, c.result.Parts)
		}
	}
}

// keyOfNode returns a key of a node, on a single server.
func keyOfNode(kind string, node broker.ID) string {
	return "juggler:{0.0}:" + kind + ":" + ulid.ULID(node).String()
}
