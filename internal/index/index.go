// Package index finds things by keys of 64 bits: a hash table whose nodes are
// embedded by value in what it holds, so that nothing is allocated but the
// table, when it doubles or halves. A Go map copies its keys and hashes them for each
// operation, which costs too much where there is a call for each message.
package index

// A Node is the place of one T in an Index. Embed it by value, and do not copy
// it while it is in one. Set Owner once, before the first [Index.Add].
type Node[T any] struct {
	Owner *T

	key  uint64
	next *Node[T] // in its bucket
}

// Next returns the next node that has the same key, or nil.
func (n *Node[T]) Next() *Node[T] { return n.next.withKey(n.key) }

// withKey returns the first node from n on that has this key, or nil.
func (n *Node[T]) withKey(key uint64) *Node[T] {
	for n != nil && n.key != key {
		n = n.next
	}
	return n
}

const minBuckets = 16

// An Index holds nodes. Several may have the same key, and the low bits of keys
// should differ. The zero value is empty. It is not safe for concurrent use.
type Index[T any] struct {
	buckets []*Node[T] // a power of two of them
	len     int

	// Since shrink last looked at the table:
	most    int // len at most
	removed int // nodes
}

// Len returns how many nodes there are.
func (x *Index[T]) Len() int { return x.len }

// Find returns a node that has this key, or nil.
func (x *Index[T]) Find(key uint64) *Node[T] {
	if x.len == 0 {
		return nil
	}
	return (*x.bucket(key)).withKey(key)
}

// bucket returns where the list of nodes begins that have this key, and others.
func (x *Index[T]) bucket(key uint64) **Node[T] {
	return &x.buckets[key&uint64(len(x.buckets)-1)]
}

// Add enters n, which must be in no Index.
func (x *Index[T]) Add(n *Node[T], key uint64) {
	if x.len == len(x.buckets) {
		x.resize(max(minBuckets, 2*len(x.buckets)))
	}
	n.key = key
	x.push(n)
	x.len++
	x.most = max(x.most, x.len)
}

func (x *Index[T]) push(n *Node[T]) {
	head := x.bucket(n.key)
	n.next, *head = *head, n
}

// resize makes a table of another size, a power of two.
func (x *Index[T]) resize(size int) {
	old := x.buckets
	x.buckets = make([]*Node[T], size)
	for _, n := range old {
		for n != nil {
			next := n.next
			x.push(n)
			n = next
		}
	}
}

// Remove takes out n, which must be in the Index.
func (x *Index[T]) Remove(n *Node[T]) {
	at := x.bucket(n.key)
	for *at != n {
		at = &(*at).next
	}
	*at, n.next = n.next, nil
	x.len--
	if x.removed++; x.removed >= len(x.buckets) {
		x.shrink()
	}
}

// shrink halves the table if it has been sparse for a while: a table that was large
// once would not fit the processor's caches.
func (x *Index[T]) shrink() {
	if size := len(x.buckets) / 2; size >= minBuckets && x.most <= size/2 {
		x.resize(size)
	}
	x.most, x.removed = x.len, 0
}
