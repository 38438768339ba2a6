//go:build long

package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
)

// A sickCluster is a cluster of which one master is about to be of no use, with a URI
// and a node on it (sick) and one of each on another (well).
type sickCluster struct {
	t          *testing.T
	cluster    *redistest.Cluster
	sick       *redistest.Server
	uris       [2]string    // sick, well
	nodes      [2]broker.ID // sick, well
	configured []Option
}

const (
	sick = iota
	well
)

func newSickCluster(t *testing.T) *sickCluster {
	d := &sickCluster{t: t, cluster: redistest.StartCluster(t, "--cluster-node-timeout", "20000")}
	keys := newKeyspace("juggler", clusterLanes, false)
	owner := func(lane int) int { return d.cluster.Owner(keys.slotOf(lane)) }
	const dead = 1
	d.sick = d.cluster.Masters[dead]
	for i := range 100 {
		uri := fmt.Sprint("u", i)
		node := broker.ID([]byte(fmt.Sprintf("node%012d", i)))
		if owner(keys.laneOf(uri)) == dead {
			d.uris[sick] = uri
		} else {
			d.uris[well] = uri
		}
		if owner(keys.laneOfNode(node)) == dead {
			d.nodes[sick] = node
		} else {
			d.nodes[well] = node
		}
	}
	d.configured = []Option{
		WithCluster(&goredis.ClusterOptions{Addrs: d.cluster.Addrs()}),
		WithCalleeLease(2 * time.Second), WithReplyTimeout(2 * time.Second), WithBackoff(10*time.Millisecond, 100*time.Millisecond),
	}
	return d
}

func (d *sickCluster) broker(more ...Option) *Broker {
	d.t.Helper()
	b, err := New(append(d.configured, more...)...)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { b.Close() })
	return b
}

// A laneNode is a node of one lane that counts the results of its calls.
type laneNode struct {
	t       *testing.T
	id      broker.ID
	conn    broker.CallerConn
	calls   byte
	results atomic.Int64
}

func (d *sickCluster) node(which int) *laneNode {
	d.t.Helper()
	n := &laneNode{t: d.t, id: d.nodes[which]}
	var err error
	n.conn, err = d.broker().OpenCaller(d.t.Context(), n.id, func(results []broker.Result) {
		for _, r := range results {
			if r.Err == nil {
				n.results.Add(1)
			}
		}
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

func (n *laneNode) call(uri string) error {
	n.calls++
	to := broker.Address{Node: n.id, Ref: [16]byte{n.calls}}
	return n.conn.Call(n.t.Context(), &broker.Call{URI: uri, ReplyTo: to, Timeout: time.Minute})
}

// answered checks that a call is answered soon.
func (n *laneNode) answered(uri string) {
	n.t.Helper()
	before := n.results.Load()
	if err := n.call(uri); err != nil {
		n.t.Fatalf("Call: %v", err)
	}
	waiting.Until(n.t, "a call is answered", func() bool { return n.results.Load() > before })
}

// callee opens a callee of both URIs that answers one call at a time.
func (d *sickCluster) callee(b *Broker) *calleeConn {
	d.t.Helper()
	conn, err := b.OpenCallee(d.t.Context(), d.uris[:], func([]broker.Address) {})
	if err != nil {
		d.t.Fatal(err)
	}
	go func() { // ends with Close
		for dst := make([]broker.Call, 1); ; {
			if _, err := conn.Take(context.Background(), dst); err != nil {
				return
			}
			if conn.Reply(context.Background(), []broker.Result{{To: dst[0].ReplyTo, Args: []byte("1")}}) != nil {
				return
			}
		}
	}()
	return conn.(*calleeConn)
}

// failures are ways of a master to be of no use.
var failures = map[string]struct{ begin, end func(*redistest.Server) }{
	"dead":  {(*redistest.Server).Kill, (*redistest.Server).Restart},
	"hangs": {(*redistest.Server).Pause, (*redistest.Server).Resume},
}

// One master of a cluster is of no use. A result that cannot be stored there holds up
// none of the others; who has nothing to do with it notices nothing; the others are
// refused at once, and all goes on when it is back, with the results kept until then.
func TestMasterOfNoUse(t *testing.T) {
	t.Parallel()
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newSickCluster(t)
			callee := d.callee(d.broker())
			ill, healthy := d.node(sick), d.node(well)
			ill.answered(d.uris[well])
			healthy.answered(d.uris[sick])
			failure.begin(d.sick)
			kept := ill.call(d.uris[well]) == nil // it is not known yet
			for range 20 {
				healthy.answered(d.uris[well])
			}
			waiting.Until(t, "calls without a way back are refused", func() bool {
				err := ill.call(d.uris[well])
				if err != nil && (!errors.Is(err, broker.ErrUnavailable) || broker.RetryAfter(err) <= 0) {
					t.Fatalf("Call: %v", err)
				}
				healthy.answered(d.uris[well])
				return err != nil
			})
			if start, err := time.Now(), ill.call(d.uris[well]); err == nil || time.Since(start) > time.Second {
				t.Errorf("Call: %v after %v", err, time.Since(start))
			}
			for range 20 {
				healthy.answered(d.uris[well])
			}
			if err := callee.broker.Health(); err != nil {
				t.Errorf("the callee has a lane that works: %v", err)
			}
			if kept && callee.Unstored() == 0 {
				t.Error("no result is kept")
			}
			failure.end(d.sick)
			waiting.Until(t, "what was kept is stored", func() bool { return callee.Unstored() == 0 })
			waiting.Until(t, "calls are taken again", func() bool { return ill.call(d.uris[sick]) == nil })
			if s := callee.broker.Stats(); s.ResultsDropped != 0 || s.Lost != 0 {
				t.Errorf("something was lost: %+v", s)
			}
		})
	}
}

// A callee starts, serves and stops while a master is of no use, and is announced
// there when it is back.
func TestCalleeStartsWithoutMaster(t *testing.T) {
	t.Parallel()
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newSickCluster(t)
			n := d.node(well)
			failure.begin(d.sick)
			start := time.Now()
			callee := d.callee(d.broker())
			n.answered(d.uris[well])
			failure.end(d.sick)
			waiting.Until(t, "it is announced there, too", func() bool { return n.call(d.uris[sick]) == nil })
			failure.begin(d.sick)
			n.answered(d.uris[well])
			if err := callee.Close(); err != nil {
				t.Error(err)
			}
			t.Logf("from start to end: %v", time.Since(start))
			failure.end(d.sick)
		})
	}
}

// A broker is well as long as what its open connections need works.
func TestHealth(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		harm, mend []any
		says       string
		callee     bool // well, although the node is not
	}{
		"refuses writes": {[]any{"CONFIG", "SET", "min-replicas-to-write", 1}, []any{"CONFIG", "SET", "min-replicas-to-write", 0}, "NOREPLICAS", false},
		"full":           {[]any{"CONFIG", "SET", "maxmemory", 1}, []any{"CONFIG", "SET", "maxmemory", 0}, "OOM", true},
		"replica":        {[]any{"REPLICAOF", "127.0.0.1", 1}, []any{"REPLICAOF", "NO", "ONE"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			open := func() *Broker {
				b, err := New(WithServer(&goredis.Options{Addr: server.Addr}), WithCalleeLease(time.Second), WithBackoff(10*time.Millisecond, 100*time.Millisecond))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { b.Close() })
				return b
			}
			node, callee := open(), open()
			if err := node.Health(); err != nil {
				t.Errorf("a broker that nobody uses: %v", err)
			}
			if _, err := node.OpenCaller(t.Context(), broker.ID{'n'}, func([]broker.Result) {}); err != nil {
				t.Fatal(err)
			}
			if _, err := callee.OpenCallee(t.Context(), []string{"u"}, nil); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				waiting.Until(t, "both are well", func() bool { return node.Health() == nil && callee.Health() == nil })
				server.Do(tt.harm...)
				waiting.Until(t, "the node is not", func() bool {
					err := node.Health()
					return err != nil && strings.Contains(err.Error(), tt.says) && (callee.Health() == nil) == tt.callee
				})
				for end := time.Now().Add(time.Second); time.Now().Before(end); {
					if node.Health() == nil {
						t.Fatal("it says so only now and then")
					}
				}
				server.Do(tt.mend...)
			}
		})
	}
}
