package arena

import (
	"bytes"
	"testing"
)

// TestCopiesStayAsTheyAre has copies of all sizes outlive what was copied, until
// Reset, in an Arena that is used again and again.
func TestCopiesStayAsTheyAre(t *testing.T) {
	var a Arena
	for round := range 3 {
		var copies [][]byte
		size := 0
		for n := range 300 {
			b := bytes.Repeat([]byte{byte(n)}, n*n%(blockSize+1000))
			copies = append(copies, a.Copy(b))
			size += len(b)
			clear(b)
		}
		if a.Size() != size {
			t.Fatalf("round %d: size is %d, want %d", round, a.Size(), size)
		}
		for n, c := range copies {
			if want := bytes.Repeat([]byte{byte(n)}, n*n%(blockSize+1000)); !bytes.Equal(c, want) {
				t.Fatalf("round %d: copy %d has changed", round, n)
			}
			_ = append(c, 0xff) // must not reach into the next copy
		}
		a.Reset()
		if a.Size() != 0 {
			t.Fatalf("round %d: size is %d after Reset", round, a.Size())
		}
	}
	if n := len(a.spare); n == 0 || n > maxSpare {
		t.Errorf("%d blocks are kept for reuse, want 1 to %d", n, maxSpare)
	}
}

func TestReuseAllocatesNothing(t *testing.T) {
	var a Arena
	b := make([]byte, 100)
	fill := func() {
		for range 1000 {
			a.Copy(b)
		}
		a.Reset()
	}
	fill()
	if n := testing.AllocsPerRun(10, fill); n > 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
