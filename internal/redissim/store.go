package redissim

import (
	"maps"
	"slices"
	"time"
)

// A store is the memory of one server. A key that is empty does not exist.
type store map[string]*entry

// An entry is the value of a key: one of the kinds is used.
type entry struct {
	text    *string
	list    []string // the head first
	set     map[string]bool
	zset    map[string]float64
	hash    map[string]string
	expires time.Time // on the server's clock; zero: never
}

// clone returns a copy, for a replica or a snapshot.
func (s store) clone() store {
	c := store{}
	for key, e := range s {
		copied := *e
		copied.list, copied.set = slices.Clone(e.list), maps.Clone(e.set)
		copied.zset, copied.hash = maps.Clone(e.zset), maps.Clone(e.hash)
		c[key] = &copied
	}
	return c
}

func (e *entry) empty() bool {
	return e.text == nil && len(e.list) == 0 && len(e.set) == 0 && len(e.zset) == 0 && len(e.hash) == 0
}

// get returns the value of a key, or nil.
func (s store) get(key string, now time.Time) *entry {
	e := s[key]
	if e != nil && !e.expires.IsZero() && !now.Before(e.expires) {
		delete(s, key)
		return nil
	}
	return e
}

// make returns the value of a key, made if it is not there.
func (s store) make(key string, now time.Time) *entry {
	e := s.get(key, now)
	if e == nil {
		e = &entry{}
		s[key] = e
	}
	return e
}

// members returns the elements of a set, always in the same order.
func (e *entry) members() []string { return slices.Sorted(maps.Keys(e.set)) }

// ranked returns the elements of a sorted set in its order.
func (e *entry) ranked() []string {
	return slices.SortedFunc(maps.Keys(e.zset), func(a, b string) int {
		switch {
		case e.zset[a] < e.zset[b], e.zset[a] == e.zset[b] && a < b:
			return -1
		}
		return 1
	})
}
