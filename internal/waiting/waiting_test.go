package waiting_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/internal/waiting"
)

// recorder keeps how a test failed.
type recorder struct{ failure string }

func (r *recorder) Helper()                      {}
func (r *recorder) Fatalf(f string, args ...any) { r.failure = fmt.Sprintf(f, args...); panic(r) }

// failure is how f fails the test that it is given, or "".
func failure(f func(waiting.TB)) string {
	r := &recorder{}
	func() {
		defer func() { _ = recover() }()
		f(r)
	}()
	return r.failure
}

func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		late := func() bool { return time.Since(begin) >= waiting.Most/2 }
		if got := failure(func(tb waiting.TB) { waiting.Until(tb, "it is late", late) }); got != "" {
			t.Error(got)
		}
		if got := failure(func(tb waiting.TB) { waiting.Until(tb, "it is never", func() bool { return false }) }); got != "waited 3m0s in vain until it is never" {
			t.Errorf("Until: %q", got)
		}
		c := make(chan int, 1)
		if got := failure(func(tb waiting.TB) { waiting.Receive(tb, "a number", c) }); got != "waited 3m0s in vain for a number" {
			t.Errorf("Receive: %q", got)
		}
		c <- 7
		if got := waiting.Receive(t, "a number", c); got != 7 {
			t.Errorf("received %d", got)
		}
	})
}
