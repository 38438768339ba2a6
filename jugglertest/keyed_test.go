package jugglertest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// sameScope lets all sessions share their keys.
var sameScope = juggler.WithKeyScope(func(juggler.Session) string { return "all" })

// A job is a function that counts how often it runs, and takes its time.
type job struct {
	took time.Duration
	runs atomic.Int32
}

func (j *job) run(ctx context.Context, _ *calleekit.Call) (any, error) {
	run := j.runs.Add(1)
	select {
	case <-time.After(j.took):
		return run, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keyedSystem runs f in simulated time with a system that has the job, and a client.
func keyedSystem(t *testing.T, j *job, f func(t *testing.T, srv *jugglertest.Server, c *client.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, sameScope)
		srv.Handle("job", j.run)
		f(t, srv, srv.Client())
	})
}

// begin calls the job with a key and returns how to wait for the outcome.
func begin(c *client.Client) (outcome func() (run int, err error)) {
	type result struct {
		run int
		err error
	}
	done := make(chan result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		var r result
		r.err = c.Call(ctx, "job", nil, &r.run, client.Key("k"))
		done <- r
	}()
	synctest.Wait()
	return func() (int, error) {
		r := <-done
		return r.run, r.err
	}
}

func wantRun(t *testing.T, outcome func() (int, error), want int) {
	t.Helper()
	if run, err := outcome(); run != want || err != nil {
		t.Errorf("the outcome is that of run %d, %v; want run %d", run, err, want)
	}
}

// A call with a key outlives the connection that made it, and runs once for all who join.
func TestKeyedCall(t *testing.T) {
	j := &job{took: 10 * time.Second}
	keyedSystem(t, j, func(t *testing.T, srv *jugglertest.Server, c *client.Client) {
		first, second := begin(c), begin(srv.Client())
		srv.Drop(c)
		wantRun(t, first, 1)
		wantRun(t, second, 1)
		wantRun(t, begin(srv.Client()), 1)
	})
}

// Who has missed the news of an outcome gets it all the same.
func TestLoseNews(t *testing.T) {
	j := &job{took: time.Second}
	keyedSystem(t, j, func(t *testing.T, srv *jugglertest.Server, c *client.Client) {
		start := time.Now()
		srv.Broker.LoseNews(1)
		wantRun(t, begin(c), 1)
		if waited := time.Since(start); waited <= j.took {
			t.Errorf("the outcome came after %v, as if no news had been lost", waited)
		}
	})
}

// When a record is lost, who waits is told so, and the next CALL runs the call again.
func TestLoseCall(t *testing.T) {
	j := &job{took: time.Minute}
	keyedSystem(t, j, func(t *testing.T, srv *jugglertest.Server, c *client.Client) {
		outcome := begin(c)
		srv.Broker.LoseCall("job", "all", "another key")
		srv.Broker.LoseCall("job", "all", "k")
		if _, err := outcome(); !errors.Is(err, client.CodeGone) {
			t.Errorf("the outcome of a call that is lost is %v", err)
		}
		wantRun(t, begin(c), 2)
	})
}

// A broker that is down accepts no call with a key, and goes on with those that it has.
func TestKeyedCallWhileDown(t *testing.T) {
	j := &job{took: time.Second}
	keyedSystem(t, j, func(t *testing.T, srv *jugglertest.Server, c *client.Client) {
		outcome := begin(c)
		srv.Broker.Down()
		err := c.Call(t.Context(), "job", nil, nil, client.Key("other"))
		if !errors.Is(err, client.CodeUnavailable) && !errors.Is(err, client.CodeExpired) {
			t.Errorf("a call with a key while the broker is down: %v", err)
		}
		time.Sleep(5 * time.Second)
		srv.Broker.Up()
		wantRun(t, outcome, 1)
	})
}

// Calls with keys that run when a test ends are stopped.
func TestKeyedCallIsLeft(t *testing.T) {
	keyedSystem(t, &job{took: time.Hour}, func(_ *testing.T, _ *jugglertest.Server, c *client.Client) { begin(c) })
}

// A broker that keeps no calls has no sessions with keys.
func TestKeysOnABrokerWithout(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	srv := jugglertest.NewOn(t, struct{ jugglertest.Roles }{b})
	srv.Handle("job", new(job).run)
	if err := srv.Client().Call(t.Context(), "job", nil, nil, client.Key("k")); !errors.Is(err, client.ErrUnsupported) {
		t.Errorf("a call with a key: %v", err)
	}
}

// Whatever breaks, each key has one outcome for all, of the one time that its function ran.
func TestKeyedCallsThroughFaults(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			srv := jugglertest.New(t, sameScope)
			var mu sync.Mutex // guards the following
			runs := make(map[string]int)
			outcomes := make(map[string]string)
			srv.Handle("pay", func(_ context.Context, c *calleekit.Call) (any, error) {
				mu.Lock()
				runs[c.Key()]++
				outcome, takes := fmt.Sprint(c.Key(), " ", runs[c.Key()]), time.Duration(len(runs))*time.Second/3
				mu.Unlock()
				time.Sleep(takes)
				return outcome, nil
			})
			clients := []*client.Client{srv.Client(), srv.Client(), srv.Client()}
			var calling sync.WaitGroup
			for i, c := range clients {
				calling.Go(func() {
					random := rand.New(rand.NewPCG(seed, uint64(i)))
					for range 20 {
						key := fmt.Sprint("key ", random.IntN(10))
						got := payUntilDone(t, c, key)
						mu.Lock()
						if first, ok := outcomes[key]; ok && first != got {
							t.Errorf("%s has the outcomes %s and %s", key, first, got)
						}
						outcomes[key] = got
						mu.Unlock()
					}
				})
			}
			done := make(chan struct{})
			go func() {
				calling.Wait()
				close(done)
			}()
			breakThings(srv, clients, rand.New(rand.NewPCG(seed, 99)), done)
			for key, n := range runs {
				if n != 1 {
					t.Errorf("seed %d: the function ran %d times for %s", seed, n, key)
				}
			}
		})
	}
}

// payUntilDone repeats a call with a key while the server cannot take it.
func payUntilDone(t *testing.T, c *client.Client, key string) (outcome string) {
	for {
		err := c.Call(context.Background(), "pay", nil, &outcome, client.Key(key))
		if err == nil {
			return outcome
		}
		if !errors.Is(err, client.CodeUnavailable) && !errors.Is(err, client.CodeExpired) && !errors.Is(err, client.CodeInternal) {
			t.Errorf("%s: %v", key, err)
			return ""
		}
		time.Sleep(time.Second)
	}
}

// breakThings breaks connections, news and the broker until done is closed.
func breakThings(srv *jugglertest.Server, clients []*client.Client, random *rand.Rand, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(time.Duration(random.IntN(2000)) * time.Millisecond):
		}
		switch random.IntN(4) {
		case 0, 1:
			srv.Drop(clients[random.IntN(len(clients))])
		case 2:
			srv.Broker.LoseNews(3)
		case 3:
			srv.Broker.Down()
			time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
			srv.Broker.Up()
		}
	}
}
