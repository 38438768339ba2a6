package load

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that are an eighth of a power of
// two wide: quantiles are right to 12 %, and adding costs next to nothing.
type histogram struct {
	counts [64 * 8]uint32
	total  int
}

func bucket(ns int64) int {
	if ns < 8 {
		return int(max(ns, 0))
	}
	exponent := bits.Len64(uint64(ns)) - 1
	return exponent*8 + int(ns>>(exponent-3))&7
}

func (h *histogram) add(ns int64) {
	h.counts[bucket(ns)]++
	h.total++
}

// quantile returns the lower bound of the bucket that holds it.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int(q * float64(h.total))
	for b, n := range h.counts {
		if rank -= int(n); rank < 0 {
			if b < 24 {
				return time.Duration(b)
			}
			return time.Duration(int64(8+b%8) << (b/8 - 3))
		}
	}
	return 0
}
