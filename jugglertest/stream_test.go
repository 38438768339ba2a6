package jugglertest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// countTo answers with the numbers up to n in parts.
func countTo(_ context.Context, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i+1, nil) {
				return
			}
		}
	}
}

// newStreaming returns a system that counts, and a client.
func newStreaming(t *testing.T, opts ...juggler.Option) (*jugglertest.Server, *client.Client) {
	t.Helper()
	srv := jugglertest.New(t, opts...)
	srv.Handle("count", calleekit.Stream(countTo))
	return srv, srv.Client()
}

// drain takes a whole answer, and pause before each part.
func drain(s *client.Stream, pause func()) (parts []int, err error) {
	for part, err := range client.PartsAs[int](s) {
		if err != nil {
			return parts, err
		}
		parts = append(parts, part)
		pause()
	}
	return parts, nil
}

// wantCount takes the answer to a count, which must be whole.
func wantCount(t *testing.T, c *client.Client, n int, pause func()) {
	t.Helper()
	s, err := c.Stream(t.Context(), "count", n)
	if err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, s, n, pause)
}

func wantNumbers(t *testing.T, s *client.Stream, n int, pause func()) {
	t.Helper()
	got, err := drain(s, pause)
	if err != nil || len(got) != n || !slices.IsSorted(got) {
		t.Errorf("count %d: got %v, %v", n, got, err)
	}
}

func noPause() {}

func TestStreamOfAWholeSystem(t *testing.T) {
	t.Parallel()
	srv, c := newStreaming(t)
	wantCount(t, c, 200, noPause)
	srv.Handle("sum", func(ctx context.Context, c *calleekit.Call) (any, error) {
		return c.Streaming(), c.Send(ctx, "half")
	})
	var streaming bool
	if err := c.Call(t.Context(), "sum", nil, &streaming); err != nil || streaming {
		t.Errorf("a call that wants no parts: %v, %v", streaming, err)
	}
}

// A broker that knows no parts answers with the result alone.
func TestStreamOnABrokerWithoutParts(t *testing.T) {
	t.Parallel()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	srv := jugglertest.NewOn(t, struct{ jugglertest.Roles }{b})
	srv.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
		return c.Streaming(), c.Send(ctx, 1)
	})
	s, err := srv.Client().Stream(t.Context(), "f", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := drain(s, noPause); len(got) > 0 || err != nil {
		t.Errorf("got parts %v, %v", got, err)
	}
	var streaming bool
	if err := s.Result(t.Context(), &streaming); err != nil || streaming {
		t.Errorf("result %v, %v; want false", streaming, err)
	}
}

// A part that is lost ends its call behind the parts before it, whether more parts follow or
// the result.
func TestLoseParts(t *testing.T) {
	for name, after := range map[string]func(ctx context.Context, c *calleekit.Call) error{
		"more parts follow": func(ctx context.Context, c *calleekit.Call) error {
			for range 5 {
				if err := c.Send(ctx, 0); err != nil {
					return err
				}
			}
			<-ctx.Done() // the end reaches the callee
			return ctx.Err()
		},
		"the result follows": func(context.Context, *calleekit.Call) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := jugglertest.New(t)
				srv.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
					c.Send(ctx, 1)
					srv.Broker.LoseParts(1)
					c.Send(ctx, 2)
					return nil, after(ctx, c)
				})
				s, err := srv.Client().Stream(t.Context(), "f", nil)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				got, err := drain(s, noPause)
				if !errors.Is(err, client.CodeCalleeLost) || !slices.Equal(got, []int{1}) {
					t.Errorf("got %v, %v; want the first part and 502", got, err)
				}
				if took := time.Since(start); took < 2*time.Second || took > 3*time.Second {
					t.Errorf("the call ended after %v", took)
				}
			})
		})
	}
}

// Grants that are lost delay a stream, and nothing else.
func TestLoseGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := newStreaming(t)
		srv.Broker.LoseGrants(4)
		start := time.Now()
		wantCount(t, c, 1000, noPause)
		if took := time.Since(start); took == 0 || took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

// While the broker is out of reach a stream stands still, and then goes on.
func TestStreamAcrossAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := newStreaming(t)
		down := 0
		wantCount(t, c, 500, func() {
			if down++; down%100 == 0 {
				srv.Broker.Down()
				time.AfterFunc(time.Second, srv.Broker.Up)
			}
		})
	})
}

// The callee of a stream that nobody takes any more is told, whatever the reason.
func TestAStreamThatIsLeftEndsAtItsCallee(t *testing.T) {
	for name, leave := range map[string]func(srv *jugglertest.Server, c *client.Client, s *client.Stream){
		"the loop is left": func(_ *jugglertest.Server, _ *client.Client, s *client.Stream) {
			for range s.Parts() {
				break
			}
		},
		"the connection breaks":    func(srv *jugglertest.Server, c *client.Client, _ *client.Stream) { srv.Drop(c) },
		"the client is closed":     func(_ *jugglertest.Server, c *client.Client, _ *client.Stream) { c.Close() },
		"nobody takes the parts":   func(*jugglertest.Server, *client.Client, *client.Stream) {},
		"the client stops reading": func(srv *jugglertest.Server, c *client.Client, _ *client.Stream) { srv.Stall(c, true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := jugglertest.New(t)
				began, ended := make(chan struct{}), make(chan error, 1)
				srv.Handle("endless", func(ctx context.Context, c *calleekit.Call) (any, error) {
					close(began)
					var err error
					for err == nil {
						err = c.Send(ctx, "more")
					}
					ended <- context.Cause(ctx)
					return nil, err
				})
				c := srv.Client()
				s, err := c.Stream(t.Context(), "endless", nil, client.WithTimeout(10*time.Minute))
				if err != nil {
					t.Fatal(err)
				}
				<-began
				start := time.Now()
				leave(srv, c, s)
				if err := <-ended; err != calleekit.ErrCancelled || time.Since(start) > 2*time.Minute {
					t.Errorf("the callee's context ended with %v after %v", err, time.Since(start))
				}
				srv.Stall(c, false)
			})
		})
	}
}

// Many clients, each with its pace, take streams of a few callees, while grants get lost
// and the broker fails: each stream is whole, and the slow do not hold up the fast.
func TestStreamsAtAnyPace(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 0))
				srv := jugglertest.New(t, juggler.WithStreamWindow(1+random.IntN(40)))
				srv.Handle("count", calleekit.Stream(countTo))
				stop := make(chan struct{})
				var faults, clients sync.WaitGroup
				for i := range 6 {
					n, slow := random.IntN(300), time.Duration(i*i)*5*time.Millisecond
					s, err := srv.Client().Stream(t.Context(), "count", n, client.WithTimeout(10*time.Minute))
					if err != nil {
						t.Fatal(err)
					}
					clients.Go(func() { wantNumbers(t, s, n, func() { time.Sleep(slow) }) })
				}
				faults.Go(func() {
					for at := seed; ; at++ {
						select {
						case <-stop:
							return
						case <-time.After(time.Second):
							srv.Broker.LoseGrants(int(at % 4))
						}
						if at%5 == 0 {
							srv.Broker.Down()
							time.Sleep(100 * time.Millisecond)
							srv.Broker.Up()
						}
					}
				})
				clients.Wait()
				close(stop)
				faults.Wait()
			})
		})
	}
}
