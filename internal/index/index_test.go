package index_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/juggler-go/juggler/internal/index"
)

type thing struct {
	index.Node[thing]
	key uint64
}

// found returns all things that have a key.
func found(x *index.Index[thing], key uint64) (things []*thing) {
	for n := x.Find(key); n != nil; n = n.Next() {
		things = append(things, n.Owner)
	}
	return things
}

func TestTheZeroIndexIsEmpty(t *testing.T) {
	var x index.Index[thing]
	if x.Find(1) != nil || x.Len() != 0 {
		t.Error("something is in the zero Index")
	}
}

func TestIndexIsLikeAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, keys := range []uint64{1, 10, 1000, 1 << 60} { // with many alike, and with hardly any
		var x index.Index[thing]
		like := make(map[uint64][]*thing)
		var all []*thing
		for range 3000 {
			if len(all) > 0 && rng.IntN(100) < 48 {
				i := rng.IntN(len(all))
				old := all[i]
				all[i] = all[len(all)-1]
				all = all[:len(all)-1]
				x.Remove(&old.Node)
				like[old.key] = slices.DeleteFunc(like[old.key], func(o *thing) bool { return o == old })
			} else {
				n := &thing{key: rng.Uint64N(keys)}
				n.Owner = n
				x.Add(&n.Node, n.key)
				all = append(all, n)
				like[n.key] = append(like[n.key], n)
			}
			key := rng.Uint64N(keys)
			if len(all) > 0 && rng.IntN(2) == 0 {
				key = all[rng.IntN(len(all))].key
			}
			got := found(&x, key)
			for _, want := range like[key] {
				if !slices.Contains(got, want) {
					t.Fatalf("key %d: not all that have it are found", key)
				}
			}
			if len(got) != len(like[key]) || x.Len() != len(all) {
				t.Fatalf("key %d: %d found, want %d; Len %d, want %d", key, len(got), len(like[key]), x.Len(), len(all))
			}
		}
	}
}

// A table that was large once is not so for ever, and one that is in use is left
// alone.
func TestASparseTableShrinks(t *testing.T) {
	var x index.Index[thing]
	things := make([]thing, 4096)
	add := func(i int) { x.Add(&things[i].Node, uint64(i)) }
	for i := range things {
		things[i].Owner = &things[i]
		add(i)
	}
	churn := func() {
		for range 10 * len(things) {
			x.Remove(&things[0].Node)
			add(0)
		}
	}
	churn()
	if n := x.Buckets(); n != len(things) {
		t.Errorf("%d buckets for %d nodes", n, len(things))
	}
	const rest = 20
	for i := rest; i < len(things); i++ {
		x.Remove(&things[i].Node)
	}
	churn()
	if n := x.Buckets(); n < 2*rest || n > 4*rest {
		t.Errorf("%d buckets for %d nodes", n, rest)
	}
	for i := range rest {
		if got := found(&x, uint64(i)); !slices.Equal(got, []*thing{&things[i]}) {
			t.Errorf("node %d is not found", i)
		}
	}
}

func TestAFullIndexDoesNotAllocate(t *testing.T) {
	var x index.Index[thing]
	things := make([]thing, 1000)
	for i := range things {
		things[i].Owner = &things[i]
		x.Add(&things[i].Node, uint64(i))
	}
	if n := testing.AllocsPerRun(100, func() {
		x.Remove(&things[7].Node)
		x.Add(&things[7].Node, 7)
		x.Find(7)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkIndex(b *testing.B) {
	var x index.Index[thing]
	things := make([]thing, 4096)
	for i := range things {
		things[i].Owner = &things[i]
	}
	i := 0
	for b.Loop() {
		n := &things[i%len(things)].Node
		x.Add(n, uint64(i))
		x.Find(uint64(i))
		x.Remove(n)
		i++
	}
}
