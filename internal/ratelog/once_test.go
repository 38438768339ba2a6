package ratelog

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o Once
		if !o.First("a") || o.First("a") || !o.First("b") {
			t.Error("not once for each")
		}
		time.Sleep(Again)
		if !o.First("a") || o.First("a") {
			t.Error("not once again")
		}
	})
}

// Subjects that clients invent take bounded memory, and room comes back.
func TestOnceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o Once
		n := 0
		for i := range 10_000 {
			if o.First(fmt.Sprint(i)) {
				n++
			}
		}
		if n != maxSubjects || len(o.said) != maxSubjects {
			t.Errorf("said %d, remembers %d", n, len(o.said))
		}
		time.Sleep(Again)
		if !o.First("new") || len(o.said) != 1 {
			t.Errorf("remembers %d", len(o.said))
		}
	})
}
