package topk

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"github.com/juggler-go/juggler/internal/race"
)

// streams are names as they may come: of a few that are usual, and from enemies.
var streams = map[string]func(r *rand.Rand, i int) string{
	"usual":            func(r *rand.Rand, _ int) string { return fmt.Sprint("n", int(r.ExpFloat64()*10)) },
	"all alike":        func(r *rand.Rand, _ int) string { return fmt.Sprint("n", r.IntN(1000)) },
	"each once":        func(_ *rand.Rand, i int) string { return fmt.Sprint("n", i) },
	"in turn":          func(_ *rand.Rand, i int) string { return fmt.Sprint("n", i%17) }, // one more than counters
	"one among dust":   func(_ *rand.Rand, i int) string { return pick(i%10 == 0, "heavy", fmt.Sprint("n", i)) },
	"late":             func(_ *rand.Rand, i int) string { return pick(i > 4_000, "heavy", fmt.Sprint("n", i%40)) },
	"long and similar": func(r *rand.Rand, _ int) string { return strings.Repeat("é", 200) + fmt.Sprint(r.IntN(100)) },
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// Counts are never too low, never higher than Error admits, and what occurs often enough is
// there, whatever comes, in one sketch or in several that are merged.
func TestBounds(t *testing.T) {
	const counters, length = 16, 5_000
	for name, stream := range streams {
		for _, parts := range []int{1, 3} {
			t.Run(fmt.Sprint(name, "/", parts), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				exact := map[string]uint64{}
				sketches := make([]*Sketch, parts)
				for i := range sketches {
					sketches[i] = New(counters)
				}
				var sum uint64
				for i := range length {
					name, n := stream(r, i), uint64(1+r.IntN(3))
					sketches[r.IntN(parts)].Add(name, n)
					sum += n
					if len(name) > maxName {
						name = strings.ToValidUTF8(name[:maxName], "")
					}
					exact[name] += n
				}
				check(t, exact, sum, sum/counters, sketches)
			})
		}
	}
}

// check compares what sketches have with what there was: a count may be too high by most.
func check(t *testing.T, exact map[string]uint64, sum, most uint64, sketches []*Sketch) {
	t.Helper()
	parts := make([]Part, len(sketches))
	for i, s := range sketches {
		parts[i] = s.Part()
	}
	all, total := Merge(parts...)
	if total != sum {
		t.Errorf("the total is %d, want %d", total, sum)
	}
	found := map[string]bool{}
	for i, c := range all {
		found[c.Name] = true
		if real := exact[c.Name]; c.N < real || c.N-c.Error > real || c.Error > most {
			t.Errorf("%.20q: %d, too high by %d at most; it was %d, and %d is allowed", c.Name, c.N, c.Error, real, most)
		}
		if i > 0 && all[i-1].N-all[i-1].Error < c.N-c.Error {
			t.Errorf("%.20q stands below what was certainly rarer", c.Name)
		}
	}
	for name, n := range exact {
		if n > most && !found[name] {
			t.Errorf("%.20q is not there, of which there were %d: more than %d", name, n, most)
		}
	}
	for _, s := range sketches {
		if len(s.heap) > s.size || len(s.names) != len(s.heap) {
			t.Fatalf("%d counters for %d names, where %d are allowed", len(s.heap), len(s.names), s.size)
		}
		for i, c := range s.heap {
			if c.at != i || s.names[c.Name] != c || i > 0 && s.heap[(i-1)/2].N > c.N {
				t.Fatalf("the heap is out of order at %d", i)
			}
		}
	}
}

func TestReset(t *testing.T) {
	s := New(2)
	s.Reset()
	s.Add("a", 3)
	s.Reset()
	s.Add("b", 1)
	if all, total := Merge(s.Part()); total != 1 || len(all) != 1 || all[0] != (Count{Name: "b", N: 1}) {
		t.Errorf("%v, %d", all, total)
	}
}

// What is kept of a long name is its beginning, in valid UTF-8, and not the rest of the memory that it is in.
func TestLongNames(t *testing.T) {
	s := New(1)
	long := "x" + strings.Repeat("é", 1000)
	s.Add(long, 1)
	all, _ := Merge(s.Part())
	kept := all[0].Name
	if len(kept) > maxName || len(kept) < maxName-utf8.UTFMax || !utf8.ValidString(kept) || !strings.HasPrefix(long, kept) {
		t.Errorf("%d bytes are kept: %q", len(kept), kept)
	}
	if unsafe.StringData(kept) == unsafe.StringData(long) {
		t.Error("the memory of the whole name is kept")
	}
}

// A name that has a counter costs no allocation, nor does one that takes one over.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		return
	}
	s := New(8)
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprint("name.", i)
	}
	i := 0
	if n := testing.AllocsPerRun(10_000, func() { s.Add(names[i%len(names)], 1); i++ }); n > 0 {
		t.Errorf("%v allocations a name, want none", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	names := make([]string, 64)
	for i := range names {
		names[i] = fmt.Sprint("some.name.", i)
	}
	for _, counters := range []int{64, 16} {
		b.Run(fmt.Sprint(counters, " counters for 64 names"), func(b *testing.B) {
			s := New(counters)
			i := 0
			for b.Loop() {
				s.Add(names[i&63], 1)
				i++
			}
		})
	}
}
