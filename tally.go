package juggler

import (
	"slices"
	"sync"
	"sync/atomic"
)

// CodeCount is how often a code was seen.
type CodeCount struct {
	Code  int // or [OtherCodes]
	Count uint64
}

// OtherCodes stands for the codes for which a handler has no place of their own: it
// keeps 64 of each kind, the first that it sees.
const OtherCodes = -1

// tallyCodes is how many codes a tally tells apart.
const tallyCodes = 64

// A tally counts codes, without a lock and without memory for each. The zero tally is
// empty.
type tally struct {
	codes  [tallyCodes]atomic.Int64      // and 1, as 0 is a free place
	counts [tallyCodes + 1]atomic.Uint64 // by place; the last one is for all others
}

// add counts a code, and returns its place.
func (t *tally) add(code int) (place int) {
	place = t.place(int64(code) + 1)
	t.counts[place].Add(1)
	return place
}

// place returns the place of a code, and makes it.
func (t *tally) place(key int64) int {
	for i := range t.codes {
		have := t.codes[i].Load()
		if have == 0 && !t.codes[i].CompareAndSwap(0, key) {
			have = t.codes[i].Load()
		}
		if have == 0 || have == key {
			return i
		}
	}
	return tallyCodes
}

// reserve gives places to codes that are to have one whatever comes before them.
func (t *tally) reserve(codes ...int) {
	for _, code := range codes {
		t.place(int64(code) + 1)
	}
}

// each calls f with what was counted, sorted by code.
func (t *tally) each(f func(place int, c CodeCount)) {
	var places []int
	for i := range t.counts {
		if t.counts[i].Load() > 0 {
			places = append(places, i)
		}
	}
	slices.SortFunc(places, func(a, b int) int { return t.code(a) - t.code(b) })
	for _, i := range places {
		f(i, CodeCount{t.code(i), t.counts[i].Load()})
	}
}

func (t *tally) code(place int) int {
	if place == tallyCodes {
		return OtherCodes
	}
	return int(t.codes[place].Load()) - 1
}

// list returns what was counted, sorted by code.
func (t *tally) list() (all []CodeCount) {
	t.each(func(_ int, c CodeCount) { all = append(all, c) })
	return all
}

// sum returns how many the counts are together.
func sum(counts []CodeCount) (n uint64) {
	for _, c := range counts {
		n += c.Count
	}
	return n
}

// refusalTally counts refused handshakes. The zero refusalTally is empty.
type refusalTally struct {
	mu sync.Mutex
	m  map[refusalKind]uint64
}

type refusalKind struct {
	status int
	reason string
}

func (t *refusalTally) add(status int, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[refusalKind]uint64)
	}
	t.m[refusalKind{status, reason}]++
}

// counts returns what was counted, sorted by status and reason, and how many that is.
func (t *refusalTally) counts() (all []RefusalCount, sum uint64) {
	t.mu.Lock()
	for kind, n := range t.m {
		all = append(all, RefusalCount{Status: kind.status, Reason: kind.reason, Count: n})
		sum += n
	}
	t.mu.Unlock()
	slices.SortFunc(all, RefusalCount.compare)
	return all, sum
}
