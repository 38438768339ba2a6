package keyed

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// Whatever is lost and however slow who waits is: nobody gets a part twice, or misses one
// without being told; all who wait for a call get one outcome, the same, or are told 408
// all; and in the end nobody is left.
func TestEachWaiterGetsTheOneOutcome(t *testing.T) {
	for seed := range uint64(30) {
		simulate(t, func(t *testing.T, e *engine, nodes []*node) {
			random := rand.New(rand.NewPCG(seed, 1))
			e.lost = func() bool { return random.IntN(3) == 0 }
			const keys = 4
			var all []*watched
			for range 400 {
				key, n := keyOf(random.IntN(keys)), nodes[random.IntN(2)]
				var w *watched
				if len(all) > 0 {
					w = all[random.IntN(len(all))]
				}
				switch random.IntN(12) {
				case 0, 1, 2:
					w := &watched{}
					if w.Parts = random.IntN(2) == 0; w.Parts {
						e.set(func() {
							if r := e.records[key]; r != nil {
								w.After = uint32(random.IntN(int(r.sent) + 1))
							}
						})
					}
					if err := n.attach(key, time.Minute, w, random.IntN(2) == 0); err == nil {
						all = append(all, w)
					} else if !errors.Is(err, broker.ErrCallGone) && !errors.Is(err, broker.ErrUnavailable) {
						t.Errorf("Attach: %v", err)
					}
				case 3:
					if w != nil && random.IntN(4) == 0 {
						w.node.leave(w)
					}
				case 4, 5:
					if w != nil && w.Parts {
						w.node.grant(w, 2)
					}
				case 6:
					e.set(func() { e.down = random.IntN(4) == 0 })
				case 7:
					if random.IntN(3) == 0 {
						e.end(key, broker.Result{Args: key[:]})
					}
				case 8:
					time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
				default:
					e.part(key, 6)
				}
				if random.IntN(4) == 0 {
					time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
				}
			}
			e.set(func() { e.down = false })
			for i := range keys {
				e.end(keyOf(i), broker.Result{Args: []byte("last")})
			}
			e.lost = func() bool { return true }
			for range 60 { // who reads gets all; news are not needed
				time.Sleep(readEvery)
				for _, n := range nodes {
					for _, w := range n.all {
						n.grant(w, 8)
					}
				}
			}
			for _, n := range nodes {
				n.mu.Lock()
				defer n.mu.Unlock()
			}
			checkOutcomes(t, seed, e, all)
			for i, n := range nodes {
				if c := n.hub.Counts(); c.Open != 0 || len(n.hub.calls) != 0 {
					t.Errorf("seed %d, node %d: %d wait, and %d calls are open", seed, i, c.Open, len(n.hub.calls))
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

// checkOutcomes checks what waiters have got that have not left.
func checkOutcomes(t *testing.T, seed uint64, e *engine, all []*watched) {
	t.Helper()
	for i, w := range all {
		r := e.records[w.key]
		switch {
		case w.left:
		case w.result == nil:
			t.Errorf("seed %d: waiter %d of %d has no outcome: %+v", seed, i, len(all), w)
		case w.result.Err == nil:
			if string(w.result.Args) != string(r.out.Args) {
				t.Errorf("seed %d: waiter %d got %q, and the outcome is %q", seed, i, w.result.Args, r.out.Args)
			}
			if got := w.After + uint32(len(w.parts)); w.Parts && got != max(r.sent, w.After) {
				t.Errorf("seed %d: waiter %d got parts up to %d of %d", seed, i, got, r.sent)
			}
			if r.late && w.State != broker.CallDone {
				t.Errorf("seed %d: waiter %d got an outcome that was late", seed, i)
			}
		case w.result.Err.Code == errLate.Code:
			if !r.late {
				t.Errorf("seed %d: waiter %d got 408, and the outcome was in time", seed, i)
			}
		case w.result.Err.Code == errBehind.Code:
			if !w.Parts || r.first == 1 {
				t.Errorf("seed %d: waiter %d got 429, and no part is gone", seed, i)
			}
		case w.result.Err.Code != errUnreadable.Code:
			t.Errorf("seed %d: waiter %d got %v", seed, i, w.result.Err)
		}
	}
}

// code returns the code of what w got, 0 for a result, -1 for nothing.
func (w *watched) code() int {
	w.node.mu.Lock()
	defer w.node.mu.Unlock()
	switch {
	case w.result == nil:
		return -1
	case w.result.Err == nil:
		return 0
	}
	return int(w.result.Err.Code)
}

// count returns how many parts w has got.
func (w *watched) count() int {
	w.node.mu.Lock()
	defer w.node.mu.Unlock()
	return len(w.parts)
}

// join attaches one who takes no parts.
func (n *node) join(key broker.CallKey, timeout time.Duration) *watched {
	n.t.Helper()
	w := &watched{}
	if err := n.attach(key, timeout, w, false); err != nil {
		n.t.Fatal(err)
	}
	return w
}

// What ends a wait is the record: an outcome that nobody tells of is found, one in time
// counts after the time, and 408 comes at the time and not before, to all.
func TestTheRecordDecides(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine, nodes []*node) {
		a, b := nodes[0], nodes[1]
		e.lost = func() bool { return true }
		first := a.join(keyOf(1), time.Minute)
		second := b.join(keyOf(1), time.Hour) // which does not count
		e.end(keyOf(1), broker.Result{Args: []byte("1")})
		time.Sleep(readEvery + time.Second)
		if first.code() != 0 || second.code() != 0 {
			t.Errorf("codes %d and %d of an outcome that was not told of", first.code(), second.code())
		}

		w1, w2 := a.join(keyOf(2), 70*time.Second), b.join(keyOf(2), time.Minute)
		time.Sleep(69 * time.Second)
		if w1.code() != -1 || w2.code() != -1 {
			t.Errorf("codes %d and %d before the time is over", w1.code(), w2.code())
		}
		time.Sleep(2 * time.Second)
		if w1.code() != 408 || w2.code() != 408 {
			t.Errorf("codes %d and %d, want 408", w1.code(), w2.code())
		}
		e.end(keyOf(2), broker.Result{Args: []byte("2")})
		later := a.join(keyOf(2), time.Minute)
		time.Sleep(time.Second)
		if later.code() != 0 {
			t.Errorf("code %d for who asks later", later.code())
		}

		// In time, but nobody can read it until later.
		w := a.join(keyOf(3), time.Minute)
		time.Sleep(time.Minute - time.Second)
		e.end(keyOf(3), broker.Result{Args: []byte("3")})
		e.set(func() { e.down = true })
		time.Sleep(20 * time.Second)
		if w.code() != -1 {
			t.Errorf("code %d while the engine is out of reach", w.code())
		}
		e.set(func() { e.down = false })
		time.Sleep(2 * longestPause)
		if w.code() != 0 {
			t.Errorf("code %d, and the outcome was in time", w.code())
		}
	})
}

// Who is slow, or comes late, gets parts as far as they are kept, and is told from where. All
// that is there comes without further news.
func TestPartsThatAreKept(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine, nodes []*node) {
		const sent, kept = 5000, 4000
		n := nodes[0]
		n.join(keyOf(1), time.Minute)
		e.lost = func() bool { return true }
		for range sent {
			e.part(keyOf(1), kept)
		}
		fast, slow := &watched{}, &watched{}
		for _, w := range []*watched{fast, slow} {
			w.Parts = true
			if err := n.attach(keyOf(1), 0, w, true); err != nil || w.From != sent-kept+1 {
				t.Fatalf("from %d, %v", w.From, err)
			}
		}
		n.grant(fast, sent)
		time.Sleep(time.Second)
		if got := fast.count(); got != kept {
			t.Errorf("%d parts, want %d", got, kept)
		}
		e.end(keyOf(1), broker.Result{})
		time.Sleep(time.Minute + 2*patience)
		e.set(func() { e.down = true })
		time.Sleep(readEvery + time.Second)
		e.set(func() { e.down = false })
		n.grant(slow, sent)
		time.Sleep(2 * longestPause)
		if fast.code() != 0 || slow.code() != 0 || slow.count() != kept {
			t.Errorf("codes %d and %d, %d parts", fast.code(), slow.code(), slow.count())
		}
	})
}

// Where the engine stays out of reach, who waits is told so, and so is who stops a call. Where
// it has lost the record that is told, too.
func TestEngineThatFails(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine, nodes []*node) {
		n := nodes[0]
		w, stopper := n.join(keyOf(1), time.Minute), n.join(keyOf(1), time.Minute)
		e.set(func() { e.down = true })
		n.hub.Stop(t.Context(), &stopper.Waiter)
		time.Sleep(time.Minute + patience - 5*time.Second)
		if w.code() != -1 || stopper.code() != 503 {
			t.Errorf("codes %d and %d, want none and 503", w.code(), stopper.code())
		}
		time.Sleep(15 * time.Second)
		if w.code() != 503 {
			t.Errorf("code %d, want 503", w.code())
		}
		e.set(func() { e.down = false })
		w = n.join(keyOf(2), time.Minute)
		e.set(func() { delete(e.records, keyOf(2)) })
		e.news(keyOf(2))
		time.Sleep(time.Second)
		if w.code() != 410 {
			t.Errorf("code %d, want 410", w.code())
		}
		if err := n.attach(keyOf(2), time.Minute, &watched{}, true); !errors.Is(err, broker.ErrCallGone) {
			t.Errorf("Attach: %v", err)
		}
		if c := n.hub.Counts(); c.Gone != 2 || c.Made != 2 || c.Joined != 1 || c.Open != 0 || len(n.hub.calls) != 0 {
			t.Errorf("%+v, %d calls are open", c, len(n.hub.calls))
		}
	})
}

// News that come between the engine's Attach and Join are not lost, whoever joins first.
func TestNewsBeforeJoin(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine, nodes []*node) {
		n := nodes[0]
		maker := &watched{node: n}
		maker.To.Ref[15] = 1
		n.all[maker.To] = maker
		if err := n.hub.Attach(t.Context(), &broker.Attachment{Call: &broker.Call{URI: "f", Key: keyOf(1), Timeout: time.Hour}}, &maker.Waiter); err != nil {
			t.Fatal(err)
		}
		e.end(keyOf(1), broker.Result{Args: []byte("1")})
		other := n.join(keyOf(1), time.Hour)
		time.Sleep(time.Second)
		n.hub.Join(&maker.Waiter, broker.Window{})
		time.Sleep(time.Second)
		if maker.code() != 0 || other.code() != 0 {
			t.Errorf("codes %d and %d", maker.code(), other.code())
		}
	})
}

// The records of many calls are read together, and a part once for all who lack it.
func TestReadsGoTogether(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine, nodes []*node) {
		const calls = 1000
		n := nodes[0]
		var all []*watched
		keys := make([]broker.CallKey, calls)
		for i := range keys {
			keys[i] = keyOf(i)
			all = append(all, n.join(keys[i], time.Hour), n.join(keys[i], time.Hour))
		}
		synctest.Wait()
		time.Sleep(time.Second)
		e.lost = func() bool { return true }
		for _, key := range keys {
			e.end(key, broker.Result{})
		}
		e.set(func() { e.reads = 0 })
		n.hub.News(keys)
		time.Sleep(time.Second)
		if waits := slices.ContainsFunc(all, func(w *watched) bool { return w.code() != 0 }); waits || e.requests() > calls/maxReads+2 {
			t.Errorf("%d requests for %d calls; somebody waits: %v", e.requests(), calls, waits)
		}
	})
	c := &call{}
	for range 10 {
		c.waiters = append(c.waiters, &Waiter{Parts: true, window: broker.Window{Parts: 4, Bytes: 100}})
	}
	c.waiters[9].sent.Parts = 2
	if readings, reads := c.plan(nil, nil); len(reads) != 2 || len(readings[0].takers) != 9 || len(readings[1].takers) != 1 {
		t.Errorf("%d reads for two places: %v", len(reads), readings)
	}
}

// Parts of an attempt never follow those of another one, wherever a waiter comes in.
func TestPartsOfOneAttempt(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine, nodes []*node) {
		key := keyOf(1)
		attach := func(n *node, after uint32) (*watched, error) {
			w := &watched{Waiter: Waiter{Parts: true, After: after}}
			err := n.attach(key, time.Minute, w, after > 0)
			synctest.Wait()
			return w, err
		}
		follows, _ := attach(nodes[0], 0)
		none := &watched{}
		if err := nodes[1].attach(key, time.Minute, none, false); err != nil {
			t.Fatal(err)
		}
		e.part(key, 10)
		e.part(key, 10)
		time.Sleep(time.Second)
		early, err := attach(nodes[1], 1)
		if err != nil {
			t.Fatal(err)
		}
		e.again(key)
		for range 3 {
			e.part(key, 10)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, w := range []*watched{follows, early} {
			if w.result == nil || w.result.Err == nil || w.result.Err.Code != 410 || len(w.parts) > 2 {
				t.Errorf("who had parts of the first attempt got %v and %+v", w.parts, w.result)
			}
		}
		if _, err := attach(nodes[0], 2); !errors.Is(err, broker.ErrCallGone) {
			t.Errorf("who comes back with the first attempt's parts got %v", err)
		}
		if none.result != nil {
			t.Errorf("who takes no parts got %+v", none.result)
		}
		fresh, _ := attach(nodes[1], 0)
		e.end(key, broker.Result{})
		nodes[1].grant(fresh, 5)
		time.Sleep(time.Second)
		synctest.Wait()
		if none.result == nil || none.result.Err != nil || fresh.result == nil || !slices.Equal(fresh.parts, []uint32{1, 2, 3}) {
			t.Errorf("the second attempt gave %+v, %v and %+v", none.result, fresh.parts, fresh.result)
		}
		if first, _ := attach(nodes[0], 0); first.result != nil && first.result.Err != nil {
			t.Errorf("who comes late got %+v", first.result)
		}
	})
}

// While nobody can be asked, who comes back is not given parts of another attempt either.
func TestAttemptIsFoundOutLater(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine, nodes []*node) {
		key := keyOf(1)
		if err := nodes[0].attach(key, time.Minute, &watched{}, false); err != nil {
			t.Fatal(err)
		}
		e.again(key)
		e.part(key, 10)
		e.part(key, 10)
		e.set(func() { e.unread = true })
		w := &watched{Waiter: Waiter{Parts: true, After: 1}}
		if err := nodes[1].attach(key, time.Minute, w, true); err != nil {
			t.Fatal(err)
		}
		e.set(func() { e.unread = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(w.parts) > 0 || w.result == nil || w.result.Err == nil || w.result.Err.Code != 410 {
			t.Errorf("got %v and %+v", w.parts, w.result)
		}
	})
}
