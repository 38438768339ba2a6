package wheel_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/juggler-go/juggler/internal/wheel"
)

// item is something timed, as a session or a call is.
type item struct {
	timer wheel.Timer[item]
	name  int
}

func newItem(name int) *item {
	it := &item{name: name}
	it.timer.Owner = it
	return it
}

// fired returns the names fired by one Advance, in order.
func fired(w *wheel.Wheel[item], now int64) []int {
	var names []int
	w.Advance(now, func(it *item) { names = append(names, it.name) })
	return names
}

func TestTimersFireAtTheirTimeAndNotBefore(t *testing.T) {
	for _, at := range []int64{1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 25_000, 1 << 36, 1<<36 + 1, math.MaxInt64} {
		var w wheel.Wheel[item]
		it := newItem(1)
		w.Set(&it.timer, at)
		if !it.timer.Active() || it.timer.At() != at {
			t.Fatalf("set to %d: active %v, at %d", at, it.timer.Active(), it.timer.At())
		}
		if got := fired(&w, at-1); got != nil {
			t.Errorf("timer at %d fired at %d", at, at-1)
		}
		if got := fired(&w, at); len(got) != 1 {
			t.Errorf("timer at %d did not fire", at)
		}
		if it.timer.Active() {
			t.Errorf("timer at %d is active after it fired", at)
		}
		if _, ok := w.Next(); ok {
			t.Errorf("an empty wheel has a next time")
		}
	}
}

func TestAPastTimeFiresAtTheNextAdvance(t *testing.T) {
	var w wheel.Wheel[item]
	w.Advance(1000, nil)
	it := newItem(1)
	for _, at := range []int64{1000, 999, 0, -5} {
		w.Set(&it.timer, at)
		if next, ok := w.Next(); !ok || next > 1000 {
			t.Errorf("Next is %d, %v for a timer set to %d", next, ok, at)
		}
		if got := fired(&w, 1000); len(got) != 1 {
			t.Errorf("timer set to %d did not fire", at)
		}
	}
}

func TestOneAdvanceFiresInOrderOfTime(t *testing.T) {
	var w wheel.Wheel[item]
	times := []int64{5000, 1, 70, 64, 4096, 4095, 262_144, 3}
	for _, at := range times {
		w.Set(&newItem(int(at)).timer, at)
	}
	got := fired(&w, 1<<20)
	if !slices.IsSorted(got) || len(got) != len(times) {
		t.Errorf("fired %v", got)
	}
}

func TestFireMaySetAndRemoveTimers(t *testing.T) {
	var w wheel.Wheel[item]
	a, b, c, again := newItem(1), newItem(2), newItem(3), newItem(4)
	w.Set(&a.timer, 10)
	w.Set(&b.timer, 10) // in the slot that is firing
	w.Set(&c.timer, 20)
	w.Set(&again.timer, 5)
	var names []int
	w.Advance(30, func(it *item) {
		names = append(names, it.name)
		switch it {
		case a:
			w.Remove(&b.timer)
			w.Set(&c.timer, 100)
		case b:
			w.Remove(&a.timer)
			w.Set(&c.timer, 100)
		case again: // its time has come: not in this Advance, or this would never end
			w.Set(&again.timer, 25)
		}
	})
	if len(names) != 2 || names[0] != 4 {
		t.Errorf("fired %v, want the repeating one and one of the two that remove each other", names)
	}
	if got := fired(&w, 30); !slices.Equal(got, []int{4}) {
		t.Errorf("then fired %v, want the repeated one", got)
	}
	if got := fired(&w, 100); !slices.Equal(got, []int{3}) {
		t.Errorf("then fired %v, want the one that was moved", got)
	}
}

func TestTimeDoesNotGoBack(t *testing.T) {
	var w wheel.Wheel[item]
	w.Advance(500, nil)
	it := newItem(1)
	w.Set(&it.timer, 501)
	if got := fired(&w, 10); got != nil {
		t.Error("fired at an earlier time")
	}
	if got := fired(&w, 501); len(got) != 1 {
		t.Error("did not fire")
	}
}

func TestARemovedTimerWakesNobody(t *testing.T) {
	var w wheel.Wheel[item]
	removed, moved := newItem(1), newItem(2)
	w.Set(&removed.timer, 10)
	w.Set(&moved.timer, 20)
	w.Set(&moved.timer, 30)
	w.Remove(&removed.timer)
	if at, ok := w.Next(); !ok || at != 30 {
		t.Errorf("Next is %d, %v; want 30", at, ok)
	}
	w.Remove(&moved.timer)
	if at, ok := w.Next(); ok {
		t.Errorf("Next is %d of an empty wheel", at)
	}
}

// model is what a wheel must behave like.
type model map[*item]int64

// check advances both to now and compares what fired and what is next.
func (m model) check(t *testing.T, w *wheel.Wheel[item], now int64) {
	t.Helper()
	last := int64(math.MinInt64)
	w.Advance(now, func(it *item) {
		at, ok := m[it]
		if !ok || at > now || at < last {
			t.Fatalf("at %d fired a timer due at %d (set: %v) after one due at %d", now, at, ok, last)
		}
		last = at
		delete(m, it)
	})
	earliest := int64(math.MaxInt64)
	for _, at := range m {
		if at <= now {
			t.Fatalf("at %d a timer due at %d did not fire", now, at)
		}
		earliest = min(earliest, at)
	}
	next, ok := w.Next()
	if ok != (len(m) > 0) {
		t.Fatalf("at %d with %d timers Next says %v", now, len(m), ok)
	}
	if ok && (next > earliest || next <= now) {
		t.Fatalf("at %d Next is %d, the earliest timer is due at %d", now, next, earliest)
	}
}

func TestRandomOperationsAgreeWithAModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var w wheel.Wheel[item]
		m := model{}
		items := make([]*item, 100)
		for i := range items {
			items[i] = newItem(i)
		}
		now := int64(0)
		for range 2000 {
			it := items[r.IntN(len(items))]
			switch r.IntN(8) {
			case 0, 1, 2, 3:
				at := now + 1 + r.Int64N(1<<r.IntN(30))
				w.Set(&it.timer, at)
				m[it] = at
			case 4:
				w.Remove(&it.timer)
				delete(m, it)
			default:
				if next, ok := w.Next(); ok && r.IntN(2) == 0 {
					now = next
				} else {
					now += r.Int64N(1 << r.IntN(20))
				}
				m.check(t, &w, now)
			}
		}
	}
}

func FuzzWheel(f *testing.F) {
	f.Add([]byte{0, 1, 200, 7, 3, 255, 9, 64, 128})
	f.Fuzz(func(t *testing.T, script []byte) {
		var w wheel.Wheel[item]
		m := model{}
		items := [8]*item{}
		for i := range items {
			items[i] = newItem(i)
		}
		now := int64(0)
		for len(script) >= 2 {
			it, amount := items[script[0]%8], int64(script[1])<<(script[0]>>3%4*6)
			switch script[0] >> 6 {
			case 0, 1:
				w.Set(&it.timer, now+1+amount)
				m[it] = now + 1 + amount
			case 2:
				w.Remove(&it.timer)
				delete(m, it)
			default:
				now += amount
				m.check(t, &w, now)
			}
			script = script[2:]
		}
	})
}

func TestATimerIsSmallAndFree(t *testing.T) {
	if size := unsafe.Sizeof(wheel.Timer[item]{}); size > 32 {
		t.Errorf("a timer takes %d bytes, want at most 32", size)
	}
	var w wheel.Wheel[item]
	it, now := newItem(1), int64(0)
	fire := func(*item) {}
	if n := testing.AllocsPerRun(100, func() {
		w.Set(&it.timer, now+5000)
		w.Set(&it.timer, now+30)
		now += 40
		w.Advance(now, fire)
	}); n != 0 {
		t.Errorf("setting and firing a timer allocates %v times", n)
	}
}

func BenchmarkSetAndAdvance(b *testing.B) {
	var w wheel.Wheel[item]
	items := make([]*item, 10_000)
	for i := range items {
		items[i] = newItem(i)
	}
	fire := func(*item) {}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Set(&items[i%len(items)].timer, int64(i/100+25_000))
		w.Advance(int64(i/100), fire)
	}
}
