package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Bounded keeps a T for each of so many keys, the first that are asked for, and one for all
// others together: so that nobody fills the metrics with names of his own. Its
// methods may be called concurrently.
type Bounded[K comparable, T any] struct {
	most   int
	create func(K) T
	others T

	known atomic.Pointer[map[K]T] // never changed in place
	mu    sync.Mutex              // held to replace known
}

// NewBounded returns a Bounded that has create make the T of at most so many keys. The
// other keys have others.
func NewBounded[K comparable, T any](most int, create func(K) T, others T) *Bounded[K, T] {
	b := &Bounded[K, T]{most: most, create: create, others: others}
	b.known.Store(&map[K]T{})
	return b
}

// Of returns the T of a key. It waits for nothing but create.
func (b *Bounded[K, T]) Of(key K) T {
	known := *b.known.Load()
	if t, found := known[key]; found {
		return t
	}
	if len(known) >= b.most {
		return b.others
	}
	return b.add(key)
}

// add makes the T of a key, if there is room.
func (b *Bounded[K, T]) add(key K) T {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := *b.known.Load()
	if t, found := known[key]; found {
		return t
	}
	if len(known) >= b.most {
		return b.others
	}
	known = maps.Clone(known)
	known[key] = b.create(key)
	b.known.Store(&known)
	return known[key]
}
