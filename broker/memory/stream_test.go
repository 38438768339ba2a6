package memory_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/loan"
)

// A streamSystem is a broker with a node and a callee of "f" between which answers come in
// parts.
type streamSystem struct {
	system
	node   broker.StreamCallerConn
	callee broker.StreamCalleeConn

	parts     []broker.Part // guarded by system.mu, as are the following
	granted   []broker.Grant
	cancelled []broker.Address
}

func newStreamSystem(t *testing.T) *streamSystem {
	t.Helper()
	s := &streamSystem{system: system{t: t, broker: newBroker(t), results: make(map[broker.Address]broker.Result)}}
	var err error
	s.node, err = s.broker.OpenStreamCaller(t.Context(), broker.ID{1}, func(results []broker.Result) {
		locked(&s.mu, func() {
			for _, r := range results {
				s.results[r.To] = r
			}
		})
	}, func(parts []broker.Part) { locked(&s.mu, func() { s.parts = append(s.parts, parts...) }) })
	if err != nil {
		t.Fatal(err)
	}
	s.caller = s.node
	s.callee, err = s.broker.OpenStreamCallee(t.Context(), []string{"f"},
		func(calls []broker.Address) { locked(&s.mu, func() { s.cancelled = append(s.cancelled, calls...) }) },
		func(grants []broker.Grant) { locked(&s.mu, func() { s.granted = append(s.granted, grants...) }) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func locked(mu *sync.Mutex, f func()) {
	mu.Lock()
	defer mu.Unlock()
	f()
}

// stream makes a call whose answer may come in parts.
func (s *streamSystem) stream(w broker.Window) broker.Address {
	s.t.Helper()
	to, c := s.makeCall("f", time.Minute)
	c.Window = w
	if err := s.node.Call(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
	return to
}

func (s *streamSystem) send(to broker.Address, n uint32) error {
	return s.callee.SendPart(s.t.Context(), &broker.Part{To: to, N: n, Args: []byte("1")})
}

var oneKiB = broker.Window{Parts: 8, Bytes: 1 << 10}

// A call that waits brings the greatest window that was granted.
func TestGrantForACallThatWaits(t *testing.T) {
	s := newStreamSystem(t)
	to := s.stream(oneKiB)
	more := broker.Window{Parts: 9, Bytes: 2 << 10}
	for _, w := range []broker.Window{more, oneKiB} {
		if err := s.node.Grant(t.Context(), []broker.Grant{{To: to, Window: w}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.take(s.callee, 2); len(got) != 1 || got[0].Window != more {
		t.Errorf("took %+v, want one call with the window %v", got, more)
	}
	if len(s.granted) > 0 {
		t.Errorf("told of %v, which the call had brought", s.granted)
	}
}

// A callee and a node that know no parts neither see a window nor hold up the other.
func TestOnlyWhoKnowsPartsSeesAWindow(t *testing.T) {
	t.Run("callee", func(t *testing.T) {
		s := newStreamSystem(t)
		s.callee.Close()
		plain := s.system.callee(nil, "f")
		s.stream(oneKiB)
		if got := s.take(plain, 1); len(got) != 1 || got[0].Window != (broker.Window{}) {
			t.Errorf("took %+v, want one call without a window", got)
		}
	})
	t.Run("caller", func(t *testing.T) {
		s := newStreamSystem(t)
		plain, err := s.broker.OpenCaller(t.Context(), broker.ID{2}, func([]broker.Result) {})
		if err != nil {
			t.Fatal(err)
		}
		to := broker.Address{Node: broker.ID{2}}
		if err := plain.Call(t.Context(), &broker.Call{URI: "f", ReplyTo: to, Timeout: time.Minute, Window: oneKiB}); err != nil {
			t.Fatal(err)
		}
		if got := s.take(s.callee, 1); len(got) != 1 || got[0].Window != (broker.Window{}) {
			t.Errorf("took %+v, want one call without a window", got)
		}
		if err := s.send(to, 1); !errors.Is(err, broker.ErrCallOver) {
			t.Errorf("a part for a node that knows none: %v, want ErrCallOver", err)
		}
	})
}

// A node that closes cancels what it gets in parts: nobody else would stop it. What waits
// is dropped, what a callee has is told to it, and what has no parts goes on.
func TestANodeThatClosesCancelsItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreamSystem(t)
		running := s.stream(oneKiB)
		plain := s.mustCall("f", time.Minute)
		if got := s.take(s.callee, 2); len(got) != 2 {
			t.Fatalf("took %+v, want two calls", got)
		}
		waits := s.mustCall("f", time.Minute)
		s.stream(oneKiB)

		s.node.Close()
		synctest.Wait()
		if want := []broker.Address{running}; !slices.Equal(s.cancelled, want) {
			t.Errorf("told that %v are cancelled, want %v, not %v", s.cancelled, want, plain)
		}
		if err := s.send(running, 1); !errors.Is(err, broker.ErrCallOver) {
			t.Errorf("a part for a node that is gone: %v, want ErrCallOver", err)
		}
		if got := s.take(s.callee, 2); len(got) != 1 || got[0].ReplyTo != waits {
			t.Errorf("then took %+v, want only %v", got, waits)
		}
	})
}

// A call that is handed to a Take just then is either dropped, or its callee is told.
func TestANodeThatClosesTakesBackWhatItHandedOver(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			s := newStreamSystem(t)
			k := startTaker(t, s.callee)
			s.stream(oneKiB)
			s.node.Close()
			synctest.Wait()
			k.want(t, "after the node has closed", s.cancelled...)
			if _, calls, _ := s.broker.Held(); calls != len(s.cancelled) {
				t.Errorf("the broker holds %d calls, and has told of %d", calls, len(s.cancelled))
			}
		})
	}
}

// A call with a window wakes its callee: the goroutine of an event loop must not wait for
// a client to take parts.
func TestStreamsAreNotLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreamSystem(t)
		b := borrow(s.callee, takeAll)
		k := startTaker(t, s.callee)
		l := &lender{Loan: s.node.(loan.CallerConn).NewLoan()}
		to, c := s.makeCall("f", time.Minute)
		c.Window = oneKiB
		if err := l.Call(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		k.want(t, "at once", to)
		if l.EndCalls() || b.borrowers > 0 {
			t.Error("a loan waits for Work, want none")
		}
	})
}

func TestPartsAllocateNothing(t *testing.T) {
	ctx, b := context.Background(), newBroker(t)
	received := 0
	node, err := b.OpenStreamCaller(ctx, broker.ID{1}, func([]broker.Result) {}, func(parts []broker.Part) { received += len(parts) })
	if err != nil {
		t.Fatal(err)
	}
	granted := 0
	callee, err := b.OpenStreamCallee(ctx, []string{"f"}, func([]broker.Address) {}, func(g []broker.Grant) { granted += len(g) })
	if err != nil {
		t.Fatal(err)
	}
	to := broker.Address{Node: broker.ID{1}}
	if err := node.Call(ctx, &broker.Call{URI: "f", ReplyTo: to, Timeout: time.Hour, Window: oneKiB}); err != nil {
		t.Fatal(err)
	}
	if n, err := callee.Take(ctx, make([]broker.Call, 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	p := broker.Part{To: to, Args: []byte("1")}
	g := []broker.Grant{{To: to, Window: oneKiB}}
	wantNoAllocations(t, func() {
		p.N++
		g[0].Window.Parts++
		if err := callee.SendPart(ctx, &p); err != nil {
			t.Fatal(err)
		}
		if err := node.Grant(ctx, g); err != nil {
			t.Fatal(err)
		}
	})
	if received != int(p.N) || granted != int(p.N) {
		t.Errorf("%d parts and %d grants arrived, want %d of each", received, granted, p.N)
	}
}
