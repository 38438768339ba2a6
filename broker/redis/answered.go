package redis

import (
	"hash/maphash"

	"github.com/juggler-go/juggler/broker"
)

// answered remembers the calls that a callee has answered, as hashes of their
// addresses: a failover, or a snapshot that is restored, may bring them back. Those
// of answeredMost before the last are forgotten; at ten thousand a second that is
// after 6.5 s. A call whose address has the hash of another one would be refused,
// once in 10^14.
type answered struct {
	seed   maphash.Seed
	last   map[uint64]struct{}
	before map[uint64]struct{}
}

const answeredMost = 65_536

func newAnswered() answered {
	return answered{seed: maphash.MakeSeed(), last: map[uint64]struct{}{}}
}

func (a *answered) add(to broker.Address) {
	if len(a.last) == answeredMost {
		a.last, a.before = a.before, a.last
		clear(a.last)
	}
	if a.last == nil {
		a.last = map[uint64]struct{}{}
	}
	a.last[maphash.Comparable(a.seed, to)] = struct{}{}
}

func (a *answered) has(to broker.Address) bool {
	h := maphash.Comparable(a.seed, to)
	if _, ok := a.last[h]; ok {
		return true
	}
	_, ok := a.before[h]
	return ok
}
