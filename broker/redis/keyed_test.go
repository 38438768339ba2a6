package redis_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// patient are the options of brokers whose callees a busy machine does not make late.
func patient(more ...redis.Option) []redis.Option {
	return calm(append(more, redis.WithCalleeLease(time.Minute))...)
}

const keyedURI = "order.pay"

var keyedOwner = broker.NewCallKey(keyedURI, "ann", "")

// A keyedNode is a node that makes calls with keys.
type keyedNode struct {
	t    testing.TB
	conn broker.KeyedCallerConn

	mu   sync.Mutex // guards the following
	news map[broker.CallKey]int
}

func openKeyedNode(t testing.TB, b *redis.Broker, name byte) *keyedNode {
	t.Helper()
	n := &keyedNode{t: t, news: map[broker.CallKey]int{}}
	var err error
	n.conn, err = b.OpenKeyedCaller(t.Context(), broker.ID{'k', 15: name}, func([]broker.Result) {
		t.Error("a result of a call with a key came to a node")
	}, func([]broker.Part) {
		t.Error("a part of a call with a key came to a node")
	}, n.told)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *keyedNode) told(keys []broker.CallKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, key := range keys {
		n.news[key]++
	}
}

func (n *keyedNode) newsOf(key string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.news[keyOfCall(key)]
}

func keyOfCall(key string) broker.CallKey { return broker.NewCallKey(keyedURI, "ann", key) }

// attachment makes the call of a key, with the key as arguments.
func attachment(key string) *broker.Attachment {
	return &broker.Attachment{
		Call:  &broker.Call{URI: keyedURI, Key: keyOfCall(key), Timeout: time.Minute, Args: fmt.Appendf(nil, "%q", key)},
		Owner: keyedOwner, MaxOwned: 1000, Keep: time.Minute, MaxPartBytes: 1 << 20,
	}
}

// attach attaches, and returns the state.
func (n *keyedNode) attach(a *broker.Attachment) broker.CallState {
	n.t.Helper()
	if err := n.conn.Attach(n.t.Context(), a); err != nil {
		n.t.Fatal(err)
	}
	return a.State
}

// read returns what became of a key.
func (n *keyedNode) read(key string, after uint32) broker.CallRecord {
	n.t.Helper()
	records := make([]broker.CallRecord, 1)
	n.conn.ReadCalls(n.t.Context(), []broker.CallRead{{URI: keyedURI, Key: keyOfCall(key), After: after, MaxParts: 100, MaxBytes: 1 << 20}}, records)
	if records[0].Err != nil {
		n.t.Fatal(records[0].Err)
	}
	return records[0]
}

// outcome waits for that of a key.
func (n *keyedNode) outcome(key string) broker.CallRecord {
	n.t.Helper()
	var r broker.CallRecord
	await(n.t, "the outcome of "+key, func() bool {
		r = n.read(key, 0)
		return r.State == broker.CallDone
	})
	return r
}

// openKeyedCallee opens a callee of keyedURI.
func openKeyedCallee(t testing.TB, b *redis.Broker, cancelled func([]broker.Address)) broker.StreamCalleeConn {
	t.Helper()
	if cancelled == nil {
		cancelled = func([]broker.Address) {}
	}
	c, err := b.OpenStreamCallee(t.Context(), []string{keyedURI}, cancelled, func([]broker.Grant) {})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// takeOne takes one call.
func takeOne(t testing.TB, c broker.CalleeConn) broker.Call {
	t.Helper()
	calls := make([]broker.Call, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Take(ctx, calls); err != nil {
		t.Fatal(err)
	}
	return calls[0]
}

func replyTo(t testing.TB, c broker.CalleeConn, to broker.Address, args string) {
	t.Helper()
	if err := c.Reply(t.Context(), []broker.Result{{To: to, Args: []byte(args)}}); err != nil {
		t.Fatal(err)
	}
}

// A call with a key is made once, run once, and its outcome read by whoever joins it; when
// its time is over nothing is left in Redis.
func TestKeyedCall(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	b, other := newBroker(t, patient(withAddr(server.Addr))...), newBroker(t, patient(withAddr(server.Addr))...)
	one, two := openKeyedNode(t, b, 1), openKeyedNode(t, other, 2)
	callee := openKeyedCallee(t, b, nil)
	make1 := attachment("a")
	make1.Call.Window = broker.Window{Parts: 1}
	make1.Keep = time.Second
	if s := one.attach(make1); s != broker.CallNew {
		t.Fatalf("made: %v", s)
	}
	if s := two.attach(attachment("a")); s != broker.CallRunning {
		t.Fatalf("joined: %v", s)
	}
	call := takeOne(t, callee)
	if call.Key != keyOfCall("a") || string(call.Args) != `"a"` || call.Window != (broker.Window{Parts: 1<<32 - 1, Bytes: 1<<64 - 1}) {
		t.Fatalf("took %+v", call)
	}
	for n := range uint32(3) {
		if err := callee.SendPart(t.Context(), &broker.Part{To: call.ReplyTo, N: n + 1, Args: []byte("part")}); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "news of parts", func() bool { return one.newsOf("a") > 0 && two.newsOf("a") > 0 })
	if r := two.read("a", 1); r.State != broker.CallRunning || len(r.Parts) != 2 || r.Parts[0].N != 2 || r.First != 1 || r.Left == 0 {
		t.Fatalf("read %+v", r)
	}
	keys := keyedKeys(t, client)
	if len(keys) != 3 {
		t.Fatalf("in Redis: %q", keys)
	}
	for _, key := range keys {
		if strings.Contains(key, ":keyed:") {
			checkRecord(t, client.Get(t.Context(), key).Val(), call.ReplyTo)
		}
	}
	replyTo(t, callee, call.ReplyTo, "1")
	if r := two.outcome("a"); string(r.Result.Args) != "1" || r.Late {
		t.Fatalf("read %+v", r)
	}
	if s := one.attach(attachment("a")); s != broker.CallDone {
		t.Fatalf("joined: %v", s)
	}
	await(t, "the record's end", func() bool { return one.read("a", 0).State == broker.CallGone })
	await(t, "all of it to be gone", func() bool { return len(keyedKeys(t, client)) == 0 })
}

// checkRecord compares the record of TestKeyedCall, which has three parts, with what
// docs/redis.md says.
func checkRecord(t *testing.T, record string, to broker.Address) {
	t.Helper()
	key, hash := keyOfCall("a"), sha256.Sum256([]byte(`"a"`))
	head := "A" + string(to.Ref[:]) + string(key[:]) + string(hash[:16]) + "T"
	one, two := broker.ID{'k', 15: 1}, broker.ID{'k', 15: 2}
	rest := "0000000001000" + "000001048576" + "0000000001" + "0000000003" + "000000000012" + "02" + string(one[:]) + string(two[:])
	if len(record) != len(head)+13+len(rest) || record[:len(head)] != head || record[len(head)+13:] != rest {
		t.Errorf("the record is\n%q, want\n%q, a deadline and\n%q", record, head, rest)
	}
}

// keyedKeys returns the keys of calls with keys in Redis.
func keyedKeys(t testing.TB, client goredis.UniversalClient) []string {
	t.Helper()
	return slices.DeleteFunc(keysOf(t, client, "juggler"), func(key string) bool { return !strings.Contains(key, ":keyed") })
}
