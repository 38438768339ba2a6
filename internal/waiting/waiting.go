// Package waiting is for tests: how they wait for what must happen.
package waiting

import "time"

// Most is how long a test waits for something that must happen, before it says what
// did not. It tells a machine that is busy with other work from a bug, so it is far
// more than anything takes on an idle one, and less than go test allows. No test that
// passes waits for it.
const Most = 3 * time.Minute

// TB is what is needed of testing.TB.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Until waits until ok returns true. It fails the test after Most.
func Until(tb TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Most); !ok(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatalf("waited %v in vain until %s", Most, what)
		}
	}
}

// Receive waits for a value of c. It fails the test after Most.
func Receive[T any](tb TB, what string, c <-chan T) (v T) {
	tb.Helper()
	end := time.NewTimer(Most)
	defer end.Stop()
	select {
	case v = <-c:
	case <-end.C:
		tb.Fatalf("waited %v in vain for %s", Most, what)
	}
	return v
}
