package rate

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const second = int64(time.Second)

// TestSpend spends at given times and expects how long each had to wait.
func TestSpend(t *testing.T) {
	type step struct {
		at   time.Duration
		n    int
		over time.Duration
	}
	tests := []struct {
		name  string
		rate  Rate
		steps []step
	}{
		{"a burst, then nothing", New(10, 3), []step{{0, 1, 0}, {0, 1, 0}, {0, 1, 0}, {0, 1, 100 * time.Millisecond}}},
		{"what was refused counts", New(10, 1), []step{{0, 1, 0}, {0, 1, 100 * time.Millisecond}, {0, 1, 200 * time.Millisecond}}},
		{"paid off one by one", New(10, 1), []step{{0, 1, 0}, {100 * time.Millisecond, 1, 0}, {150 * time.Millisecond, 1, 50 * time.Millisecond}}},
		{"a pause pays off no more than a burst", New(10, 2), []step{{time.Hour, 2, 0}, {time.Hour, 1, 100 * time.Millisecond}}},
		{"more than a burst counts as one", New(10, 2), []step{{0, 5, 0}, {0, 1, 100 * time.Millisecond}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var a Account
			for i, s := range tt.steps {
				if over := a.Spend(tt.rate, second+int64(s.at), s.n); over != s.over {
					t.Errorf("step %d: waits %v, want %v", i, over, s.over)
				}
			}
		})
	}
}

// TestRateHolds spends at random times, with pauses and storms, and compares what
// passes in any window with what the rate allows.
func TestRateHolds(t *testing.T) {
	for range 200 {
		perSecond, burst := 1+rand.IntN(1000), 1+rand.IntN(100)
		r := New(perSecond, burst)
		var a SharedAccount
		var passed []int64
		now := second
		for range 2000 {
			now += rand.Int64N(2 * second / int64(perSecond))
			if a.Spend(r, now, 1) == 0 {
				passed = append(passed, now)
			}
		}
		for i := range passed {
			for j := i; j < len(passed); j += 1 + rand.IntN(50) {
				most := float64(burst) + float64(passed[j]-passed[i])*float64(perSecond)/float64(second) + 1e-6
				if n := j - i + 1; float64(n) > most {
					t.Fatalf("%d a second, burst %d: %d passed within %v", perSecond, burst, n, time.Duration(passed[j]-passed[i]))
				}
			}
		}
	}
}

// TestSharedAccountOfMany spends from many goroutines at one time: exactly the burst
// passes, and what is refused does not count.
func TestSharedAccountOfMany(t *testing.T) {
	r := New(1, 1000)
	var a SharedAccount
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if a.Spend(r, second, 1) == 0 {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := passed.Load(); n != 1000 {
		t.Errorf("%d passed, want 1000", n)
	}
	if a.Spend(r, 2*second, 1) != 0 {
		t.Error("what was refused was spent")
	}
}

// TestTwiceAhead expects a client that goes on for another burst to be told apart.
func TestTwiceAhead(t *testing.T) {
	r := New(100, 5)
	var a Account
	for i := 1; i <= 12; i++ {
		over := a.Spend(r, second, 1)
		if got, want := over > 0, i > 5; got != want {
			t.Errorf("spend %d: refused %v, want %v", i, got, want)
		}
		if got, want := r.TwiceAhead(over), i > 10; got != want {
			t.Errorf("spend %d: twice ahead %v, want %v", i, got, want)
		}
	}
}
