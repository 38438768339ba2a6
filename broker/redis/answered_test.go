package redis

import (
	"encoding/binary"
	"testing"

	"github.com/juggler-go/juggler/broker"
)

// The last calls are remembered, as many as was promised, and not twice as many.
func TestAnsweredIsBounded(t *testing.T) {
	a := newAnswered()
	address := func(i int) (to broker.Address) {
		binary.BigEndian.PutUint64(to.Ref[:], uint64(i))
		return to
	}
	for i := range 3*answeredMost + 7 {
		a.add(address(i))
		if oldest := i - answeredMost + 1; !a.has(address(max(oldest, 0))) || a.has(address(i+1)) {
			t.Fatalf("of %d calls the last ones are not remembered, or others", i)
		}
		if n := len(a.last) + len(a.before); n > 2*answeredMost {
			t.Fatalf("%d calls are remembered", n)
		}
	}
}
