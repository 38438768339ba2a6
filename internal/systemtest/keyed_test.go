package systemtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
)

// keyOptions let clients of a test, which have no users, make calls with keys and join each
// other's.
var keyOptions = []juggler.Option{
	juggler.WithKeyScope(func(juggler.Session) string { return "all" }),
	juggler.WithMaxKeys(100_000),
	juggler.WithOutcomes(juggler.OutcomeRule{URIs: "*", PartBytes: 16 << 20}),
}

// Clients of both nodes that make a call with the same key at once have made one call, and
// get the same outcome. So does who asks later, as long as it is kept.
func (s *system) testKeys(t *testing.T) {
	const calls, clients = 20, 4
	var runs atomic.Int64
	var joined [calls]sync.WaitGroup // an outcome is there when all have joined
	startCallee(t, map[string]calleekit.HandlerFunc{
		"number": func(_ context.Context, c *calleekit.Call) (any, error) {
			var n int
			if err := c.Decode(&n); err != nil {
				return nil, err
			}
			joined[n].Wait()
			return runs.Add(1), nil
		},
	}, calm(s.options...)...)
	var all [clients]*client.Client
	for i := range all {
		all[i] = []*node{s.one, s.two}[i%2].dial(t)
	}
	var working sync.WaitGroup
	for n := range calls {
		key := fmt.Sprint("key ", n)
		joined[n].Add(clients)
		working.Go(func() {
			var asking sync.WaitGroup
			var made atomic.Int64
			var results [clients]int64
			for i, c := range all {
				asking.Go(func() {
					leave := sync.OnceFunc(joined[n].Done)
					defer leave()
					call, err := c.Start(t.Context(), "number", n, client.Key(key))
					if err != nil {
						t.Error(err)
						return
					}
					state, err := call.State(t.Context())
					leave()
					if err == nil {
						err = call.Result(t.Context(), &results[i])
					}
					if err != nil {
						t.Errorf("%s: %v", key, err)
					}
					if state == client.CallNew {
						made.Add(1)
					}
				})
			}
			asking.Wait()
			for _, result := range results {
				if result != results[0] {
					t.Errorf("%s: clients were told %v", key, results)
				}
			}
			if made.Load() != 1 {
				t.Errorf("%s: %d clients have made the call", key, made.Load())
			}
		})
	}
	working.Wait()
	if n := runs.Load(); n != calls {
		t.Errorf("%d calls ran, want %d", n, calls)
	}
	if err := all[0].Call(t.Context(), "number", "something else", nil, client.Key("key 0")); !errors.Is(err, client.CodeConflict) {
		t.Errorf("other args: got %v", err)
	}
	await(t, "the outcome is not kept any more", func() bool {
		return errors.Is(all[0].Call(t.Context(), "number", nil, nil, client.Key("key 0"), client.Join(0)), client.CodeGone)
	})
}
