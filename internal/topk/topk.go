// Package topk finds the names that occur most often in a stream, in constant memory, by
// the Space-Saving algorithm: A. Metwally, D. Agrawal, A. El Abbadi, "Efficient
// Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005.
package topk

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxName bounds the memory of a name, in bytes: longer ones that begin alike count as one.
const maxName = 256

// A Sketch counts names, in so many counters. When all are taken, a new name takes over the
// one with the lowest count, which it goes on from: each count is too high by at most what
// all counts together come to, divided by the number of counters, and whatever occurred
// more often than that has a counter. Streams made by enemies are no exception. One goroutine
// at a time may use it.
type Sketch struct {
	size  int
	total uint64
	heap  []*counter // the lowest count first
	names map[string]*counter
}

// counter is a name with its place in the heap.
type counter struct {
	Count
	at int
}

// A Count is how often a name occurred.
type Count struct {
	Name string

	// N is how often, or more: too high by at most Error.
	N, Error uint64
}

// New returns an empty sketch with so many counters, 1 or more.
func New(counters int) *Sketch {
	return &Sketch{size: counters, names: make(map[string]*counter, counters)}
}

// Add counts a name, n times. The string is kept.
func (s *Sketch) Add(name string, n uint64) {
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "") // which removes half a character
	}
	s.total += n
	if c := s.names[name]; c != nil {
		c.N += n
		s.sink(c)
		return
	}
	s.add(name, n)
}

// add gives a name a counter.
func (s *Sketch) add(name string, n uint64) {
	if len(name) > maxName-utf8.UTFMax {
		name = strings.Clone(name) // it may be the beginning of a much longer one
	}
	if len(s.heap) < s.size {
		c := &counter{Count{Name: name, N: n}, len(s.heap)}
		s.heap = append(s.heap, c)
		s.names[name] = c
		s.rise(c)
		return
	}
	c := s.heap[0]
	delete(s.names, c.Name)
	s.names[name] = c
	c.Name, c.Error = name, c.N
	c.N += n
	s.sink(c)
}

// sink restores the order of the heap below c, whose count has grown.
func (s *Sketch) sink(c *counter) {
	for {
		child := 2*c.at + 1
		if child >= len(s.heap) {
			return
		}
		if next := child + 1; next < len(s.heap) && s.heap[next].N < s.heap[child].N {
			child = next
		}
		if s.heap[child].N >= c.N {
			return
		}
		s.swap(c.at, child)
	}
}

// rise restores the order of the heap above c.
func (s *Sketch) rise(c *counter) {
	for c.at > 0 && s.heap[(c.at-1)/2].N > c.N {
		s.swap(c.at, (c.at-1)/2)
	}
}

func (s *Sketch) swap(i, j int) {
	s.heap[i], s.heap[j] = s.heap[j], s.heap[i]
	s.heap[i].at, s.heap[j].at = i, j
}

// Reset forgets everything.
func (s *Sketch) Reset() {
	if s.total == 0 {
		return
	}
	clear(s.heap)
	clear(s.names)
	s.heap, s.total = s.heap[:0], 0
}

// A Part is what a sketch has of its part of a stream.
type Part struct {
	counts        []Count
	total, missed uint64 // missed is how often a name without a counter may have occurred
}

// Part returns what the sketch has now.
func (s *Sketch) Part() Part {
	p := Part{make([]Count, len(s.heap)), s.total, 0}
	for i, c := range s.heap {
		p.counts[i] = c.Count
	}
	if len(s.heap) == s.size {
		p.missed = s.heap[0].N
	}
	return p
}

// Merge returns the counts of the parts of a stream together, what was certainly most
// frequent first, and what all come to. What is too high in the parts adds up.
func Merge(parts ...Part) (all []Count, total uint64) {
	var missed uint64
	// In a part that has no counter for a name, it may have occurred as often as that has
	// missed. So all of missed counts, but for the parts that have a counter.
	sums := map[string]Count{} // may wrap around below 0 until missed is added
	for _, p := range parts {
		total += p.total
		missed += p.missed
		for _, c := range p.counts {
			sum := sums[c.Name]
			sums[c.Name] = Count{c.Name, sum.N + c.N - p.missed, sum.Error + c.Error - p.missed}
		}
	}
	for _, sum := range sums {
		all = append(all, Count{sum.Name, sum.N + missed, sum.Error + missed})
	}
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.N-b.Error, a.N-a.Error), cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name))
	})
	return all, total
}
