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

// A tally counts codes, without a lock and without memory for each. The zero tally is
// empty.
type tally struct {
	places [64]struct {
		code  atomic.Int64 // and 1, as 0 is a free place
		count atomic.Uint64
	}
	others atomic.Uint64
}

// add counts a code.
func (t *tally) add(code int) {
	key := int64(code) + 1
	for i := range t.places {
		p := &t.places[i]
		have := p.code.Load()
		if have == 0 && !p.code.CompareAndSwap(0, key) {
			have = p.code.Load()
		}
		if have == 0 || have == key {
			p.count.Add(1)
			return
		}
	}
	t.others.Add(1)
}

// reserve gives places to codes that are to have one whatever comes before them.
func (t *tally) reserve(codes ...int) {
	for i, code := range codes {
		t.places[i].code.Store(int64(code) + 1)
	}
}

// counts returns what was counted, sorted by code.
func (t *tally) counts() []CodeCount {
	var all []CodeCount
	if n := t.others.Load(); n > 0 {
		all = append(all, CodeCount{OtherCodes, n})
	}
	for i := range t.places {
		p := &t.places[i]
		if n := p.count.Load(); n > 0 {
			all = append(all, CodeCount{int(p.code.Load() - 1), n})
		}
	}
	slices.SortFunc(all, func(a, b CodeCount) int { return a.Code - b.Code })
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
