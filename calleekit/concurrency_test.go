package calleekit_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
)

// A meter is a broker that fails the test when more calls are asked for or
// taken on one connection than could start. The calls' arguments are unique;
// functions tell it when they end.
type meter struct {
	broker.Callee
	t     *testing.T
	limit map[string]int // of the connection, by its first URI

	mu   sync.Mutex                 // guards the following
	held map[string]map[string]bool // by first URI: the arguments of the calls that have not ended
	skip map[string]bool            // arguments of calls not to be counted
}

func newMeter(t *testing.T, b broker.Callee, limit map[string]int) *meter {
	m := &meter{Callee: b, t: t, limit: limit, held: map[string]map[string]bool{}, skip: map[string]bool{}}
	for first := range limit {
		m.held[first] = map[string]bool{}
	}
	return m
}

// done notes that the function called with args is about to return.
func (m *meter) done(first string, args []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held[first], string(args))
}

// forget ceases to count the call with args: it is about to be cancelled, and
// its function may then not be called.
func (m *meter) forget(first, args string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.skip[args] = true
	delete(m.held[first], args)
}

func (m *meter) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	conn, err := m.Callee.OpenCallee(ctx, uris, cancelled)
	return &meteredConn{conn, m, uris[0]}, err
}

type meteredConn struct {
	broker.CalleeConn
	m     *meter
	first string
}

func (c *meteredConn) Take(ctx context.Context, dst []broker.Call) (int, error) {
	c.check(len(dst), "asked for")
	n, err := c.CalleeConn.Take(ctx, dst)
	c.check(n, "taken")
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	for _, call := range dst[:n] {
		if args := string(call.Args); !c.m.skip[args] {
			c.m.held[c.first][args] = true
		}
	}
	return n, err
}

func (c *meteredConn) check(n int, what string) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if held, limit := len(c.m.held[c.first]), c.m.limit[c.first]; held+n > limit {
		c.m.t.Errorf("%s: %d calls %s while %d of %d have not ended", c.first, n, what, held, limit)
	}
}

// Never are more calls taken than can start, also while calls end in every
// way.
func TestTakesOnlyWhatCanStart(t *testing.T) {
	for _, limit := range []int{1, 2, 7, 64} {
		s := newSystem(t)
		m := newMeter(t, s.engine, map[string]int{"f": limit})
		c := s.callee(m, calleekit.WithConcurrency(limit))
		var running, most atomic.Int64
		c.Handle("f", func(_ context.Context, c *calleekit.Call) (any, error) {
			n := running.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			defer m.done("f", c.Args)
			defer running.Add(-1)
			switch c.Args[len(c.Args)-1] {
			case '0':
				runtime.Gosched()
			case '1':
				panic("one")
			case '2':
				runtime.Goexit()
			}
			return nil, nil
		})
		s.start(c)
		var calls []*request
		for i := range 500 {
			calls = append(calls, s.call("f", strconv.Itoa(i)))
		}
		for _, r := range calls {
			r.wait()
		}
		if got := most.Load(); got > int64(limit) {
			t.Errorf("%d functions ran at a time, the limit is %d", got, limit)
		}
	}
}

// A function that blocks holds up neither the calls taken with it nor those
// that come after, as long as there is a free slot; and results leave although
// others of their batch still run.
func TestBlockedFunctionsHoldUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4
		s := newSystem(t)
		c := s.callee(nil, calleekit.WithConcurrency(limit))
		block := make(chan struct{})
		c.Handle("block", func(context.Context, *calleekit.Call) (any, error) { <-block; return "late", nil })
		c.Handle("quick", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil })
		// In any order of quick and blocking calls, all queued before the
		// callee takes the first.
		for pattern := range 1 << 6 {
			s.prequeue("block", "quick")
			var blocked, quick []*request
			for bit := range 6 {
				if pattern&(1<<bit) != 0 && len(blocked) < limit-1 {
					blocked = append(blocked, s.call("block", ""))
				} else {
					quick = append(quick, s.call("quick", "1"))
				}
			}
			if pattern == 0 {
				s.start(c)
			}
			synctest.Wait()
			quick = append(quick, s.call("quick", "1"))
			synctest.Wait()
			for _, r := range quick {
				if len(r.result) == 0 {
					t.Fatalf("pattern %06b: a quick call waits for a blocked one", pattern)
				}
				r.want("1")
			}
			close(block)
			for _, r := range blocked {
				r.want(`"late"`)
			}
			block = make(chan struct{})
		}
	})
}

// prequeue makes uris known to the broker, so that calls queue.
func (s *system) prequeue(uris ...string) {
	s.t.Helper()
	conn, err := s.engine.OpenCallee(context.Background(), uris, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	conn.Close() // its grace lasts
}

// The calls that a limit of its own keeps a URI from starting stay in the
// broker, where another callee finds them, and leave other URIs alone.
func TestOwnLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		m := newMeter(t, s.engine, map[string]int{"slow": 2, "quick": 1})
		c := s.callee(m, calleekit.WithConcurrency(3))
		block := make(chan struct{})
		c.Handle("slow", func(_ context.Context, c *calleekit.Call) (any, error) {
			defer m.done("slow", c.Args)
			<-block
			return "first", nil
		}, calleekit.WithConcurrency(2))
		c.Handle("quick", func(_ context.Context, c *calleekit.Call) (any, error) {
			defer m.done("quick", c.Args)
			return nil, nil
		})
		s.start(c)
		var slow []*request
		for i := range 10 {
			slow = append(slow, s.call("slow", strconv.Itoa(i)))
		}
		synctest.Wait()
		if st := c.Stats(); st.Running != 2 || st.Waiting != 0 {
			t.Errorf("%+v, want 2 running and none waiting", st)
		}
		s.call("quick", "").want("null")

		other := s.callee(nil)
		other.Handle("slow", func(context.Context, *calleekit.Call) (any, error) { return "other", nil })
		s.start(other)
		for _, r := range slow[2:] {
			r.want(`"other"`)
		}
		close(block)
		for _, r := range slow[:2] {
			r.want(`"first"`)
		}
	})
}

// An idle callee has two goroutines for each hold on the broker, however many
// it had when it was busy.
func TestGoroutinesEndWithTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil)
		block := make(chan struct{})
		c.Handle("f", func(context.Context, *calleekit.Call) (any, error) { <-block; return nil, nil })
		s.start(c)
		var calls []*request
		for range 64 {
			calls = append(calls, s.call("f", ""))
		}
		synctest.Wait()
		if n := poolGoroutines(); n < 64 {
			t.Errorf("%d goroutines for 64 blocked calls", n)
		}
		close(block)
		for _, r := range calls {
			r.wait()
		}
		synctest.Wait()
		if n := poolGoroutines(); n > 2 {
			t.Errorf("%d goroutines when idle, want at most 2", n)
		}
	})
}

// poolGoroutines returns how many goroutines of this bubble's callees exist.
func poolGoroutines() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Count(stacks, []byte("calleekit.(*pool).work("))
}

// While the broker does not store results, they are at most as many as the
// limit, and no more calls are taken.
func TestResultsDoNotPileUp(t *testing.T) {
	for _, limit := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t)
			b := &stuckReply{Callee: s.engine, release: make(chan struct{})}
			c := s.callee(b, calleekit.WithConcurrency(limit))
			c.Handle("f", func(context.Context, *calleekit.Call) (any, error) { return nil, nil })
			s.start(c)
			var calls []*request
			for range 20 {
				calls = append(calls, s.call("f", ""))
				synctest.Wait()
			}
			if st := c.Stats(); st.Calls != uint64(2*limit) || st.Unanswered != 2*limit {
				t.Errorf("%+v, want %d calls, all unanswered", st, 2*limit)
			}
			close(b.release)
			for _, r := range calls {
				r.want("null")
			}
		})
	}
}

type stuckReply struct {
	broker.Callee
	release chan struct{}
}

func (b *stuckReply) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	conn, err := b.Callee.OpenCallee(ctx, uris, cancelled)
	return &stuckConn{conn, b}, err
}

type stuckConn struct {
	broker.CalleeConn
	b *stuckReply
}

func (c *stuckConn) Reply(ctx context.Context, results []broker.Result) error {
	<-c.b.release
	return c.CalleeConn.Reply(ctx, results)
}

// Many calls to functions that end at random, with cancellations, each get
// exactly one result (deliver tells of a second), and every function sees its
// own call only.
func TestStress(t *testing.T) {
	s := newSystem(t)
	m := newMeter(t, s.engine, map[string]int{"a": 16 - 3, "c": 3})
	c := s.callee(m, calleekit.WithConcurrency(16))
	f := func(first string) calleekit.HandlerFunc {
		return func(ctx context.Context, c *calleekit.Call) (any, error) {
			defer m.done(first, c.Args)
			want := binary.BigEndian.Uint32([]byte(c.Header("id")))
			switch rand.IntN(8) {
			case 0:
				panic("at random")
			case 1:
				runtime.Goexit()
			case 2:
				runtime.Gosched()
			case 3:
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(rand.IntN(200)) * time.Microsecond):
				}
			case 4:
				go ctx.Err() // kept after the return
			case 5:
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				if calleekit.CallFrom(ctx) != c {
					t.Error("the context is of another call")
				}
			case 6:
				return nil, ctx.Err()
			}
			if got := binary.BigEndian.Uint32([]byte(c.Header("id"))); got != want {
				t.Errorf("the call changed from %d to %d", want, got)
			}
			return c.Args, nil
		}
	}
	c.Handle("a", f("a"))
	c.Handle("b", f("a"))
	c.Handle("c", f("c"), calleekit.WithConcurrency(3))
	s.start(c)

	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for i := range 200 {
				var batch []*request
				for n := range 1 + rand.IntN(6) {
					uri := []string{"a", "b", "c"}[rand.IntN(3)]
					id := []byte{byte('a' + client), byte('a' + i/26), byte('a' + i%26), byte('a' + n)}
					r := s.make(broker.Call{
						URI:     uri,
						Args:    []byte(`"` + string(id) + `"`),
						Headers: []byte(`{"id":"` + string(id) + `"}`),
						Timeout: time.Minute,
					})
					if rand.IntN(10) == 0 {
						m.forget(map[string]string{"a": "a", "b": "a", "c": "c"}[uri], `"`+string(id)+`"`)
						r.cancel() // it may get a result all the same, or none
						continue
					}
					r.args = `"` + string(id) + `"`
					batch = append(batch, r)
				}
				for _, r := range batch {
					if res := r.wait(); res.Err == nil && string(res.Args) != r.args && string(res.Args) != "null" {
						t.Errorf("got %s, want %s", res.Args, r.args)
					}
				}
			}
		})
	}
	clients.Wait()
}
