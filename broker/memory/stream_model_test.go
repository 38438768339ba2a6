package memory_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A streamModel is what must be true of calls whose answers come in parts.
type streamModel struct {
	*streamSystem
	random *rand.Rand
	calls  []*modelCall
	nodes  []*modelNode
	refs   byte
}

type modelCall struct {
	to       broker.Address
	node     *modelNode
	deadline time.Time
	callee   *modelCallee // that has taken it
	over     bool         // answered, cancelled or without a caller or callee
	told     bool         // the callee is, that it is not wanted
	window   broker.Window
	brought  broker.Window // by the call when it was taken
	sent     uint32
}

// end ends the call. Its callee is told, unless that has ended it.
func (k *modelCall) end(told bool) {
	k.told = k.told || told && !k.over && k.callee != nil
	k.over = true
}

type modelNode struct {
	broker.StreamCallerConn
	id     broker.ID
	closed bool
	parts  map[broker.Address]uint32
}

type modelCallee struct {
	broker.StreamCalleeConn
	closed    bool
	mu        sync.Mutex // guards the following
	granted   map[broker.Address]broker.Window
	cancelled map[broker.Address]bool
}

// Whatever is called, taken, sent, granted, cancelled, answered and closed in whatever
// order: SendPart succeeds as long as somebody takes the part, who then has it, and else
// says ErrCallOver; a callee knows the greatest window; and it is told of what is not wanted.
func TestStreamModel(t *testing.T) {
	for seed := range uint64(15) {
		synctest.Test(t, func(t *testing.T) {
			m := &streamModel{streamSystem: newStreamSystem(t), random: rand.New(rand.NewPCG(seed, 0))}
			m.streamSystem.callee.Close() // it has callees of its own
			callees := []*modelCallee{m.openCallee(), m.openCallee()}
			m.nodes = []*modelNode{m.openNode(), m.openNode()}
			for range 300 {
				m.step(callees)
			}
			synctest.Wait()
			m.check()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}

func (m *streamModel) openNode() *modelNode {
	m.refs++
	n := &modelNode{id: broker.ID{2, m.refs}, parts: make(map[broker.Address]uint32)}
	var err error
	n.StreamCallerConn, err = m.broker.OpenStreamCaller(m.t.Context(), n.id, func([]broker.Result) {}, func(parts []broker.Part) {
		for _, p := range parts {
			if n.parts[p.To]++; n.parts[p.To] != p.N {
				m.t.Errorf("part %d arrived as number %d", p.N, n.parts[p.To])
			}
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

func (m *streamModel) openCallee() *modelCallee {
	c := &modelCallee{granted: make(map[broker.Address]broker.Window), cancelled: make(map[broker.Address]bool)}
	var err error
	c.StreamCalleeConn, err = m.broker.OpenStreamCallee(m.t.Context(), []string{"f"}, func(calls []broker.Address) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, to := range calls {
			c.cancelled[to] = true
		}
	}, func(grants []broker.Grant) {
		for _, g := range grants {
			c.granted[g.To] = c.granted[g.To].Union(g.Window)
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

func (m *streamModel) step(callees []*modelCallee) {
	ctx := m.t.Context()
	at := m.random.IntN(len(callees))
	c, n := callees[at], m.nodes[m.random.IntN(len(m.nodes))]
	var k *modelCall
	if len(m.calls) > 0 {
		k = m.calls[m.random.IntN(len(m.calls))]
	}
	switch op := m.random.IntN(100); {
	case op < 15 || k == nil:
		m.call(n)
	case op < 30:
		m.takeOne(c)
	case op < 60:
		m.send(c, k)
	case op < 80:
		m.grant(n, k)
	case op < 86:
		n.Cancel(ctx, "f", k.to)
		m.end(true, func(other *modelCall) bool { return other == k && k.node == n })
	case op < 92:
		c.Reply(ctx, []broker.Result{{To: k.to}})
		m.end(false, func(other *modelCall) bool { return other == k && k.callee == c })
	case op < 94:
		n.Close()
		n.closed = true
		m.end(true, func(k *modelCall) bool { return k.node == n })
		m.nodes = append(m.nodes, m.openNode())
	case op < 96:
		c.Close()
		c.closed = true
		m.end(false, func(k *modelCall) bool { return k.callee == c })
		callees[at] = m.openCallee()
	default:
		time.Sleep(time.Duration(m.random.IntN(5000)) * time.Millisecond)
	}
}

// end ends the calls that are chosen.
func (m *streamModel) end(told bool, chosen func(*modelCall) bool) {
	for _, k := range m.calls {
		if chosen(k) {
			k.end(told)
		}
	}
}

func (m *streamModel) call(n *modelNode) {
	k := &modelCall{node: n, window: broker.Window{Parts: 1 + m.random.Uint32N(5), Bytes: 1}}
	k.to = broker.Address{Node: n.id, Ref: [16]byte{byte(len(m.calls)), byte(len(m.calls) >> 8)}}
	timeout := time.Duration(1+m.random.IntN(60)) * time.Second
	k.deadline = time.Now().Add(timeout)
	err := n.Call(m.t.Context(), &broker.Call{URI: "f", ReplyTo: k.to, Timeout: timeout, Window: k.window})
	if n.closed != (err != nil) {
		m.t.Errorf("Call of a node that is closed (%v): %v", n.closed, err)
	}
	if err == nil {
		m.calls = append(m.calls, k)
	}
}

func (m *streamModel) takeOne(c *modelCallee) {
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Nanosecond)
	defer cancel()
	dst := make([]broker.Call, 1)
	if n, _ := c.Take(ctx, dst); n == 0 {
		return
	}
	for _, k := range m.calls {
		if k.to != dst[0].ReplyTo {
			continue
		}
		if k.over || k.callee != nil || dst[0].Window != k.window {
			m.t.Errorf("took %+v, whose window is %v; over: %v", dst[0], k.window, k.over)
		}
		k.callee, k.brought = c, dst[0].Window
	}
}

func (m *streamModel) send(c *modelCallee, k *modelCall) {
	wanted := k.callee == c && !k.over && time.Now().Before(k.deadline)
	err := c.SendPart(m.t.Context(), &broker.Part{To: k.to, N: k.sent + 1})
	switch {
	case wanted && err == nil:
		k.sent++
	case wanted || !errors.Is(err, broker.ErrCallOver):
		m.t.Errorf("SendPart: %v; the part is wanted: %v", err, wanted)
	}
	if got := k.node.parts[k.to]; got != k.sent {
		m.t.Errorf("%d parts have arrived of %d", got, k.sent)
	}
}

func (m *streamModel) grant(n *modelNode, k *modelCall) {
	g := broker.Grant{To: k.to, Window: broker.Window{Parts: m.random.Uint32N(20), Bytes: m.random.Uint64N(20)}}
	n.Grant(m.t.Context(), []broker.Grant{g})
	if n != k.node || n.closed || k.over {
		return
	}
	k.window = k.window.Union(g.Window)
}

// check compares what callees know with what is true.
func (m *streamModel) check() {
	for i, k := range m.calls {
		if k.callee == nil || k.callee.closed {
			continue
		}
		c := k.callee
		c.mu.Lock()
		if known := k.brought.Union(c.granted[k.to]); known != k.window {
			m.t.Errorf("the callee of call %d knows the window %v, granted was %v", i, known, k.window)
		}
		if c.cancelled[k.to] != k.told {
			m.t.Errorf("the callee of call %d was told that it is not wanted: %v, want %v", i, c.cancelled[k.to], k.told)
		}
		c.mu.Unlock()
	}
}
