package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/waiting"
)

// count answers with the numbers from 1 to its argument, and how many it has sent.
type counter struct {
	sent  atomic.Int64
	ended chan error // gets why each call ended
}

func (c *counter) answer(ctx context.Context, call *calleekit.Call) (any, error) {
	var last int
	if err := call.Decode(&last); err != nil {
		return nil, err
	}
	for n := 1; n <= last; n++ {
		if err := call.Send(ctx, n); err != nil {
			c.ended <- context.Cause(ctx)
			return nil, err
		}
		c.sent.Store(int64(n))
	}
	c.ended <- nil
	return last, nil
}

// streaming adds a callee that counts to cl.
func (cl *cluster) streaming() *counter {
	cl.t.Helper()
	callee, err := calleekit.New(cl.broker)
	if err != nil {
		cl.t.Fatal(err)
	}
	c := &counter{ended: make(chan error, 1000)}
	callee.Handle("test.count", c.answer)
	callee.Handle("test.words", calleekit.Stream(func(_ context.Context, words []string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for _, word := range words {
				if !yield(word, nil) {
					return
				}
			}
			yield("", calleekit.Errorf(409, "out of words"))
		}
	}))
	if err := callee.Start(cl.t.Context()); err != nil {
		cl.t.Fatal(err)
	}
	cl.t.Cleanup(func() { callee.Close() })
	return c
}

func TestRealStreams(t *testing.T) {
	cl := newCluster(t)
	cl.streaming()
	cl.start()
	c := cl.client()
	for _, test := range []struct {
		parts  int
		window int
	}{{0, 1}, {1, 1}, {500, 1}, {500, 7}, {500, 32}, {500, 1000}} {
		s, err := c.Stream(t.Context(), "test.count", test.parts, client.Window(test.window))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := take(t, s, 1, 0); n != test.parts || err != nil {
			t.Errorf("window %d: %d parts, %v; want %d", test.window, n, err, test.parts)
		}
		var result int
		if err := s.Result(t.Context(), &result); err != nil || result != test.parts {
			t.Errorf("window %d: result %d, %v", test.window, result, err)
		}
	}

	s, err := c.Stream(t.Context(), "test.words", []string{"Once", "upon"})
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for word, e := range client.PartsAs[string](s) {
		words = append(words, word)
		err = e
	}
	if fmt.Sprint(words) != "[Once upon ]" || !errors.Is(err, client.Code(409)) {
		t.Errorf("got %q, %v", words, err)
	}

	s, err = c.Stream(t.Context(), "test.count", 200)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Result(t.Context(), nil); err != nil {
		t.Errorf("result without the parts: %v", err)
	}
	s, err = c.Stream(t.Context(), "test.echo", "no parts")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := take(t, s, 1, 0); n != 0 || err != nil {
		t.Errorf("test.echo: %d parts, %v", n, err)
	}
	var echo string
	if err := s.Result(t.Context(), &echo); err != nil || echo != "no parts" {
		t.Errorf("test.echo: %q, %v", echo, err)
	}
}

// The application paces the callee, and a stream that is not read holds up nothing else.
func TestRealStreamIsPaced(t *testing.T) {
	cl := newCluster(t)
	counter := cl.streaming()
	cl.start()
	c := cl.client()
	s, err := c.Stream(t.Context(), "test.count", 100_000, client.Window(4))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range s.Parts() {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if err := c.Call(t.Context(), "test.echo", n, nil); err != nil {
			t.Fatal(err)
		}
		if ahead := counter.sent.Load() - int64(n); ahead > 4+128 { // the client's window, and the node's
			t.Fatalf("at part %d the callee is %d ahead", n, ahead)
		}
		if n == 200 {
			break
		}
	}
	select {
	case cause := <-counter.ended:
		if !errors.Is(cause, calleekit.ErrCancelled) {
			t.Errorf("the callee ended with %v", cause)
		}
	case <-time.After(waiting.Most):
		t.Error("the callee goes on, though the loop was left")
	}
}

// The end of the context reaches the callee, too.
func TestRealStreamCancelled(t *testing.T) {
	cl := newCluster(t)
	counter := cl.streaming()
	cl.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := cl.client().Stream(ctx, "test.count", 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for part, err := range s.Parts() {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			break
		}
		if string(part) == "100" {
			cancel()
		}
	}
	select {
	case <-counter.ended:
	case <-time.After(waiting.Most):
		t.Error("the callee goes on")
	}
}

// Many streams share a connection with calls.
func TestRealStreamsAtOnce(t *testing.T) {
	cl := newCluster(t)
	cl.streaming()
	cl.start()
	c := cl.client()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			s, err := c.Stream(t.Context(), "test.count", 200+i)
			if err != nil {
				t.Error(err)
				return
			}
			if n, err := take(t, s, 1, 0); n != 200+i || err != nil {
				t.Errorf("%d parts, %v", n, err)
			}
		})
		all.Go(func() {
			var out json.RawMessage
			for range 20 {
				if err := c.Call(t.Context(), "test.echo", i, &out); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// A node that crashes ends its streams, which says how far they came.
func TestRealStreamCrash(t *testing.T) {
	cl := newCluster(t)
	counter := cl.streaming()
	node := cl.start()
	c := cl.client()
	s, err := c.Stream(t.Context(), "test.count", 100_000, client.Idempotent())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for part, e := range s.Parts() {
		if err = e; err == nil {
			if n++; string(part) != fmt.Sprint(n) {
				t.Fatalf("part %s, want %d", part, n)
			}
		}
		if n == 10 {
			cl.start()
			node.stop()
		}
	}
	if want := fmt.Sprintf("(%d parts of it had come)", n); !errors.Is(err, client.ErrUnknownOutcome) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	select {
	case <-counter.ended:
	case <-time.After(waiting.Most):
		t.Error("the callee goes on")
	}
	if err := c.Call(t.Context(), "test.echo", 1, nil); err != nil {
		t.Error(err)
	}
}
