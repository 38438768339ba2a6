package client_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/waiting"
)

// oneScope lets all clients of a test join each other's calls.
var oneScope = juggler.WithKeyScope(func(juggler.Session) string { return "all" })

// walker is a callee whose answer has a part for each step that the test lets it take.
type walker struct {
	runs  atomic.Int64
	steps chan struct{}
	ended chan error // gets why each call ended
}

func (cl *cluster) walking() *walker {
	cl.t.Helper()
	callee, err := calleekit.New(cl.broker)
	if err != nil {
		cl.t.Fatal(err)
	}
	w := &walker{steps: make(chan struct{}), ended: make(chan error, 100)}
	callee.Handle("test.walk", func(ctx context.Context, call *calleekit.Call) (any, error) {
		var last int
		if err := call.Decode(&last); err != nil {
			return nil, err
		}
		run := w.runs.Add(1)
		for n := 1; n <= last; n++ {
			select {
			case <-w.steps:
			case <-ctx.Done():
				w.ended <- context.Cause(ctx)
				return nil, ctx.Err()
			}
			if err := call.Send(ctx, n); err != nil {
				return nil, err
			}
		}
		return run, nil
	})
	if err := callee.Start(cl.t.Context()); err != nil {
		cl.t.Fatal(err)
	}
	cl.t.Cleanup(func() { callee.Close() })
	return w
}

// step lets the callee go on.
func (w *walker) step(t *testing.T, steps int) {
	t.Helper()
	for range steps {
		select {
		case w.steps <- struct{}{}:
		case <-time.After(waiting.Most):
			t.Fatal("the callee does not go on")
		}
	}
}

// onTwoNodes starts two nodes, and returns a client of each.
func (cl *cluster) onTwoNodes() (first, second *client.Client) {
	cl.t.Helper()
	cl.start(oneScope)
	first = cl.client()
	cl.start(oneScope)
	return first, cl.client()
}

// A key has one run and one outcome, for whoever asks on whichever node.
func TestRealKeyedCalls(t *testing.T) {
	cl := newCluster(t)
	w := cl.walking()
	first, second := cl.onTwoNodes()

	made, err := first.Start(t.Context(), "test.walk", 1, client.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	if state, err := made.State(t.Context()); state != client.CallNew || err != nil {
		t.Fatalf("made: %v, %v", state, err)
	}
	joined, err := second.Start(t.Context(), "test.walk", 1, client.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	if state, err := joined.State(t.Context()); state != client.CallRunning || err != nil {
		t.Fatalf("joined: %v, %v", state, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left, err := first.Start(ctx, "test.walk", nil, client.Key("k"), client.Join(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := left.State(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := second.Call(t.Context(), "test.walk", 2, nil, client.Key("k")); !errors.Is(err, client.CodeConflict) {
		t.Errorf("with other args: %v", err)
	}
	w.step(t, 1)
	for _, call := range []*client.PendingCall{made, joined} {
		var run int
		if err := call.Result(t.Context(), &run); err != nil || run != 1 {
			t.Errorf("run %d, %v", run, err)
		}
	}
	again, err := second.Start(t.Context(), "test.walk", 1, client.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	var run int
	if err := again.Result(t.Context(), &run); err != nil || run != 1 {
		t.Errorf("again: run %d, %v", run, err)
	}
	if state, err := again.State(t.Context()); state != client.CallDone || err != nil {
		t.Errorf("again: %v, %v", state, err)
	}
	if err := first.Call(t.Context(), "test.walk", nil, nil, client.Key("other"), client.Join(0)); !errors.Is(err, client.CodeGone) {
		t.Errorf("joining nothing: %v", err)
	}
}

// Stop ends a call on all nodes, and at its callee.
func TestRealStop(t *testing.T) {
	cl := newCluster(t)
	w := cl.walking()
	first, second := cl.onTwoNodes()
	s, err := first.Stream(t.Context(), "test.walk", 100, client.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	w.step(t, 1)
	if n, err := take(t, s, 1, 1); n != 1 || err != nil {
		t.Fatalf("%d parts, %v", n, err)
	}
	if s, err = second.Stream(t.Context(), "test.walk", 100, client.Key("k")); err != nil {
		t.Fatal(err)
	}
	w.step(t, 1) // though the first loop was left
	if err := first.Stop(t.Context(), "test.walk", "k"); err != nil {
		t.Fatal(err)
	}
	if n, err := take(t, s, 1, 0); n != 2 || !errors.Is(err, client.CodeCancelled) {
		t.Errorf("%d parts, %v", n, err)
	}
	select {
	case cause := <-w.ended:
		if !errors.Is(cause, calleekit.ErrCancelled) {
			t.Errorf("the callee ended with %v", cause)
		}
	case <-time.After(waiting.Most):
		t.Error("the callee goes on")
	}
	if err := second.Stop(t.Context(), "test.walk", "k"); err != nil {
		t.Errorf("stopped already: %v", err)
	}
	if err := second.Stop(t.Context(), "test.walk", "other"); !errors.Is(err, client.CodeGone) {
		t.Errorf("never made: %v", err)
	}
}

// Streams go on while nodes are drained and crash: no part is missing, none comes twice, and
// the call runs once.
func TestRealKeyedStreamsMove(t *testing.T) {
	cl := newCluster(t)
	w := cl.walking()
	node := cl.start(oneScope)
	const rounds, steps = 6, 20
	var all sync.WaitGroup
	for i := range 3 {
		s, err := cl.client().Stream(t.Context(), "test.walk", rounds*steps, client.Key("k"), client.Window(1+i*8))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if n, err := take(t, s, 1, 0); n != rounds*steps || err != nil {
				t.Errorf("%d parts, %v", n, err)
			}
			var run int
			if err := s.Result(t.Context(), &run); err != nil || run != 1 {
				t.Errorf("run %d, %v", run, err)
			}
		})
	}
	for round := range rounds {
		w.step(t, steps/2)
		old := node
		node = cl.start(oneScope)
		if round%2 == 0 {
			old.stop()
		} else {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), waiting.Most)
				defer cancel()
				if err := old.h.Shutdown(ctx); err != nil {
					t.Errorf("drained: %v", err)
				}
			})
		}
		w.step(t, steps/2)
	}
	all.Wait()
	if n := w.runs.Load(); n != 1 {
		t.Errorf("%d runs", n)
	}
}
