package memory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

// A system is a broker with one node, whose results it keeps.
type system struct {
	t      testing.TB
	broker *memory.Broker
	caller broker.CallerConn

	mu      sync.Mutex // guards the following
	serial  byte
	results map[broker.Address]broker.Result
}

func newSystem(t testing.TB, opts ...memory.Option) *system {
	t.Helper()
	s := &system{t: t, broker: newBroker(t, opts...), results: make(map[broker.Address]broker.Result)}
	var err error
	s.caller, err = s.broker.OpenCaller(t.Context(), broker.ID{1}, func(results []broker.Result) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range results {
			s.results[r.To] = broker.Result{To: r.To, Args: slices.Clone(r.Args), Err: r.Err}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *system) callee(cancelled func([]broker.Address), uris ...string) broker.CalleeConn {
	s.t.Helper()
	c, err := s.broker.OpenCallee(s.t.Context(), uris, cancelled)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// makeCall returns a call with its address as the arguments.
func (s *system) makeCall(uri string, timeout time.Duration) (broker.Address, *broker.Call) {
	s.mu.Lock()
	s.serial++
	to := broker.Address{Node: broker.ID{1}, Ref: [16]byte{s.serial}}
	s.mu.Unlock()
	return to, &broker.Call{URI: uri, ReplyTo: to, Timeout: timeout, Args: to.Ref[:]}
}

// call makes such a call.
func (s *system) call(uri string, timeout time.Duration) (broker.Address, error) {
	to, c := s.makeCall(uri, timeout)
	return to, s.caller.Call(s.t.Context(), c)
}

func (s *system) mustCall(uri string, timeout time.Duration) broker.Address {
	s.t.Helper()
	to, err := s.call(uri, timeout)
	if err != nil {
		s.t.Fatal(err)
	}
	return to
}

// take takes up to most calls that are there, and must not wait.
func (s *system) take(c broker.CalleeConn, most int) []broker.Call {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	dst := make([]broker.Call, most)
	n, err := c.Take(ctx, dst)
	if err != nil {
		s.t.Fatal(err)
	}
	return dst[:n]
}

// outcomes returns the results that have arrived.
func (s *system) outcomes() map[broker.Address]broker.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.results)
}

// uris returns the URIs of calls, in order.
func uris(calls []broker.Call) (uris []string) {
	for _, c := range calls {
		uris = append(uris, c.URI)
	}
	return uris
}

// A call expires on the nanosecond, and a queue full of expired calls is empty.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, memory.WithQueueCapacity(2))
		c := s.callee(nil, "u")
		s.mustCall("u", time.Second)
		alive := s.mustCall("u", time.Second+1)
		if _, err := s.call("u", time.Second); !errors.Is(err, broker.ErrQueueFull) {
			t.Fatalf("Call returned %v", err)
		}
		time.Sleep(time.Second)
		last := s.mustCall("u", time.Second)
		calls := s.take(c, 8)
		if len(calls) != 2 || calls[0].ReplyTo != alive || calls[1].ReplyTo != last {
			t.Fatalf("took %+v", calls)
		}
		if calls[0].Timeout != 1 || calls[1].Timeout != time.Second {
			t.Errorf("%v and %v are left", calls[0].Timeout, calls[1].Timeout)
		}
		if err := c.Reply(t.Context(), []broker.Result{{To: alive}, {To: last}}); err != nil {
			t.Error(err)
		}
		if _, calls, bytes := s.broker.Held(); calls != 0 || bytes != 0 {
			t.Errorf("%d calls and %d bytes are held", calls, bytes)
		}
	})
}

// The largest timeout there is does not overflow.
func TestEndlessTimeout(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil, "u")
	to := s.mustCall("u", 1<<63-1)
	if calls := s.take(c, 1); calls[0].ReplyTo != to || calls[0].Timeout <= 0 {
		t.Errorf("took %+v", calls)
	}
}

// The grace ends on the nanosecond and begins with the last callee's Close. What
// waits then is answered, what has ended before is not.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		a, b := s.callee(nil, "u"), s.callee(nil, "u")
		a.Close()
		time.Sleep(time.Hour)
		s.mustCall("u", time.Second)
		b.Close()
		time.Sleep(5*time.Second - 1)
		to := s.mustCall("u", time.Minute)
		synctest.Wait()
		if got := s.outcomes(); len(got) != 0 {
			t.Errorf("before the grace is over %v are answered", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := s.outcomes(); len(got) != 1 || got[to].Err != broker.ErrUnserved {
			t.Errorf("answered are %v", got)
		}
		if _, err := s.call("u", time.Minute); !errors.Is(err, broker.ErrNoCallee) {
			t.Fatalf("Call returned %v", err)
		}
		if _, calls, bytes := s.broker.Held(); calls != 0 || bytes != 0 {
			t.Errorf("%d calls and %d bytes are held", calls, bytes)
		}
	})
}

// Without a grace calls end with the last callee.
func TestNoGrace(t *testing.T) {
	s := newSystem(t, memory.WithCalleeGrace(0))
	c := s.callee(nil, "u")
	to := s.mustCall("u", time.Minute)
	c.Close()
	if got := s.outcomes(); len(got) != 1 || got[to].Err != broker.ErrUnserved {
		t.Errorf("answered are %v", got)
	}
}

// Nothing runs for a grace when the broker has closed.
func TestCloseInGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil, "u")
		s.mustCall("u", time.Minute)
		c.Close()
		s.broker.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.outcomes(); len(got) != 0 {
			t.Errorf("answered are %v", got)
		}
	})
}

func TestWithoutDiscovery(t *testing.T) {
	s := newSystem(t, memory.WithoutCalleeDiscovery())
	to := s.mustCall("u", time.Minute)
	if calls := s.take(s.callee(nil, "u"), 8); len(calls) != 1 || calls[0].ReplyTo != to {
		t.Errorf("took %+v", calls)
	}
}

// Without discovery anybody can make queues. They do not stay.
func TestForgottenQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, memory.WithoutCalleeDiscovery())
		for round := range 10 {
			for i := range 1000 {
				to := broker.Address{Node: broker.ID{1}, Ref: [16]byte{byte(i >> 8), byte(i)}}
				err := s.caller.Call(t.Context(), &broker.Call{URI: fmt.Sprint(round, "/", i), ReplyTo: to, Timeout: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				s.caller.Cancel(t.Context(), "", to)
			}
			time.Sleep(time.Second)
		}
		if queues, calls, bytes := s.broker.Held(); queues > 2000 || calls != 0 || bytes != 0 {
			t.Errorf("%d queues, %d calls and %d bytes are held", queues, calls, bytes)
		}
	})
}

// The bytes of all queues are bounded together; expired calls make room.
func TestQueueBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, memory.WithQueueBytes(64<<10))
		c := s.callee(nil, "a", "b", "c")
		call := func(uri string, bytes int) error {
			s.serial++
			to := broker.Address{Node: broker.ID{1}, Ref: [16]byte{s.serial}}
			return s.caller.Call(t.Context(), &broker.Call{URI: uri, ReplyTo: to, Timeout: time.Second, Args: make([]byte, bytes)})
		}
		if err := call("a", 100<<10); err != nil {
			t.Errorf("a call larger than the bound is refused by empty queues: %v", err)
		}
		if err := call("a", 1); !errors.Is(err, broker.ErrQueueFull) {
			t.Errorf("with all bytes used Call returned %v", err)
		}
		s.take(c, 1)
		for i := range 3 {
			if err := call("a", 20<<10); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if err := call("b", 20<<10); !errors.Is(err, broker.ErrQueueFull) {
			t.Errorf("of another queue Call returned %v", err)
		}
		if err := call("c", 1<<10); err != nil {
			t.Errorf("a call that there is room for: %v", err)
		}
		time.Sleep(time.Second)
		if err := call("b", 60<<10); err != nil {
			t.Errorf("with expired calls only Call returned %v", err)
		}
	})
}

// The time to retry after is how long the queue takes at the rate of the last
// second, within bounds.
func TestRetryAfter(t *testing.T) {
	for _, r := range []struct {
		queued    int
		rate      float64
		low, high time.Duration
	}{
		{1000, 1000, time.Second, 1250 * time.Millisecond},
		{100, 1000, 100 * time.Millisecond, 125 * time.Millisecond},
		{10, 1000, 50 * time.Millisecond, 63 * time.Millisecond},
		{1000, 1, 8 * time.Second, 10 * time.Second},
		{1000, 0, 8 * time.Second, 10 * time.Second},
	} {
		for range 100 {
			if got := memory.RetryAfter(r.queued, r.rate); got < r.low || got > r.high {
				t.Errorf("%d calls at %v a second: %v, want %v to %v", r.queued, r.rate, got, r.low, r.high)
			}
		}
	}

	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, memory.WithQueueCapacity(100))
		c := s.callee(nil, "u")
		for range 200 { // 100 calls a second
			s.mustCall("u", time.Minute)
			c.Reply(t.Context(), []broker.Result{{To: s.take(c, 1)[0].ReplyTo}})
			time.Sleep(10 * time.Millisecond)
		}
		var err error
		for err == nil {
			_, err = s.call("u", time.Minute)
		}
		if after := broker.RetryAfter(err); after < 900*time.Millisecond || after > 1300*time.Millisecond {
			t.Errorf("100 calls at 100 a second: retry after %v", after)
		}
	})
}

// Take goes round the URIs that have calls, and goes on where it ended.
func TestRotation(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil, "a", "b", "c", "d")
	for range 6 {
		s.mustCall("a", time.Minute)
		s.mustCall("c", time.Minute)
	}
	s.mustCall("b", time.Minute)
	var got []string
	for _, most := range []int{1, 3, 1, 64} {
		got = append(got, uris(s.take(c, most))...)
	}
	want := []string{"a", "b", "c", "a", "c", "a", "c", "a", "c", "a", "c", "a", "c"}
	if !slices.Equal(got, want) {
		t.Errorf("took %v, want %v", got, want)
	}
}

// Callees that wait get calls in turn.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		const callees = 3
		took := make(chan int)
		for i := range callees {
			c := s.callee(nil, "u")
			go func() {
				dst := make([]broker.Call, 4)
				for {
					n, err := c.Take(context.Background(), dst)
					if err != nil {
						return
					}
					for range n {
						took <- i
					}
				}
			}()
		}
		var got [callees]int
		for range 10 * callees {
			synctest.Wait()
			s.mustCall("u", time.Minute)
			got[<-took]++
		}
		for i, n := range got {
			if n != 10 {
				t.Errorf("callee %d took %d calls of %d", i, n, 10*callees)
			}
		}
		s.broker.Close()
	})
}

// A call that was handed to a Take is still queued until the Take returns: it
// can be cancelled, and goes to another callee if its own closes.
func TestHandedCalls(t *testing.T) {
	for round := range 300 {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t)
			var mu sync.Mutex
			told := make(map[broker.Address]bool)
			first := s.callee(func(to []broker.Address) {
				mu.Lock()
				defer mu.Unlock()
				for _, a := range to {
					told[a] = true
				}
			}, "u")
			var taken []broker.Address
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				dst := make([]broker.Call, 2)
				for {
					n, err := first.Take(context.Background(), dst)
					if err != nil {
						return
					}
					for _, call := range dst[:n] {
						taken = append(taken, call.ReplyTo)
					}
				}
			}()
			if round%4 < 2 {
				synctest.Wait() // in Take: the calls are handed over
			}
			cancelled := s.mustCall("u", time.Minute)
			s.caller.Cancel(t.Context(), "u", cancelled)
			kept := s.mustCall("u", time.Minute)
			if round%2 == 0 {
				second := s.callee(nil, "u")
				first.Close()
				<-ended
				if !slices.Contains(taken, kept) {
					if calls := s.take(second, 2); len(calls) != 1 || calls[0].ReplyTo != kept {
						t.Fatalf("another callee took %+v", calls)
					}
				} else if s.results[kept].Err != broker.ErrCalleeLost {
					t.Fatalf("a call that was taken before Close ended in %+v", s.results[kept])
				}
			} else {
				first.Close()
				<-ended
			}
			if slices.Contains(taken, cancelled) && s.results[cancelled].Err != nil {
				t.Fatalf("a call that was cancelled ended in %+v", s.results[cancelled])
			}
			if !slices.Contains(taken, cancelled) && told[cancelled] {
				t.Fatal("the callee was told of a call that it had not taken")
			}
			s.broker.Close()
		})
	}
}

func TestMisuse(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	to := broker.Address{Node: broker.ID{1}, Ref: [16]byte{200}}
	c := s.callee(nil, "u")
	if err := s.caller.Call(ctx, &broker.Call{URI: "u", ReplyTo: to, Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"an address that is in use":   s.caller.Call(ctx, &broker.Call{URI: "u", ReplyTo: to, Timeout: time.Minute}),
		"an address of another node":  s.caller.Call(ctx, &broker.Call{URI: "u", Timeout: time.Minute}),
		"no time left":                s.caller.Call(ctx, &broker.Call{URI: "u", ReplyTo: broker.Address{Node: broker.ID{1}}}),
		"a node that is open":         errorOf(s.broker.OpenCaller(ctx, broker.ID{1}, func([]broker.Result) {})),
		"a node without deliver":      errorOf(s.broker.OpenCaller(ctx, broker.ID{2}, nil)),
		"a callee without URIs":       errorOf(s.broker.OpenCallee(ctx, nil, nil)),
		"a callee of one URI twice":   errorOf(s.broker.OpenCallee(ctx, []string{"a", "a"}, nil)),
		"a subscriber without a func": errorOf(s.broker.OpenSubscriber(ctx, nil)),
		"an event without channel":    s.broker.Publish(ctx, &broker.Event{}),
	} {
		if err == nil {
			t.Errorf("%s is no error", name)
		}
	}
	if n, err := c.Take(ctx, nil); n != 0 || err != nil {
		t.Errorf("Take without room returned %d, %v", n, err)
	}
	if calls := s.take(c, 8); len(calls) != 1 {
		t.Errorf("took %+v", calls)
	}
}

func errorOf[T any](_ T, err error) error { return err }

// Only one goroutine may wait in Take; a second one is told so.
func TestConcurrentTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil, "u")
		go c.Take(context.Background(), make([]broker.Call, 1))
		synctest.Wait()
		if _, err := c.Take(t.Context(), make([]broker.Call, 1)); err == nil {
			t.Error("no error")
		}
		c.Close()
	})
}

// After Close everything is refused and nothing is held, whatever was going on.
func TestClose(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	c := s.callee(func([]broker.Address) {}, "u", "v")
	sub, err := s.broker.OpenSubscriber(ctx, func([]broker.Delivery) {})
	if err != nil {
		t.Fatal(err)
	}
	sub.Subscribe(ctx, broker.Topic{Name: "c"})
	sub.Subscribe(ctx, broker.Topic{Name: "c*", Pattern: true})
	taken := s.mustCall("u", time.Minute)
	s.take(c, 1)
	s.caller.Cancel(ctx, "u", taken)
	s.mustCall("u", time.Minute)
	s.mustCall("v", time.Minute)

	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			if err := s.broker.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	closers.Wait()

	errs := make([]error, 1)
	s.broker.PublishBatch(ctx, make([]broker.Event, 1), errs)
	s.caller.(broker.BatchCaller).CallBatch(ctx, []broker.Call{{URI: "u", ReplyTo: broker.Address{Node: broker.ID{1}}, Timeout: 1}}, errs)
	for name, err := range map[string]error{
		"Call":           errorOf(s.call("u", time.Minute)),
		"CallBatch":      errs[0],
		"Cancel":         s.caller.Cancel(ctx, "u", taken),
		"Take":           errorOf(c.Take(ctx, make([]broker.Call, 1))),
		"Reply":          c.Reply(ctx, nil),
		"Publish":        s.broker.Publish(ctx, &broker.Event{Channel: "c"}),
		"Subscribe":      sub.Subscribe(ctx, broker.Topic{Name: "c"}),
		"Unsubscribe":    sub.Unsubscribe(ctx, broker.Topic{Name: "c"}),
		"OpenCaller":     errorOf(s.broker.OpenCaller(ctx, broker.ID{2}, func([]broker.Result) {})),
		"OpenCallee":     errorOf(s.broker.OpenCallee(ctx, []string{"u"}, nil)),
		"OpenSubscriber": errorOf(s.broker.OpenSubscriber(ctx, func([]broker.Delivery) {})),
	} {
		if !errors.Is(err, broker.ErrClosed) {
			t.Errorf("%s returned %v", name, err)
		}
	}
	if queues, calls, bytes := s.broker.Held(); queues != 0 || calls != 0 || bytes != 0 {
		t.Errorf("%d queues, %d calls and %d bytes are held", queues, calls, bytes)
	}
	if exact, patterns := s.broker.Topics(); exact != 0 || patterns != 0 {
		t.Errorf("%d channels and %d patterns are held", exact, patterns)
	}
}

// Close waits for the callbacks of connections that others are closing, too.
func TestCloseWaitsForConnectionsThatClose(t *testing.T) {
	for _, kind := range []string{"caller", "callee", "subscriber"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t)
				ctx := t.Context()
				running := true
				held := func() { time.Sleep(time.Second); running = false }
				to := broker.Address{Node: broker.ID{1}}
				callers, _ := b.OpenCaller(ctx, to.Node, func([]broker.Result) { held() })
				callees, _ := b.OpenCallee(ctx, []string{"u"}, func([]broker.Address) { held() })
				subscribers, _ := b.OpenSubscriber(ctx, func([]broker.Delivery) { held() })
				callers.Call(ctx, &broker.Call{URI: "u", ReplyTo: to, Timeout: time.Minute})
				callees.Take(ctx, make([]broker.Call, 1))
				subscribers.Subscribe(ctx, broker.Topic{Name: "c"})
				var conn interface{ Close() error }
				switch kind {
				case "caller":
					conn = callers
					go callees.Reply(ctx, []broker.Result{{To: to}})
				case "callee":
					conn = callees
					callers.Cancel(ctx, "u", to)
				case "subscriber":
					conn = subscribers
					go b.Publish(ctx, &broker.Event{Channel: "c"})
				}
				synctest.Wait()
				go conn.Close()
				synctest.Wait()
				b.Close()
				if running {
					t.Error("Close returned while a callback ran")
				}
				time.Sleep(time.Minute) // should it have, the others end first
			})
		})
	}
}

// Subscriptions that come and go leave nothing, in whatever order they do.
func TestTopicsAreForgotten(t *testing.T) {
	b := newBroker(t)
	ctx := t.Context()
	topics := []broker.Topic{{Name: "a"}, {Name: "b"}, {Name: "a*", Pattern: true}, {Name: "b*", Pattern: true}, {Name: "*", Pattern: true}}
	for range 200 {
		var subs []broker.SubscriberConn
		for range 3 {
			s, err := b.OpenSubscriber(ctx, func([]broker.Delivery) {})
			if err != nil {
				t.Fatal(err)
			}
			subs = append(subs, s)
		}
		for range 40 {
			s, topic := subs[rand.IntN(len(subs))], topics[rand.IntN(len(topics))]
			if rand.IntN(2) == 0 {
				s.Subscribe(ctx, topic)
			} else {
				s.Unsubscribe(ctx, topic)
			}
			b.Publish(ctx, &broker.Event{Channel: "a"})
		}
		for _, s := range subs {
			s.Close()
		}
		if exact, patterns := b.Topics(); exact != 0 || patterns != 0 {
			t.Fatalf("%d channels and %d patterns are held", exact, patterns)
		}
	}
}

// A panic of a callback goes to who caused it and breaks nothing.
func TestPanicInCallback(t *testing.T) {
	b := newBroker(t)
	ctx := t.Context()
	delivered := 0
	for range 2 {
		s, err := b.OpenSubscriber(ctx, func(batch []broker.Delivery) {
			if delivered++; delivered == 1 {
				panic("on purpose")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Subscribe(ctx, broker.Topic{Name: "c"})
		defer s.Close()
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		b.Publish(ctx, &broker.Event{Channel: "c"})
	}()
	if err := b.Publish(ctx, &broker.Event{Channel: "c"}); err != nil || delivered != 3 {
		t.Errorf("after a panic: %v, %d deliveries", err, delivered)
	}
}

// Making room once removed the queue that the room was for: the call that it
// then got was never taken.
func TestRoomForNewQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, memory.WithoutCalleeDiscovery(), memory.WithQueueBytes(64<<10))
		large := func(uri string, ref byte) broker.Address {
			to := broker.Address{Node: broker.ID{1}, Ref: [16]byte{ref}}
			err := s.caller.Call(t.Context(), &broker.Call{URI: uri, ReplyTo: to, Timeout: time.Second, Args: make([]byte, 60<<10)})
			if err != nil {
				t.Fatal(err)
			}
			return to
		}
		large("a", 1)
		time.Sleep(time.Second)
		to := large("b", 2)
		if calls := s.take(s.callee(nil, "b"), 1); calls[0].ReplyTo != to {
			t.Errorf("took %+v", calls)
		}
	})
}
