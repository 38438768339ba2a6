//go:build long

package systemtest_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A callee that lives, but is not heard for about as long as its lease, answers
// while the reaper reports its calls lost: whoever is first, each call has one
// outcome, and the callee goes on.
func TestCalleeRacesReaper(t *testing.T) {
	t.Parallel()
	const lease = 400 * time.Millisecond
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	n := startNode(t, quick(withAddr(server.Addr), redis.WithCalleeLease(lease))...)
	began := make(chan struct{}, maxPending)
	startCallee(t, map[string]calleekit.HandlerFunc{
		"echo": echo,
		// Calls end at different times, around the end of the lease.
		"slow": func(ctx context.Context, c *calleekit.Call) (any, error) {
			var key callKey
			if err := json.Unmarshal(c.Args, &key); err != nil {
				return nil, err
			}
			began <- struct{}{}
			select {
			case <-time.After(lease/2 + time.Duration(key.Serial%50)*lease/25):
				return &c.Args, nil
			case <-ctx.Done(): // the test is over
				return nil, ctx.Err()
			}
		},
	}, quick(withAddr(proxy.Addr), redis.WithCalleeLease(lease))...)

	s := openSession(&soak{t: t, books: newBooks(), over: make(chan struct{})}, n)
	outcomes := map[string]int{}
	for round := 0; outcomes["RES"] == 0 || outcomes["RES 502"] == 0; round++ {
		if round == 20 {
			t.Fatalf("in %d rounds all calls had the same outcome: %v", round, outcomes)
		}
		var serials []uint32
		for range 50 {
			serials = append(serials, s.call("slow", patience, 0))
		}
		for range serials {
			<-began
		}
		proxy.Cut()
		<-time.After(lease * time.Duration(3+round%3) / 4)
		proxy.Restore()
		for _, serial := range serials {
			outcomes[s.outcome(serial)]++
		}
		s.until("the callee goes on", func() bool { return s.outcome(s.call("echo", patience, 0)) == "RES" })
	}
	t.Logf("%v", outcomes)
	s.end()
	s.books.check(t)
	wantExpiry(t, server.Client())
}
