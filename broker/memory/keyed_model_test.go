package memory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
)

const (
	modelGrace = 500 * time.Millisecond
	modelOwned = 4
	modelParts = 20 // bytes of parts that are kept
)

// A keyedModel is what must be true of calls with keys.
type keyedModel struct {
	*testing.T
	random *rand.Rand
	b      *memory.Broker
	nodes  []*keyedModelNode
	serial byte // of the last node

	callee broker.StreamCalleeConn // nil: there is none
	left   time.Time               // since when there is none
	taken  []*modelRecord          // by the callee, and not answered

	records map[broker.CallKey]*modelRecord
	queue   []*modelRecord // in the order of their making, also those that wait no more
}

type keyedModelNode struct {
	broker.KeyedCallerConn
	heard map[broker.CallKey]int
}

// A modelRecord is one record: a key may have several, one after the other.
type modelRecord struct {
	key      broker.CallKey
	args     string
	streams  bool
	deadline time.Time
	keep     time.Duration
	nodes    map[*keyedModelNode]bool

	to      broker.Address // once it is taken
	done    bool
	outcome broker.Result
	late    bool
	ends    time.Time
	parts   [][]byte
	last    uint32
	changes int // of which news are told
}

func (rec *modelRecord) isTaken() bool { return rec.to != (broker.Address{}) }

func (rec *modelRecord) refused() bool {
	return rec.done && rec.outcome.Err != nil && rec.outcome.Err.Refused
}

// end stores an outcome that came at a time, unless there is one.
func (rec *modelRecord) end(at time.Time, outcome broker.Result) {
	if !rec.done {
		rec.done, rec.outcome, rec.late, rec.ends = true, outcome, !at.Before(rec.deadline), at.Add(rec.keep)
		rec.changes++
	}
}

// failed is an outcome that is an error.
func failed(code frame.Code, refused bool) broker.Result {
	return broker.Result{Err: &broker.Error{Code: code, Refused: refused}}
}

// Whatever is attached, taken, sent, answered, stopped and closed in whatever order, and
// however time goes by: each key has the one outcome that came first, its parts, and an end
// when its time is over; and who has attached is told of all.
func TestKeyedModel(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			m := &keyedModel{T: t, random: rand.New(rand.NewPCG(seed, 1)), records: make(map[broker.CallKey]*modelRecord)}
			m.b = newBroker(t, memory.WithCalleeGrace(modelGrace))
			m.nodes = []*keyedModelNode{m.openNode(), m.openNode()}
			m.openCallee()
			for step := range 300 {
				m.stepAndCheck()
				if t.Failed() {
					t.Fatalf("seed %d, step %d", seed, step)
				}
			}
			if m.callee != nil {
				m.callee.Close()
			}
			time.Sleep(time.Minute)
			if stats := m.b.Stats(); stats != (memory.Stats{}) {
				t.Errorf("seed %d: the broker holds %+v", seed, stats)
			}
		})
	}
}

func (m *keyedModel) openNode() *keyedModelNode {
	m.serial++
	n := &keyedModelNode{heard: make(map[broker.CallKey]int)}
	var err error
	n.KeyedCallerConn, err = m.b.OpenKeyedCaller(m.Context(), broker.ID{m.serial}, func([]broker.Result) {}, func([]broker.Part) {}, func(keys []broker.CallKey) {
		for _, key := range keys {
			n.heard[key]++
		}
	})
	if err != nil {
		m.Fatal(err)
	}
	return n
}

func (m *keyedModel) openCallee() {
	var err error
	m.callee, err = m.b.OpenStreamCallee(m.Context(), []string{"f"}, func([]broker.Address) {}, func([]broker.Grant) {})
	if err != nil {
		m.Fatal(err)
	}
}

// stepAndCheck does one thing, lets the model follow, and compares.
func (m *keyedModel) stepAndCheck() {
	changes := make(map[*modelRecord]int)
	heard := make(map[*keyedModelNode]map[broker.CallKey]int)
	for _, rec := range m.records {
		changes[rec] = rec.changes
	}
	for _, n := range m.nodes {
		heard[n] = maps.Clone(n.heard)
	}
	m.step()
	synctest.Wait()
	m.passTime()
	for rec, before := range changes {
		for n := range rec.nodes {
			if slices.Contains(m.nodes, n) && rec.changes > before && n.heard[rec.key] == heard[n][rec.key] {
				m.Error("a node was not told of what was stored")
			}
		}
	}
	for i := range byte(5) {
		m.check(m.key(i))
	}
}

func (m *keyedModel) key(i byte) broker.CallKey { return broker.CallKey{'k', i} }

func (m *keyedModel) step() {
	now := time.Now()
	at := m.random.IntN(len(m.nodes))
	key := m.key(byte(m.random.IntN(5)))
	switch op := m.random.IntN(100); {
	case op < 30:
		m.attach(m.nodes[at], key)
	case op < 45:
		m.take()
	case op < 60 && len(m.taken) > 0:
		m.send(m.taken[m.random.IntN(len(m.taken))], now)
	case op < 72 && len(m.taken) > 0:
		m.reply(m.random.IntN(len(m.taken)), now)
	case op < 77:
		m.stop(m.nodes[at], key, now)
	case op < 80:
		m.nodes[at].Close()
		m.nodes[at] = m.openNode()
	case op < 84 && m.callee != nil:
		m.callee.Close()
		for _, rec := range m.taken {
			rec.end(now, failed(broker.CodeCalleeLost, false))
		}
		m.callee, m.left, m.taken = nil, now, nil
	case op < 90 && m.callee == nil:
		m.openCallee()
	default:
		time.Sleep(time.Duration(m.random.Int64N(int64(time.Second))))
	}
}

// passTime ends what has ended until now, by itself.
func (m *keyedModel) passTime() {
	now := time.Now()
	for _, rec := range m.queue {
		graceOver := m.left.Add(modelGrace)
		unserved := m.callee == nil && !graceOver.After(now)
		switch {
		case rec.isTaken():
		case unserved && graceOver.Before(rec.deadline):
			rec.end(graceOver, failed(broker.CodeNoCallee, true))
		case !rec.deadline.After(now):
			rec.end(rec.deadline, failed(frame.CodeExpired, true))
		}
	}
	maps.DeleteFunc(m.records, func(_ broker.CallKey, rec *modelRecord) bool { return rec.done && !rec.ends.After(now) })
}

// attach attaches n to a key, with args of two kinds.
func (m *keyedModel) attach(n *keyedModelNode, key broker.CallKey) {
	now, rec := time.Now(), m.records[key]
	args := string("aaab"[m.random.IntN(4)])
	join := m.random.IntN(4) == 0
	anew := &modelRecord{key: key, args: args, streams: m.random.IntN(2) == 0, nodes: make(map[*keyedModelNode]bool)}
	timeout := 1 + time.Duration(m.random.Int64N(int64(3*time.Second)))
	anew.deadline, anew.keep = now.Add(timeout), time.Second+time.Duration(m.random.Int64N(int64(3*time.Second)))
	a := &broker.Attachment{
		Call:     &broker.Call{URI: "f", Key: key, Timeout: timeout, Args: []byte(args)},
		MaxOwned: modelOwned, Keep: anew.keep, MaxPartBytes: modelParts, Join: join,
	}
	if anew.streams {
		a.Call.Window = oneKiB
	}
	want, state := error(nil), broker.CallNew
	switch {
	case rec == nil && join:
		want = broker.ErrCallGone
	case rec == nil && len(m.records) >= modelOwned:
		want = broker.ErrTooManyKeys
	case rec == nil || rec.refused() && !join:
		if m.callee == nil && !m.left.Add(modelGrace).After(now) {
			want = broker.ErrNoCallee
		}
	case !join && rec.args != args:
		want = broker.ErrOtherArgs
	case rec.done:
		state = broker.CallDone
	default:
		state = broker.CallRunning
	}
	err := n.Attach(m.Context(), a)
	if !errors.Is(err, want) || err == nil && a.State != state {
		m.Errorf("Attach (join: %v) returned %v with the state %q, want %v, %q", join, err, a.State, want, state)
	}
	if want != nil {
		return
	}
	if state == broker.CallNew {
		if rec != nil {
			maps.Copy(anew.nodes, rec.nodes)
		}
		m.records[key], rec = anew, anew
		m.queue = append(m.queue, anew)
	}
	rec.nodes[n] = true
}

// take takes the oldest call that waits.
func (m *keyedModel) take() {
	i := slices.IndexFunc(m.queue, func(rec *modelRecord) bool { return !rec.done && !rec.isTaken() })
	if i < 0 || m.callee == nil {
		return
	}
	dst := make([]broker.Call, 1)
	ctx, cancel := context.WithTimeout(m.Context(), time.Nanosecond)
	defer cancel()
	if _, err := m.callee.Take(ctx, dst); err != nil {
		m.Errorf("Take: %v", err)
		return
	}
	rec := m.queue[i]
	if k := dst[0]; k.Key != rec.key || string(k.Args) != rec.args || k.Window.IsZero() == rec.streams {
		m.Errorf("took %+v, the oldest is %+v", k, rec)
	}
	rec.to = dst[0].ReplyTo
	m.taken = append(m.taken, rec)
}

// send sends the next part.
func (m *keyedModel) send(rec *modelRecord, now time.Time) {
	args := bytes.Repeat([]byte{byte(rec.last)}, m.random.IntN(12))
	err := m.callee.SendPart(m.Context(), &broker.Part{To: rec.to, N: rec.last + 1, Args: args})
	if rec.done || !rec.streams || !now.Before(rec.deadline) {
		if !errors.Is(err, broker.ErrCallOver) {
			m.Errorf("SendPart for a call that is over: %v", err)
		}
		return
	}
	if err != nil {
		m.Errorf("SendPart: %v", err)
	}
	rec.last++
	rec.changes++
	rec.parts = append(rec.parts, args)
	for len(bytes.Join(rec.parts, nil)) > modelParts {
		rec.parts = rec.parts[1:]
	}
}

// reply answers a call that was taken, and again.
func (m *keyedModel) reply(i int, now time.Time) {
	rec := m.taken[i]
	m.taken = slices.Delete(m.taken, i, i+1)
	for range 2 {
		r := broker.Result{To: rec.to, Args: fmt.Append(nil, m.random.Uint64()), Parts: rec.last}
		if err := m.callee.Reply(m.Context(), []broker.Result{r}); err != nil {
			m.Errorf("Reply: %v", err)
		}
		rec.end(now, r)
	}
}

// stop stops the call of a key.
func (m *keyedModel) stop(n *keyedModelNode, key broker.CallKey, now time.Time) {
	rec, want := m.records[key], error(nil)
	if rec == nil {
		want = broker.ErrCallGone
	} else {
		rec.end(now, failed(frame.CodeCancelled, !rec.isTaken()))
	}
	if err := n.Stop(m.Context(), "f", key); !errors.Is(err, want) {
		m.Errorf("Stop returned %v, want %v", err, want)
	}
}

// check compares a record with what one of the nodes reads.
func (m *keyedModel) check(key broker.CallKey) {
	rec := m.records[key]
	read := broker.CallRead{URI: "f", Key: key, After: m.random.Uint32N(8), MaxParts: m.random.IntN(4), MaxBytes: m.random.IntN(20)}
	var records [1]broker.CallRecord
	m.nodes[0].ReadCalls(m.Context(), []broker.CallRead{read}, records[:])
	got := records[0]
	switch {
	case rec == nil:
		if got.State != broker.CallGone {
			m.Errorf("of nothing the record says %+v", got)
		}
		return
	case !rec.done:
		if got.State != broker.CallRunning || got.Left != time.Until(rec.deadline) {
			m.Errorf("the record says %+v, the call runs until %v", got, rec.deadline)
		}
	case got.State != broker.CallDone || got.Late != rec.late || !sameOutcome(got.Result, rec.outcome):
		m.Errorf("the record says %+v, want %+v, late: %v", got, rec.outcome, rec.late)
	}
	first := rec.last - uint32(len(rec.parts)) + 1
	if len(rec.parts) == 0 {
		first = 0
	}
	var want [][]byte
	bytesLeft := read.MaxBytes
	for i, args := range rec.parts {
		if n := first + uint32(i); n <= read.After {
			continue
		}
		if bytesLeft -= len(args); len(want) == read.MaxParts || bytesLeft < 0 && len(want) > 0 {
			break
		}
		want = append(want, args)
	}
	if got.First != first || !slices.EqualFunc(got.Parts, want, func(p broker.Part, args []byte) bool { return bytes.Equal(p.Args, args) }) {
		m.Errorf("read %+v: got %+v, want parts from %d: %q", read, got, first, want)
	}
}

func sameOutcome(a, b broker.Result) bool {
	if a.Err != nil && b.Err != nil {
		return a.Err.Code == b.Err.Code && a.Err.Refused == b.Err.Refused
	}
	return a.Err == b.Err && bytes.Equal(a.Args, b.Args) && a.Parts == b.Parts
}
