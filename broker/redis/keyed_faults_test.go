package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
)

// errorOf returns the error of a call's outcome, or one that has no code.
func errorOf(r broker.CallRecord) *broker.Error {
	if r.Result.Err == nil {
		return &broker.Error{}
	}
	return r.Result.Err
}

// A call whose time is over in the queue is taken out of it by who asks, and passed over by
// who takes. Then its key may be used anew.
func TestKeyedCallNeverTaken(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, patient(withAddr(server.Addr))...)
	node, callee := openKeyedNode(t, b, 1), openKeyedCallee(t, b, nil)
	short := func(key string) *broker.Attachment {
		a := attachment(key)
		a.Call.Timeout = 20 * time.Millisecond
		return a
	}
	node.attach(short("asked"))
	if r := node.outcome("asked"); errorOf(r).Code != 408 || !errorOf(r).Refused {
		t.Errorf("asked: %+v", r.Result.Err)
	}
	if n := server.Client().LLen(t.Context(), "juggler:{0.0}:calls:"+keyedURI).Val(); n != 0 {
		t.Errorf("%d calls are queued", n)
	}
	node.attach(short("passed"))
	began := server.Client().Time(t.Context()).Val()
	await(t, "its time to be over", func() bool { return server.Client().Time(t.Context()).Val().Sub(began) > 20*time.Millisecond })
	node.attach(attachment("asked"))
	if call := takeOne(t, callee); call.Key != keyOfCall("asked") {
		t.Errorf("took %q", call.Args)
	}
	if r := node.read("passed", 0); errorOf(r).Code != 408 || !errorOf(r).Refused {
		t.Errorf("passed: %+v", r)
	}
	if s := node.attach(short("passed")); s != broker.CallNew {
		t.Errorf("attached: %v", s)
	}
}

// A callee that is cut off for longer than its lease has lost its calls, whichever node
// finds that; what it answers then comes too late. One that is cut off for a moment stores
// its outcome then.
func TestKeyedCalleeCutOff(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	first, second := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	node := openKeyedNode(t, first, 1)
	callee := openKeyedCallee(t, newBroker(t, quick(withAddr(proxy.Addr))...), nil)
	node.attach(attachment("moment"))
	moment := takeOne(t, callee)
	proxy.Cut()
	replyTo(t, callee, moment.ReplyTo, "1")
	proxy.Restore()
	if r := node.outcome("moment"); string(r.Result.Args) != "1" {
		t.Errorf("cut off for a moment: %+v", r)
	}
	node.attach(attachment("long"))
	long := takeOne(t, callee)
	proxy.Cut()
	first.Close() // the node that has joined is gone
	other := openKeyedNode(t, second, 2)
	if r := other.outcome("long"); errorOf(r).Code != broker.CodeCalleeLost {
		t.Errorf("cut off for long: %+v", r)
	}
	proxy.Restore()
	replyTo(t, callee, long.ReplyTo, "2")
	if err := callee.(broker.ResultKeeper).Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := other.read("long", 0); errorOf(r).Code != broker.CodeCalleeLost {
		t.Errorf("the outcome has changed: %+v", r)
	}
}

// Calls that wait for a URI which lost its last callee end soon, also those of a node that
// is gone.
func TestKeyedCallUnserved(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	first, second := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	callee := openKeyedCallee(t, second, nil)
	openKeyedNode(t, first, 1).attach(attachment("waits"))
	node := openKeyedNode(t, second, 2)
	node.attach(attachment("waits"))
	first.Close()
	callee.Close()
	if r := node.outcome("waits"); errorOf(r).Code != broker.CodeNoCallee || !errorOf(r).Refused {
		t.Errorf("ended as %+v", r.Result.Err)
	}
	await(t, "news", func() bool { return node.newsOf("waits") > 0 })
	if err := node.conn.Attach(t.Context(), attachment("waits")); !errors.Is(err, broker.ErrNoCallee) {
		t.Errorf("attached anew: %v", err)
	}
	if r := node.read("waits", 0); errorOf(r).Code != broker.CodeNoCallee {
		t.Errorf("then: %+v", r)
	}
}

// Out of memory a new call is refused with nothing kept, and all else goes on: to join, to
// store an outcome, to read and to stop.
func TestKeyedCallsOutOfMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	b := newBroker(t, patient(withAddr(server.Addr))...)
	node, other := openKeyedNode(t, b, 1), openKeyedNode(t, newBroker(t, patient(withAddr(server.Addr))...), 2)
	callee := openKeyedCallee(t, b, nil)
	node.attach(attachment("runs"))
	call := takeOne(t, callee)
	node.attach(attachment("waits"))
	config(t, admin, "maxmemory", "1")
	before := len(keyedKeys(t, admin))
	if err := node.conn.Attach(t.Context(), attachment("new")); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("a new call: %v", err)
	}
	if after := len(keyedKeys(t, admin)); after != before {
		t.Errorf("%d keys, were %d", after, before)
	}
	if s := other.attach(attachment("runs")); s != broker.CallRunning {
		t.Errorf("joined: %v", s)
	}
	replyTo(t, callee, call.ReplyTo, `"`+strings.Repeat("x", 10_000)+`"`)
	if r := other.outcome("runs"); len(r.Result.Args) != 10_002 {
		t.Errorf("the outcome: %+v", r)
	}
	if err := node.conn.Stop(t.Context(), keyedURI, keyOfCall("waits")); err != nil {
		t.Errorf("stop: %v", err)
	}
	if r := other.read("waits", 0); errorOf(r).Code != 499 || !errorOf(r).Refused {
		t.Errorf("stopped: %+v", r)
	}
	config(t, admin, "maxmemory", "0")
	if s := node.attach(attachment("new")); s != broker.CallNew {
		t.Errorf("then: %v", s)
	}
}

// Outcomes come around the end of their calls' time, on two nodes that wait: each key is
// told the same on both, 408 or its outcome.
func TestKeyedOutcomesAroundDeadlines(t *testing.T) {
	t.Parallel()
	const keys = 300
	server := redistest.Start(t)
	first, second := newBroker(t, patient(withAddr(server.Addr))...), newBroker(t, patient(withAddr(server.Addr))...)
	nodes := []*keyedNode{openKeyedNode(t, first, 1), openKeyedNode(t, second, 2)}
	callee := openKeyedCallee(t, newBroker(t, patient(withAddr(server.Addr))...), nil)
	var running sync.WaitGroup
	running.Go(func() {
		calls := make([]broker.Call, keys)
		for taken := 0; taken < keys; {
			n, err := callee.Take(t.Context(), calls)
			if err != nil {
				t.Error(err)
				return
			}
			for _, call := range calls[:n] {
				after := call.Timeout + time.Duration(rand.IntN(40)-20)*time.Millisecond
				time.AfterFunc(after, func() {
					callee.Reply(context.Background(), []broker.Result{{To: call.ReplyTo, Args: []byte("1")}}) //nolint:errcheck // seen below
				})
			}
			taken += n
		}
	})
	var told [2][keys]string
	for i := range keys {
		a := attachment(fmt.Sprint(i))
		a.Call.Timeout = 300 * time.Millisecond
		nodes[i%2].attach(a)
		nodes[1-i%2].attach(attachment(fmt.Sprint(i)))
	}
	for which, node := range nodes {
		running.Go(func() { node.waitForAll(told[which][:]) })
	}
	running.Wait()
	counts := map[string]int{}
	for i := range keys {
		if counts[told[0][i]]++; told[0][i] != told[1][i] {
			t.Errorf("key %d was told %s on one node and %s on the other", i, told[0][i], told[1][i])
		}
	}
	t.Log(counts)
	for i := range keys {
		if r := nodes[0].outcome(fmt.Sprint(i)); string(r.Result.Args) != "1" || r.Late != (told[0][i] == "408") {
			t.Errorf("key %d has the outcome %+v, and was told %s", i, r, told[0][i])
		}
	}
}

// waitForAll does what a server does with those who wait for the keys 0, 1 and so on.
func (n *keyedNode) waitForAll(told []string) {
	for open := len(told); open > 0; {
		var reads []broker.CallRead
		var places []int
		for i := range told {
			if told[i] == "" {
				reads, places = append(reads, broker.CallRead{URI: keyedURI, Key: keyOfCall(fmt.Sprint(i))}), append(places, i)
			}
		}
		records := make([]broker.CallRecord, len(reads))
		n.conn.ReadCalls(context.Background(), reads, records)
		for j, r := range records {
			switch {
			case r.Err != nil || r.State == broker.CallGone:
				n.t.Errorf("read %+v", r)
			case r.State == broker.CallDone && !r.Late:
				told[places[j]] = string(r.Result.Args)
			case r.State == broker.CallDone || r.Left == 0:
				told[places[j]] = "408"
			default:
				continue
			}
			open--
		}
	}
}

// The reply to an Attach is lost, and made once more: the call runs once.
func TestKeyedReplyLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	node := openKeyedNode(t, newBroker(t, patient(withAddr(proxy.Addr))...), 1)
	callee := openKeyedCallee(t, newBroker(t, patient(withAddr(server.Addr))...), nil)
	var lost atomic.Bool
	proxy.Swallow(func(reply []byte) bool {
		return bytes.Contains(reply, []byte("*2\r\n:1\r\n:0\r\n")) && lost.CompareAndSwap(false, true)
	})
	a := attachment("a")
	await(t, "a reply to be lost", func() bool {
		err := node.conn.Attach(t.Context(), a)
		if err != nil && !errors.Is(err, broker.ErrUnknownOutcome) {
			t.Fatal(err)
		}
		return err != nil
	})
	var err error
	await(t, "the connection", func() bool {
		err = node.conn.Attach(t.Context(), a)
		return !errors.Is(err, broker.ErrUnavailable)
	})
	if err != nil || a.State != broker.CallRunning {
		t.Fatalf("attached once more: %v, %v", a.State, err)
	}
	call := takeOne(t, callee)
	replyTo(t, callee, call.ReplyTo, "1")
	node.outcome("a")
	node.attach(attachment("b"))
	if next := takeOne(t, callee); next.Key != keyOfCall("b") {
		t.Errorf("%q ran twice", next.Args)
	}
}

// A failover brings a call back that was taken. If the server knows still that it was, nobody
// takes it again; else two callees run it, and the first outcome counts.
func TestKeyedCallComesBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client, ctx := server.Client(), t.Context()
	b := newBroker(t, patient(withAddr(server.Addr))...)
	node, first, second := openKeyedNode(t, b, 1), openKeyedCallee(t, b, nil), openKeyedCallee(t, newBroker(t, patient(withAddr(server.Addr))...), nil)
	list := "juggler:{0.0}:calls:" + keyedURI
	node.attach(attachment("a"))
	queued := client.LRange(ctx, list, 0, -1).Val()
	var record, before string
	for _, key := range keyedKeys(t, client) {
		if strings.Contains(key, ":keyed:") {
			record, before = key, client.Get(ctx, key).Val()
		}
	}
	call := takeOne(t, first)
	client.RPush(ctx, list, queued[0]) // its taking was known
	node.attach(attachment("b"))
	if next := takeOne(t, second); next.Key != keyOfCall("b") {
		t.Fatalf("took %q, which was taken", next.Args)
	}
	client.Set(ctx, record, before, time.Minute)
	client.RPush(ctx, list, queued[0]) // its taking is forgotten
	again := takeOne(t, second)
	if again.Key != keyOfCall("a") {
		t.Fatalf("took %q", again.Args)
	}
	replyTo(t, second, again.ReplyTo, "2")
	node.outcome("a")
	replyTo(t, first, call.ReplyTo, "1")
	if r := node.read("a", 0); string(r.Result.Args) != "2" {
		t.Errorf("the outcome is %s", r.Result.Args)
	}
}

// Redis is killed and comes back without its data: what was kept is gone, who joins is told
// so, and the outcome that comes then harms nobody. The key can be used again.
func TestKeyedCallsForgotten(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, patient(withAddr(server.Addr))...)
	node, callee := openKeyedNode(t, b, 1), openKeyedCallee(t, b, nil)
	node.attach(attachment("a"))
	call := takeOne(t, callee)
	server.Kill()
	replyTo(t, callee, call.ReplyTo, "1")
	server.Restart()
	join := attachment("a")
	join.Join = true
	var err error
	await(t, "the server", func() bool {
		err = node.conn.Attach(t.Context(), join)
		return !errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, broker.ErrUnknownOutcome)
	})
	if !errors.Is(err, broker.ErrCallGone) {
		t.Fatalf("joined: %v", err)
	}
	await(t, "the callee", func() bool { return node.conn.Attach(t.Context(), attachment("a")) == nil })
	again := takeOne(t, callee)
	if err := callee.(broker.ResultKeeper).Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := node.read("a", 0); r.State != broker.CallRunning {
		t.Errorf("the outcome of the call before counts: %+v", r)
	}
	replyTo(t, callee, again.ReplyTo, "2")
	if r := node.outcome("a"); string(r.Result.Args) != "2" {
		t.Errorf("read %+v", r)
	}
}

// The server forgets its scripts again and again.
func TestKeyedScriptsFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	b := newBroker(t, patient(withAddr(server.Addr))...)
	node, callee := openKeyedNode(t, b, 1), openKeyedCallee(t, b, nil)
	for i := range 10 {
		key := fmt.Sprint(i)
		flush := func() { client.ScriptFlush(t.Context()) }
		flush()
		a := attachment(key)
		a.Call.Window = broker.Window{Parts: 1}
		node.attach(a)
		flush()
		call := takeOne(t, callee)
		flush()
		if err := callee.SendPart(t.Context(), &broker.Part{To: call.ReplyTo, N: 1, Args: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		flush()
		replyTo(t, callee, call.ReplyTo, "1")
		flush()
		if r := node.outcome(key); len(r.Parts) != 1 {
			t.Errorf("read %+v", r)
		}
	}
}

// Of the parts of a call the oldest go beyond the bytes that are kept, and a part that is
// sent again is not stored again.
func TestKeyedPartsAreTrimmed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, patient(withAddr(server.Addr))...)
	node, callee := openKeyedNode(t, b, 1), openKeyedCallee(t, b, nil)
	a := attachment("a")
	a.Call.Window, a.MaxPartBytes = broker.Window{Parts: 1}, 1000
	node.attach(a)
	to := takeOne(t, callee).ReplyTo
	for n := range uint32(100) {
		for range 2 {
			if err := callee.SendPart(t.Context(), &broker.Part{To: to, N: n + 1, Args: fmt.Appendf(nil, "%0100d", n+1)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := node.read("a", 3)
	if r.First != 91 || len(r.Parts) != 10 {
		t.Fatalf("the first is %d, %d came", r.First, len(r.Parts))
	}
	for i, p := range r.Parts {
		if p.N != uint32(91+i) || string(p.Args) != fmt.Sprintf("%0100d", p.N) {
			t.Errorf("part %d: %s", p.N, p.Args)
		}
	}
	if r := node.read("a", 98); len(r.Parts) != 2 || r.Parts[0].N != 99 {
		t.Errorf("behind 98: %+v", r.Parts)
	}
	if err := callee.SendPart(t.Context(), &broker.Part{To: to, N: 101, Args: make([]byte, 1001)}); err != nil {
		t.Fatal(err)
	}
	if r := node.read("a", 0); r.First != 0 || len(r.Parts) != 0 {
		t.Errorf("one that is too long: %+v", r)
	}
}
