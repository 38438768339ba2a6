package jugglertest_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// record is a test whose end and failures are in the hands of another one.
type record struct {
	testing.TB
	cleanups []func()
	errors   []string
}

func (r *record) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *record) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// end ends the test and returns what it failed with.
func (r *record) end() string {
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		f := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		f()
	}
	return strings.Join(r.errors, "\n")
}

// Two nodes in one test: what belongs to one is no leak of the other.
func TestTwoServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.New()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		one, two := jugglertest.NewOn(t, b), jugglertest.NewOn(t, b)
		two.Handle("math.add", calleekit.Typed(add))
		var sum int
		if err := one.Client().Call(t.Context(), "math.add", []int{1, 2}, &sum); err != nil || sum != 3 {
			t.Errorf("got %d, %v", sum, err)
		}
	})
}

// A goroutine that outlives its test is a failure, also of the first of two
// servers.
func TestLeakIsFound(t *testing.T) {
	for name, servers := range map[string]int{"one server": 1, "two servers": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &record{TB: t}
				for range servers {
					jugglertest.New(r)
				}
				stop := make(chan bool)
				go func() { <-stop }()
				if got := r.end(); !strings.Contains(got, "goroutines are left") || !strings.Contains(got, "TestLeakIsFound") {
					t.Errorf("got %q", got)
				}
				close(stop)
			})
		})
	}
}

// A client that dials on its own is closed like the others.
func TestClientWithItsOwnDialer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{TB: t}
		srv := jugglertest.New(r)
		c := srv.Client(client.WithDialer(func(ctx context.Context, _, _ string) (net.Conn, error) { return srv.Dial(ctx) }))
		if err := c.Publish(t.Context(), "news", 1); err != nil {
			t.Error(err)
		}
		if got := r.end(); got != "" {
			t.Error(got)
		}
	})
}

// After Close of a subscriber nothing is delivered, no gap either that was
// about to.
func TestNoGapAfterClose(t *testing.T) {
	srv := jugglertest.New(t)
	var conns [2]broker.SubscriberConn
	told, goOn := make(chan int), make(chan bool)
	for i := range conns {
		var err error
		conns[i], err = srv.Broker.OpenSubscriber(t.Context(), func([]broker.Delivery) {
			told <- i
			<-goOn
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := conns[i].Subscribe(t.Context(), broker.Topic{Name: "news"}); err != nil {
			t.Fatal(err)
		}
	}
	srv.Broker.Down()
	up := make(chan bool)
	go func() {
		srv.Broker.Up()
		close(up)
	}()
	first := <-told
	conns[1-first].Close()
	close(goOn)
	select {
	case <-up:
	case <-told:
		t.Error("delivered after Close")
		<-up
	}
	conns[first].Close()
}

// go test runs the examples that show tests, too.
func TestExamples(t *testing.T) {
	t.Run("outage", testOutage)
	t.Run("time", testSlow)
	t.Run("state", testState)
}
