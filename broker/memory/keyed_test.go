package memory_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

// A keyedSystem is a broker with a node that makes calls of "f" with keys, and a callee.
type keyedSystem struct {
	system
	node   broker.KeyedCallerConn
	callee broker.StreamCalleeConn

	news      []broker.CallKey // guarded by system.mu, as is the following
	cancelled []broker.Address
}

func newKeyedSystem(t *testing.T, opts ...memory.Option) *keyedSystem {
	t.Helper()
	s := &keyedSystem{system: system{t: t, broker: newBroker(t, opts...)}}
	s.node = s.openNode(broker.ID{1})
	s.openCallee()
	return s
}

func (s *keyedSystem) openNode(id broker.ID) broker.KeyedCallerConn {
	s.t.Helper()
	node, err := s.broker.OpenKeyedCaller(s.t.Context(), id,
		func(results []broker.Result) { s.t.Errorf("results of calls with keys: %v", results) },
		func(parts []broker.Part) { s.t.Errorf("parts of calls with keys: %v", parts) },
		func(keys []broker.CallKey) { locked(&s.mu, func() { s.news = append(s.news, keys...) }) })
	if err != nil {
		s.t.Fatal(err)
	}
	return node
}

func (s *keyedSystem) openCallee() {
	s.t.Helper()
	var err error
	s.callee, err = s.broker.OpenStreamCallee(s.t.Context(), []string{"f"},
		func(calls []broker.Address) { locked(&s.mu, func() { s.cancelled = append(s.cancelled, calls...) }) },
		func([]broker.Grant) {})
	if err != nil {
		s.t.Fatal(err)
	}
}

var owner = broker.NewCallKey("f", "user", "")

// attachment is for a call with a key of this name.
func attachment(name string) *broker.Attachment {
	return &broker.Attachment{
		Call:  &broker.Call{URI: "f", Key: broker.NewCallKey("f", "user", name), Timeout: time.Second, Args: []byte(name)},
		Owner: owner, MaxOwned: 100, Keep: time.Minute, MaxPartBytes: 1 << 10,
	}
}

func (s *keyedSystem) attach(a *broker.Attachment, want broker.CallState) {
	s.t.Helper()
	if err := s.node.Attach(s.t.Context(), a); err != nil || a.State != want {
		s.t.Fatalf("attached with %v, %v; want %v", a.State, err, want)
	}
}

func (s *keyedSystem) read(a *broker.Attachment) broker.CallRecord {
	var rec [1]broker.CallRecord
	s.node.ReadCalls(s.t.Context(), []broker.CallRead{{URI: "f", Key: a.Call.Key, MaxParts: 100, MaxBytes: 1 << 20}}, rec[:])
	return rec[0]
}

func (s *keyedSystem) reply(r broker.Result) {
	s.t.Helper()
	if err := s.callee.Reply(s.t.Context(), []broker.Result{r}); err != nil {
		s.t.Error(err)
	}
}

// wantNews checks how many news came since it was called last.
func (s *keyedSystem) wantNews(want int) {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.news) != want {
		s.t.Errorf("%d news, want %d", len(s.news), want)
	}
	s.news = nil
}

// code returns the code of an outcome, 0 if it is none or no error.
func code(rec broker.CallRecord) int {
	if rec.State == broker.CallDone && rec.Result.Err != nil {
		return int(rec.Result.Err.Code)
	}
	return 0
}

// A call is made once, its callee gets its key, and its outcome is kept for a time.
func TestKeyedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newKeyedSystem(t)
		a := attachment("k")
		s.attach(a, broker.CallNew)
		if stats := s.broker.Stats(); stats.KeyedCalls != 1 || stats.KeyedBytes == 0 || stats.QueuedCalls != 1 || stats.QueuedBytes == 0 {
			t.Errorf("the broker holds %+v", stats)
		}
		calls := s.take(s.callee, 2)
		if len(calls) != 1 || calls[0].Key != a.Call.Key || calls[0].ReplyTo.Node == (broker.ID{1}) {
			t.Fatalf("took %v", calls)
		}
		s.attach(attachment("k"), broker.CallRunning)
		if rec := s.read(a); rec.State != broker.CallRunning || rec.Left != time.Second {
			t.Errorf("the record is %+v", rec)
		}
		s.reply(broker.Result{To: calls[0].ReplyTo, Args: []byte("1")})
		s.wantNews(1)
		s.attach(attachment("k"), broker.CallDone)
		if rec := s.read(a); rec.State != broker.CallDone || string(rec.Result.Args) != "1" || rec.Late {
			t.Errorf("the record is %+v", rec)
		}
		other := attachment("k")
		other.Call.Args = []byte("other")
		if err := s.node.Attach(t.Context(), other); !errors.Is(err, broker.ErrOtherArgs) {
			t.Errorf("attached with %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if rec := s.read(a); rec.State != broker.CallGone {
			t.Errorf("the record is %+v", rec)
		}
		a.Join = true
		if err := s.node.Attach(t.Context(), a); !errors.Is(err, broker.ErrCallGone) {
			t.Errorf("attached with %v", err)
		}
		if stats := s.broker.Stats(); stats != (memory.Stats{}) {
			t.Errorf("the broker holds %+v", stats)
		}
	})
}

// What was never taken ends refused, by itself, and is made anew.
func TestKeyedCallNeverTaken(t *testing.T) {
	ends := map[int]func(*keyedSystem, *broker.Attachment){
		408: func(*keyedSystem, *broker.Attachment) { time.Sleep(time.Second) },
		404: func(s *keyedSystem, _ *broker.Attachment) {
			s.callee.Close()
			time.Sleep(500 * time.Millisecond)
		},
		499: func(s *keyedSystem, a *broker.Attachment) {
			if err := s.node.Stop(s.t.Context(), "f", a.Call.Key); err != nil {
				s.t.Error(err)
			}
		},
	}
	for want, end := range ends {
		synctest.Test(t, func(t *testing.T) {
			s := newKeyedSystem(t, memory.WithCalleeGrace(500*time.Millisecond))
			a := attachment("k")
			s.attach(a, broker.CallNew)
			end(s, a)
			s.wantNews(1)
			rec := s.read(a)
			if code(rec) != want || !rec.Result.Err.Refused {
				t.Errorf("the record is %+v, want %d, refused", rec, want)
			}
			if want == 404 {
				s.openCallee()
			}
			s.attach(a, broker.CallNew)
			if calls := s.take(s.callee, 2); len(calls) != 1 {
				t.Errorf("%d calls", len(calls))
			}
			if rec := s.read(a); rec.State != broker.CallRunning {
				t.Errorf("the record is %+v", rec)
			}
		})
	}
}

// The first outcome counts, also if it is late, and for the callee that is stopped.
func TestKeyedCallFirstOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newKeyedSystem(t)
		stopped, late, lost := attachment("stopped"), attachment("late"), attachment("lost")
		for _, a := range []*broker.Attachment{stopped, late, lost} {
			s.attach(a, broker.CallNew)
		}
		calls := s.take(s.callee, 3)
		if err := s.node.Stop(t.Context(), "f", stopped.Call.Key); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if rec := s.read(late); rec.State != broker.CallRunning || rec.Left > 0 {
			t.Errorf("the record is %+v", rec)
		}
		s.reply(broker.Result{To: calls[0].ReplyTo, Args: []byte("0")})
		s.reply(broker.Result{To: calls[1].ReplyTo, Args: []byte("1")})
		s.callee.Close()
		s.wantNews(3)
		if !slices.Equal(s.cancelled, []broker.Address{calls[0].ReplyTo}) {
			t.Errorf("cancelled %v", s.cancelled)
		}
		if rec := s.read(stopped); code(rec) != 499 || rec.Result.Err.Refused || rec.Late {
			t.Errorf("the record is %+v", rec)
		}
		if rec := s.read(late); rec.State != broker.CallDone || string(rec.Result.Args) != "1" || !rec.Late {
			t.Errorf("the record is %+v", rec)
		}
		if rec := s.read(lost); code(rec) != 502 || rec.Result.Err.Refused {
			t.Errorf("the record is %+v", rec)
		}
	})
}

// Parts are kept within their bound, for a reader at any place.
func TestKeyedCallParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newKeyedSystem(t)
		a := attachment("k")
		a.Call.Window = oneKiB
		a.MaxPartBytes = 3
		s.attach(a, broker.CallNew)
		to := s.take(s.callee, 1)[0].ReplyTo
		for n := range uint32(5) {
			if err := s.callee.SendPart(t.Context(), &broker.Part{To: to, N: n + 1, Args: []byte{'1' + byte(n)}}); err != nil {
				t.Fatal(err)
			}
		}
		s.wantNews(5)
		s.reply(broker.Result{To: to, Parts: 5})
		rec := s.read(a)
		if rec.First != 3 || len(rec.Parts) != 3 || rec.Parts[0].N != 3 || string(rec.Parts[2].Args) != "5" || rec.Result.Parts != 5 {
			t.Errorf("the record is %+v", rec)
		}
		for after, want := range []int{3, 3, 3, 2, 1, 0, 0} {
			var rec [1]broker.CallRecord
			s.node.ReadCalls(t.Context(), []broker.CallRead{{Key: a.Call.Key, After: uint32(after), MaxParts: 9, MaxBytes: 9}}, rec[:])
			if len(rec[0].Parts) != want || rec[0].First != 3 {
				t.Errorf("after %d: %+v", after, rec[0])
			}
		}
	})
}

// When there is no room, no call is made, parts go, and outcomes are stored.
func TestKeyedCallNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newKeyedSystem(t, memory.WithMaxKeyedBytes(64<<10))
		a := attachment("k")
		a.Call.Window, a.MaxPartBytes = oneKiB, 1<<20
		s.attach(a, broker.CallNew)
		to := s.take(s.callee, 1)[0].ReplyTo
		for n := range uint32(5) {
			if err := s.callee.SendPart(t.Context(), &broker.Part{To: to, N: n + 1, Args: make([]byte, 16<<10)}); err != nil {
				t.Fatal(err)
			}
		}
		if rec := s.read(a); rec.First != 3 || len(rec.Parts) != 3 {
			t.Errorf("parts from %d, %d", rec.First, len(rec.Parts))
		}
		s.reply(broker.Result{To: to, Args: make([]byte, 64<<10), Parts: 5})
		if rec := s.read(a); len(rec.Result.Args) != 64<<10 {
			t.Error("the outcome is not stored")
		}
		if err := s.node.Attach(t.Context(), attachment("other")); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("attached with %v", err)
		}
	})
}

// A record that is lost takes its call with it if that still waits, and what comes of one
// that was taken counts for nothing.
func TestLoseCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newKeyedSystem(t)
		taken, queued := attachment("taken"), attachment("queued")
		taken.Call.Window = oneKiB
		s.attach(taken, broker.CallNew)
		to := s.take(s.callee, 1)[0].ReplyTo
		s.attach(queued, broker.CallNew)
		for _, a := range []*broker.Attachment{taken, queued, attachment("other")} {
			s.broker.LoseCall(a.Call.Key)
			if rec := s.read(a); rec.State != broker.CallGone {
				t.Errorf("the record is %+v", rec)
			}
		}
		s.attach(taken, broker.CallNew)
		if err := s.callee.SendPart(t.Context(), &broker.Part{To: to, N: 1}); err != nil {
			t.Error(err)
		}
		s.reply(broker.Result{To: to})
		if calls := s.take(s.callee, 9); len(calls) != 1 || string(calls[0].Args) != "taken" {
			t.Errorf("took %v", calls)
		}
		if rec := s.read(taken); rec.State != broker.CallRunning || len(rec.Parts) > 0 {
			t.Errorf("the record is %+v", rec)
		}
		s.wantNews(0)
	})
}
