package worker

import (
	"runtime"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBacklogKeepsTheOrder has many goroutines add functions, some of which end the
// goroutine that calls them.
func TestBacklogKeepsTheOrder(t *testing.T) {
	const producers, each = 8, 200
	var running sync.WaitGroup
	b := Backlog{Running: &running}
	var got [producers][]int // no lock: one function is called at a time
	var add sync.WaitGroup
	for p := range producers {
		add.Go(func() {
			for i := range each {
				b.Do(func() {
					got[p] = append(got[p], i)
					if i%50 == 7 {
						runtime.Goexit()
					}
				})
			}
		})
	}
	add.Wait()
	<-b.Idle()
	running.Wait()
	want := make([]int, each)
	for i := range want {
		want[i] = i
	}
	for p := range got {
		if !slices.Equal(got[p], want) {
			t.Errorf("producer %d: functions were called in the order %v", p, got[p])
		}
	}
	if n := b.Len(); n != 0 {
		t.Errorf("%d functions wait, want 0", n)
	}
}

// TestBacklogHasNoGoroutineWhenIdle waits for the goroutine to end.
func TestBacklogHasNoGoroutineWhenIdle(t *testing.T) {
	var running sync.WaitGroup
	b := Backlog{Running: &running}
	for range 100 {
		called := false
		b.Do(func() { called = true })
		running.Wait() // hangs if a goroutine stays
		if !called {
			t.Fatal("the goroutine has ended without calling what waits")
		}
	}
}

// steps is a Worker that ends its goroutine at each second step.
type steps struct{ left int }

func (s *steps) Step() bool {
	s.left--
	if s.left%2 == 0 && s.left > 0 {
		runtime.Goexit()
	}
	return s.left > 0
}

func TestStartSurvivesTheEndOfItsGoroutine(t *testing.T) {
	var running sync.WaitGroup
	s := &steps{left: 9}
	Start(&running, s)
	running.Wait()
	if s.left != 0 {
		t.Errorf("%d steps are left, want 0", s.left)
	}
}
