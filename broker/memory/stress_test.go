package memory_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

// Nodes that call, cancel, and close; callees that open, answer, forget, and
// close; calls that expire: whatever comes together, a call is taken at most
// once, is answered if it was not cancelled or expired, and nothing is left.
func TestInterleavings(t *testing.T) {
	const nodes, callees, calls = 3, 3, 1500
	b := newBroker(t, memory.WithQueueCapacity(50))
	var taken, answered [nodes * calls]atomic.Int32
	outcomeDue := make([]bool, nodes*calls)

	stop := make(chan struct{})
	var answering sync.WaitGroup
	for range callees {
		answering.Go(func() {
			for run := true; run; {
				run = serveAWhile(t, b, stop, func(c broker.Call) { taken[index(c.ReplyTo)].Add(1) })
			}
		})
	}
	var calling sync.WaitGroup
	for i := range nodes {
		calling.Go(func() {
			caller, err := b.OpenCaller(context.Background(), broker.ID{byte(i)}, func(results []broker.Result) {
				for _, r := range results {
					answered[index(r.To)].Add(1)
				}
			})
			if err != nil {
				t.Error(err)
				return
			}
			for n := range calls {
				id := i*calls + n
				outcomeDue[id] = callOnce(t, caller, address(broker.ID{byte(i)}, id))
			}
		})
	}
	calling.Wait()

	// Callees go on until all is answered that will be.
	due := func() (missing int) {
		for id, due := range outcomeDue {
			if due && answered[id].Load() == 0 {
				missing++
			}
		}
		return missing
	}
	for tries := 0; due() > 0; tries++ {
		if tries == 10_000 {
			t.Errorf("%d calls are not answered", due())
			break
		}
		<-time.After(time.Millisecond)
	}
	close(stop)
	answering.Wait()
	for id := range taken {
		if n := taken[id].Load(); n > 1 {
			t.Errorf("call %d was taken %d times", id, n)
		}
		if n := answered[id].Load(); n > 1 {
			t.Errorf("call %d was answered %d times", id, n)
		}
	}

	// What is left has expired and goes when a callee looks.
	<-time.After(2 * time.Millisecond)
	c, err := b.OpenCallee(t.Context(), []string{"a", "b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if n, err := c.Take(ctx, make([]broker.Call, 8)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("took %d calls, %v", n, err)
	}
	if _, calls, bytes := b.Held(); calls != 0 || bytes != 0 {
		t.Errorf("%d calls and %d bytes are held", calls, bytes)
	}
}

// callOnce makes a call, and at times gives it little time or cancels it. It
// reports whether the call must have an outcome.
func callOnce(t *testing.T, caller broker.CallerConn, to broker.Address) (due bool) {
	ctx := context.Background()
	c := broker.Call{URI: []string{"a", "b"}[rand.IntN(2)], ReplyTo: to, Timeout: time.Hour, Args: to.Ref[:]}
	kind := rand.IntN(10)
	if kind == 0 {
		c.Timeout = time.Duration(1 + rand.IntN(int(time.Millisecond)))
	}
	for {
		err := caller.Call(ctx, &c)
		if err == nil {
			break
		}
		if !errors.Is(err, broker.ErrQueueFull) && !errors.Is(err, broker.ErrNoCallee) {
			t.Errorf("Call: %v", err)
			return false
		}
		<-time.After(50 * time.Microsecond)
	}
	if kind == 1 {
		if err := caller.Cancel(ctx, c.URI, to); err != nil {
			t.Errorf("Cancel: %v", err)
		}
	}
	return kind > 1
}

// serveAWhile opens a callee, answers some calls, and closes it. It reports
// whether it is to be called again.
func serveAWhile(t *testing.T, b *memory.Broker, stop <-chan struct{}, took func(broker.Call)) bool {
	c, err := b.OpenCallee(context.Background(), []string{"a", "b"}, func([]broker.Address) {})
	if err != nil {
		t.Error(err)
		return false
	}
	defer c.Close()
	dst := make([]broker.Call, 1+rand.IntN(8))
	for range rand.IntN(50) {
		select {
		case <-stop:
			return false
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(int(time.Millisecond))))
		n, err := c.Take(ctx, dst)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Take: %v", err)
			return false
		}
		var results []broker.Result
		for _, call := range dst[:n] {
			took(call)
			if rand.IntN(20) > 0 { // else it is lost
				results = append(results, broker.Result{To: call.ReplyTo, Args: call.Args})
			}
		}
		if err := c.Reply(context.Background(), results); err != nil {
			t.Errorf("Reply: %v", err)
		}
	}
	return true
}

func address(node broker.ID, id int) (a broker.Address) {
	a.Node = node
	binary.LittleEndian.PutUint64(a.Ref[:], uint64(id))
	return a
}

func index(a broker.Address) int { return int(binary.LittleEndian.Uint64(a.Ref[:])) }
