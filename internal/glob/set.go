package glob

import (
	"iter"
	"slices"
)

// A Set finds those of many patterns that match a name. It looks up the beginnings of the
// name, one for each length that beginnings of patterns have, and compares only the
// patterns that begin so: with one pattern for each user (user.7.*) a name costs no more
// however many there are. The zero value is empty. Who changes it must be alone.
type Set[V any] struct {
	all      map[string]*Entry[V]
	byPrefix map[string][]*Entry[V]
	lengths  []prefixLength // of the keys of byPrefix, ascending
}

// An Entry is a pattern in a set, with what belongs to it.
type Entry[V any] struct {
	Name  string
	Value V
	glob  *Pattern
	index int // among those with its prefix
}

// A prefixLength is one that the prefixes of some patterns have.
type prefixLength struct{ bytes, patterns int }

// Len returns how many patterns there are.
func (s *Set[V]) Len() int { return len(s.all) }

// Get returns the entry of a pattern, nil if there is none.
func (s *Set[V]) Get(name string) *Entry[V] { return s.all[name] }

// All are all entries, in no order.
func (s *Set[V]) All() iter.Seq[*Entry[V]] {
	return func(yield func(*Entry[V]) bool) {
		for _, e := range s.all {
			if !yield(e) {
				return
			}
		}
	}
}

// Matching are the entries whose patterns match a name.
func (s *Set[V]) Matching(name string) iter.Seq[*Entry[V]] {
	return func(yield func(*Entry[V]) bool) {
		for _, length := range s.lengths {
			if length.bytes > len(name) {
				return
			}
			rest := name[length.bytes:]
			for _, e := range s.byPrefix[name[:length.bytes]] {
				if e.glob.MatchRest(rest) && !yield(e) {
					return
				}
			}
		}
	}
}

// Add returns the entry of a pattern, which it makes if there is none.
func (s *Set[V]) Add(name string) *Entry[V] {
	if known := s.all[name]; known != nil {
		return known
	}
	if s.all == nil {
		s.all, s.byPrefix = make(map[string]*Entry[V]), make(map[string][]*Entry[V])
	}
	e := &Entry[V]{Name: name, glob: Compile(name)}
	s.all[name] = e
	prefix := e.glob.Prefix()
	e.index = len(s.byPrefix[prefix])
	s.byPrefix[prefix] = append(s.byPrefix[prefix], e)
	i, known := s.length(prefix)
	if !known {
		s.lengths = slices.Insert(s.lengths, i, prefixLength{bytes: len(prefix)})
	}
	s.lengths[i].patterns++
	return e
}

// Remove removes an entry, which must be in the set.
func (s *Set[V]) Remove(e *Entry[V]) {
	delete(s.all, e.Name)
	prefix := e.glob.Prefix()
	list := s.byPrefix[prefix]
	last := len(list) - 1
	list[e.index] = list[last]
	list[e.index].index = e.index
	list[last] = nil
	if s.byPrefix[prefix] = list[:last]; last == 0 {
		delete(s.byPrefix, prefix)
	}
	i, _ := s.length(prefix)
	if s.lengths[i].patterns--; s.lengths[i].patterns == 0 {
		s.lengths = slices.Delete(s.lengths, i, i+1)
	}
}

// length returns where the length of a prefix is, or belongs, among lengths.
func (s *Set[V]) length(prefix string) (int, bool) {
	return slices.BinarySearchFunc(s.lengths, len(prefix), func(l prefixLength, bytes int) int { return l.bytes - bytes })
}
