package brokertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// A keyedNode is a node that makes calls with keys.
type keyedNode struct {
	*streamNode
	conn broker.KeyedCallerConn

	mu   sync.Mutex // guards the following
	news map[broker.CallKey]int
}

// keyedNode opens a keyedNode; the end of the case closes it.
func (x *trial) keyedNode(r Roles) *keyedNode {
	n := &keyedNode{
		streamNode: &streamNode{
			node:  &node{lifeline: lifeline{x: x, name: "KeyedCallerConn"}, id: newID()},
			parts: make(map[broker.Address][]broker.Part),
		},
		news: make(map[broker.CallKey]int),
	}
	x.must("OpenKeyedCaller", x.within(func(ctx context.Context) (err error) {
		n.conn, err = r.Caller.(broker.KeyedCaller).OpenKeyedCaller(ctx, n.id, n.deliver, n.onParts, n.onNews)
		n.streamNode.conn, n.node.conn = n.conn, n.conn
		return err
	}))
	x.cleanup(n.close)
	return n
}

func (n *keyedNode) onNews(keys []broker.CallKey) {
	defer n.callback()()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, key := range keys {
		n.news[key]++
	}
}

// heard returns how much news of a key the node was told.
func (n *keyedNode) heard(key broker.CallKey) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.news[key]
}

// keyed returns what makes a call to uri with a key, or joins it. Its arguments are the
// key.
func keyed(uri, key string) *broker.Attachment {
	return &broker.Attachment{
		Call:         &broker.Call{URI: uri, Key: broker.NewCallKey(uri, "user", key), Timeout: longEnough, Args: []byte(key)},
		Owner:        broker.NewCallKey(uri, "user", ""),
		MaxOwned:     100,
		Keep:         time.Hour,
		MaxPartBytes: 1 << 20,
	}
}

// joining returns what joins the call of a.
func joining(a *broker.Attachment) *broker.Attachment {
	join := *a
	join.Join = true
	return &join
}

// tryAttach is one Attach.
func (n *keyedNode) tryAttach(a *broker.Attachment) error {
	return n.x.within(func(ctx context.Context) error { return n.conn.Attach(ctx, a) })
}

// attach is an Attach that must succeed and set a state.
func (n *keyedNode) attach(a *broker.Attachment, want broker.CallState) {
	a.State = broker.CallGone
	n.x.must("Attach to a call of "+a.Call.URI, n.tryAttach(a))
	if a.State != want {
		n.x.fatalf("Attach set the state %q, not %q", a.State, want)
	}
}

// refused checks that Attach returns an error.
func (n *keyedNode) refused(a *broker.Attachment, want error) {
	if err := n.tryAttach(a); !errors.Is(err, want) {
		n.x.errorf("Attach returned %v with the state %q, not %q", err, a.State, want)
	}
}

// read reads a record with all parts that are kept behind number after.
func (n *keyedNode) read(a *broker.Attachment, after uint32) broker.CallRecord {
	return n.readOne(broker.CallRead{URI: a.Call.URI, Key: a.Call.Key, After: after, MaxParts: 1000, MaxBytes: 1 << 20})
}

func (n *keyedNode) readOne(read broker.CallRead) broker.CallRecord {
	records := n.readCalls(read)
	n.x.must("ReadCalls", records[0].Err)
	return records[0]
}

// readCalls reads into records with something in them, which must not stay.
func (n *keyedNode) readCalls(reads ...broker.CallRead) []broker.CallRecord {
	records := make([]broker.CallRecord, len(reads))
	for i := range records {
		records[i] = broker.CallRecord{State: broker.CallDone, Parts: []broker.Part{{N: 77}}, First: 77, Attempt: 77, Late: true, Left: 77, Err: errors.New("stale")}
	}
	n.x.within(func(ctx context.Context) error { n.conn.ReadCalls(ctx, reads, records); return nil })
	return records
}

// stop is a Stop that must succeed.
func (n *keyedNode) stop(a *broker.Attachment) {
	n.x.must("Stop", n.tryStop(a))
}

func (n *keyedNode) tryStop(a *broker.Attachment) error {
	return n.x.within(func(ctx context.Context) error { return n.conn.Stop(ctx, a.Call.URI, a.Call.Key) })
}

// outcome waits for the outcome of a call.
func (n *keyedNode) outcome(a *broker.Attachment) broker.CallRecord {
	var rec broker.CallRecord
	n.x.await("the outcome of a call with a key was kept", func() bool {
		rec = n.read(a, 0)
		return rec.State == broker.CallDone
	})
	return rec
}

// wantArgs waits for an outcome that is no error.
func (n *keyedNode) wantArgs(a *broker.Attachment, want string) broker.CallRecord {
	rec := n.outcome(a)
	if r := rec.Result; r.Err != nil || string(r.Args) != want {
		n.x.errorf("the outcome is %.40q and the error %+v, not %.40q", r.Args, r.Err, want)
	}
	return rec
}

// wantError waits for an outcome that is an error.
func (n *keyedNode) wantError(a *broker.Attachment, code frame.Code, refused bool) {
	rec := n.outcome(a)
	if err := rec.Result.Err; err == nil || err.Code != code || err.Refused != refused {
		n.x.errorf("the outcome is %.40q and the error %+v; want code %d, refused: %v", rec.Result.Args, err, code, refused)
	}
}

// wantRunning checks that a call has no outcome.
func (n *keyedNode) wantRunning(a *broker.Attachment) {
	if rec := n.read(a, 0); rec.State != broker.CallRunning {
		n.x.errorf("the record of a call that runs says %+v", rec)
	}
}

// awaitGone waits until nothing is kept of a call.
func (n *keyedNode) awaitGone(a *broker.Attachment) {
	n.x.await("nothing was kept of a call any more", func() bool { return n.read(a, 0).State == broker.CallGone })
}
