package keyed

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// engine keeps records as broker.KeyedCaller says, as simply as that can be done. The test
// is its callees.
type engine struct {
	mu      sync.Mutex
	records map[broker.CallKey]*record
	hubs    []*Hub
	lost    func() bool // whether news are lost
	down    bool        // nothing can be reached
	unread  bool        // nothing can be read
	reads   int         // requests
}

type record struct {
	over  time.Time
	done  bool
	late  bool
	out   broker.Result
	first uint32 // of the parts that are kept
	parts [][]byte
	sent  uint32

	attempt uint8
}

// again makes the call of a key anew, whatever became of it.
func (e *engine) again(key broker.CallKey) {
	e.set(func() {
		if r := e.records[key]; r != nil {
			e.records[key] = &record{over: time.Now().Add(time.Minute), first: 1, attempt: r.attempt + 1}
		}
	})
	e.news(key)
}

var errDown = fmt.Errorf("the test has it down: %w", broker.ErrUnavailable)

// conn is a node's connection to an engine. All else of a StreamCallerConn is not called.
type conn struct {
	broker.StreamCallerConn
	*engine
}

func (c conn) Attach(_ context.Context, a *broker.Attachment) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.records[a.Call.Key]
	switch {
	case c.down:
		return errDown
	case r == nil && a.Join:
		return broker.ErrCallGone
	case r == nil:
		c.records[a.Call.Key] = &record{over: time.Now().Add(a.Call.Timeout), first: 1, attempt: 1}
		a.State = broker.CallNew
	case r.done:
		a.State = broker.CallDone
	default:
		a.State = broker.CallRunning
	}
	return nil
}

func (c conn) ReadCalls(_ context.Context, reads []broker.CallRead, records []broker.CallRecord) {
	time.Sleep(time.Millisecond) // what happens meanwhile is not in it
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	for i := range reads {
		records[i] = c.read(&reads[i])
	}
}

// read answers one read.
func (e *engine) read(read *broker.CallRead) (to broker.CallRecord) {
	r := e.records[read.Key]
	switch {
	case e.down, e.unread:
		to.Err = errDown
		return to
	case r == nil:
		return to
	case r.done:
		to.State, to.Result, to.Late = broker.CallDone, r.out, r.late
	default:
		to.State, to.Left = broker.CallRunning, time.Until(r.over)
	}
	to.Attempt = r.attempt
	if len(r.parts) == 0 {
		return to
	}
	to.First = r.first
	bytes := 0
	for n := max(read.After+1, r.first); n <= r.sent && len(to.Parts) < read.MaxParts; n++ {
		args := r.parts[n-r.first]
		if bytes += len(args); len(to.Parts) > 0 && bytes > read.MaxBytes {
			break
		}
		to.Parts = append(to.Parts, broker.Part{N: n, Args: args})
	}
	return to
}

func (c conn) Stop(_ context.Context, _ string, key broker.CallKey) error {
	c.mu.Lock()
	r, down := c.records[key], c.down
	c.mu.Unlock()
	switch {
	case down:
		return errDown
	case r == nil:
		return broker.ErrCallGone
	}
	c.end(key, broker.Result{Err: &broker.Error{Code: 499, Message: "stopped"}})
	return nil
}

// requests returns how many requests have read records.
func (e *engine) requests() (n int) {
	e.set(func() { n = e.reads })
	return n
}

// set changes e.
func (e *engine) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// news has nodes told of a key, or not.
func (e *engine) news(key broker.CallKey) {
	for _, h := range e.hubs {
		if !e.lost() {
			h.News([]broker.CallKey{key})
		}
	}
}

// part has a callee send a part, and keeps the newest ones only.
func (e *engine) part(key broker.CallKey, keep int) {
	e.mu.Lock()
	if r := e.records[key]; r != nil && !r.done {
		r.sent++
		r.parts = append(r.parts, fmt.Append(nil, r.sent))
		if gone := len(r.parts) - keep; gone > 0 {
			r.parts = r.parts[gone:]
			r.first += uint32(gone)
		}
	}
	e.mu.Unlock()
	e.news(key)
}

// end stores an outcome, if there is none.
func (e *engine) end(key broker.CallKey, out broker.Result) {
	e.mu.Lock()
	if r := e.records[key]; r != nil && !r.done {
		out.Parts = r.sent
		r.done, r.out, r.late = true, out, !time.Now().Before(r.over)
	}
	e.mu.Unlock()
	e.news(key)
}

// node is a Hub with those who wait there.
type node struct {
	t   *testing.T
	hub *Hub
	all map[broker.Address]*watched
	mu  sync.Mutex
}

// watched is a Waiter, and what it has got.
type watched struct {
	Waiter
	node   *node
	key    broker.CallKey
	parts  []uint32
	bytes  uint64
	result *broker.Result
	left   bool
	window broker.Window
}

func newNode(t *testing.T, e *engine) *node {
	n := &node{t: t, all: make(map[broker.Address]*watched)}
	var running sync.WaitGroup
	n.hub = New(Config{Results: n.results, Parts: n.gotParts, Timeout: time.Second, Running: &running, Log: slog.New(slog.DiscardHandler)})
	n.hub.Start(conn{engine: e})
	e.hubs = append(e.hubs, n.hub)
	t.Cleanup(func() {
		n.hub.Close()
		running.Wait()
	})
	return n
}

func (n *node) results(all []broker.Result) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range all {
		w := n.all[all[i].To]
		if w.result != nil {
			n.t.Errorf("a second result: %v, then %v", w.result, all[i])
		}
		r := all[i]
		w.result = &r
	}
}

func (n *node) gotParts(parts []broker.Part) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range parts {
		p, w := &parts[i], n.all[parts[i].To]
		last := w.After
		if len(w.parts) > 0 {
			last = w.parts[len(w.parts)-1]
		}
		switch {
		case w.result != nil:
			n.t.Errorf("part %d behind the result", p.N)
		case p.N != last+1:
			n.t.Errorf("part %d behind part %d", p.N, last)
		case string(p.Args) != fmt.Sprint(p.N):
			n.t.Errorf("part %d is %s", p.N, p.Args)
		case !w.left && (p.N > w.window.Parts || w.bytes >= w.window.Bytes):
			n.t.Errorf("part %d beyond the window %v", p.N, w.window)
		}
		w.parts, w.bytes = append(w.parts, p.N), w.bytes+uint64(len(p.Args))
	}
}

// attach attaches to a call, and joins.
func (n *node) attach(key broker.CallKey, timeout time.Duration, w *watched, join bool) error {
	n.mu.Lock()
	binary.LittleEndian.PutUint64(w.To.Ref[:], uint64(len(n.all)))
	n.all[w.To] = w
	n.mu.Unlock()
	w.node, w.key = n, key
	err := n.hub.Attach(n.t.Context(), &broker.Attachment{Call: &broker.Call{URI: "f", Key: key, Timeout: timeout}, Join: join}, &w.Waiter)
	if err != nil {
		n.mu.Lock()
		delete(n.all, w.To)
		n.mu.Unlock()
		return err
	}
	n.mu.Lock()
	w.window = broker.Window{}
	if w.Parts {
		w.window = broker.Window{Parts: w.After + 3, Bytes: 5}
	}
	n.mu.Unlock()
	n.hub.Join(&w.Waiter, w.window)
	return nil
}

// grant gives w room for more.
func (n *node) grant(w *watched, parts uint32) {
	n.mu.Lock()
	w.window.Parts += parts
	w.window.Bytes += uint64(parts) * 5
	window := w.window
	n.mu.Unlock()
	n.hub.Grant(&w.Waiter, window)
}

// leave ends the wait of w.
func (n *node) leave(w *watched) {
	n.mu.Lock()
	w.left = true
	n.mu.Unlock()
	n.hub.Leave(&w.Waiter)
}

// keyOf returns a key.
func keyOf(i int) broker.CallKey { return broker.NewCallKey("f", "ann", fmt.Sprint(i)) }

// simulate runs f with an engine and two nodes, in simulated time.
func simulate(t *testing.T, f func(t *testing.T, e *engine, nodes []*node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := &engine{records: make(map[broker.CallKey]*record), lost: func() bool { return false }}
		f(t, e, []*node{newNode(t, e), newNode(t, e)})
	})
}
