//go:build long

package systemtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A front is what clients connect to. It leads to one node after the other.
type front struct {
	t       *testing.T
	options []redis.Option
	proxy   *redistest.Proxy
	node    *node
}

func newFront(t *testing.T, options []redis.Option) *front {
	f := &front{t: t, options: options, node: startNode(t, options...)}
	f.proxy = redistest.StartProxy(t, f.node.addr())
	return f
}

// addr is where the node listens.
func (n *node) addr() string { return strings.TrimPrefix(n.url, "ws://") }

func (f *front) dial(opts ...client.Option) *client.Client {
	f.t.Helper()
	return (&node{url: "ws://" + f.proxy.Addr}).dial(f.t, opts...)
}

// replace has another node take the place of this one, which is drained, or dies without a
// word to its clients.
func (f *front) replace(dies bool) {
	old := f.node
	f.node = startNode(f.t, f.options...)
	f.proxy.Retarget(f.node.addr())
	if dies {
		f.proxy.CutOnce()
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	if err := old.handler.Shutdown(ctx); err != nil {
		f.t.Errorf("a node does not drain: %v", err)
	}
}

// An answer of 10,000 parts goes on while its nodes are replaced one after the other, some in
// good order and some not. Not a byte of it is wrong.
func TestKeyedStreamOutlivesNodes(t *testing.T) {
	t.Parallel()
	const parts = 10_000
	options := calm(withAddr(redistest.Start(t).Addr))
	f := newFront(t, options)
	startCallee(t, map[string]calleekit.HandlerFunc{"parts": answerInParts(parts, nil)}, options...)
	turn := make(chan int)
	var replacing sync.WaitGroup
	replacing.Go(func() {
		for n := range turn {
			f.replace(n%4000 == 0)
		}
	})
	s, err := f.dial().Stream(t.Context(), "parts", nil, client.Key("k"), client.WithTimeout(3*patience))
	if err != nil {
		t.Fatal(err)
	}
	wantParts(t, s, parts, func(n int) {
		if n%2000 == 0 && n < parts {
			turn <- n // waits for the replacement before, not for this one
		}
	})
	close(turn)
	replacing.Wait()
}

// answerInParts returns a function that answers in so many parts, half of them once the
// channel is closed, if there is one.
func answerInParts(parts int, half <-chan struct{}) calleekit.HandlerFunc {
	return func(ctx context.Context, c *calleekit.Call) (any, error) {
		for n := 1; n <= parts; n++ {
			if n == parts/2 && half != nil {
				<-half
			}
			if err := c.Send(ctx, partOf(n)); err != nil {
				return nil, err
			}
		}
		return parts, nil
	}
}

// A node is drained while 100 answers are half written. All of them go on elsewhere.
func TestKeyedStreamsMoveFromADrainedNode(t *testing.T) {
	t.Parallel()
	const streams, clients, parts = 100, 4, 60
	options := calm(withAddr(redistest.Start(t).Addr))
	f := newFront(t, options)
	moved := make(chan struct{})
	startCallee(t, map[string]calleekit.HandlerFunc{"parts": answerInParts(parts, moved)}, options...)
	var all [clients]*client.Client
	for i := range all {
		all[i] = f.dial()
	}
	var reading, halfway sync.WaitGroup
	halfway.Add(streams)
	for i := range streams {
		s, err := all[i%clients].Stream(t.Context(), "parts", i, client.Key(fmt.Sprint(i)), client.WithTimeout(patience))
		if err != nil {
			t.Fatal(err)
		}
		reading.Go(func() {
			wantParts(t, s, parts, func(n int) {
				if n == parts/2-1 {
					halfway.Done()
				}
			})
		})
	}
	halfway.Wait()
	f.replace(false)
	close(moved)
	reading.Wait()
}

// partOf is part n of a long answer.
func partOf(n int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf("%q", fmt.Sprintf("part %d of many, and some more words, as those of a model come", n)))
}

// wantParts takes all parts of an answer, and checks every byte of them. It calls each before
// it takes the next one.
func wantParts(t *testing.T, s *client.Stream, parts int, each func(n int)) {
	t.Helper()
	n := 0
	for part, err := range s.Parts() {
		if err != nil {
			t.Errorf("behind part %d: %v", n, err)
			return
		}
		n++
		if string(part) != string(partOf(n)) {
			t.Errorf("part %d is %s", n, part)
			return
		}
		each(n)
	}
	var count int
	if err := s.Result(t.Context(), &count); err != nil || n != parts || count != parts {
		t.Errorf("%d parts came, and the result %d, %v; want %d", n, count, err, parts)
	}
}
