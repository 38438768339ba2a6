package memory

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

var _ broker.Registry = (*Broker)(nil)

const (
	shortestLife = time.Second // of what is registered
	maxFacts     = 100_000     // of all tables
)

// registry is the facts of a Broker. What is too old goes when the registry is used.
type registry struct {
	mu     sync.Mutex // guards the following
	closed bool
	began  time.Time // times are counted from here
	tables map[string]map[string]*fact
	byEnd  factHeap // all facts
}

// A fact is what is registered by one name of a table.
type fact struct {
	table, name string
	value       []byte
	at, until   time.Duration
	place       int // in registry.byEnd
}

func (r *registry) init() { r.began, r.tables = time.Now(), make(map[string]map[string]*fact) }

// Register implements [broker.Registry].
func (b *Broker) Register(_ context.Context, table, name string, value []byte, life time.Duration) error {
	if life < shortestLife {
		return fmt.Errorf("memory: register %q in %q: the life is %v, want %v or more", name, table, life, shortestLife)
	}
	r := &b.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return broker.ErrClosed
	}
	now := r.expire()
	f := r.tables[table][name]
	if f == nil {
		if len(r.byEnd) >= maxFacts {
			return fmt.Errorf("memory: register %q in %q: %d are registered: %w", name, table, maxFacts, broker.ErrUnavailable)
		}
		f = &fact{table: table, name: name}
		if r.tables[table] == nil {
			r.tables[table] = make(map[string]*fact)
		}
		r.tables[table][name] = f
		heap.Push(&r.byEnd, f)
	}
	f.value, f.at, f.until = bytes.Clone(value), now, now+life
	heap.Fix(&r.byEnd, f.place)
	return nil
}

// Unregister implements [broker.Registry].
func (b *Broker) Unregister(_ context.Context, table, name string) error {
	r := &b.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return broker.ErrClosed
	}
	r.expire()
	if f := r.tables[table][name]; f != nil {
		r.remove(f)
	}
	return nil
}

// Registered implements [broker.Registry].
func (b *Broker) Registered(_ context.Context, table string) ([]broker.Entry, error) {
	r := &b.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, broker.ErrClosed
	}
	now := r.expire()
	entries := make([]broker.Entry, 0, len(r.tables[table]))
	for name, f := range r.tables[table] {
		entries = append(entries, broker.Entry{Name: name, Value: bytes.Clone(f.value), Age: now - f.at, Left: f.until - now})
	}
	return entries, nil
}

// expire removes what is too old, and returns the time. The caller holds mu.
func (r *registry) expire() (now time.Duration) {
	now = time.Since(r.began)
	for len(r.byEnd) > 0 && r.byEnd[0].until <= now {
		r.remove(r.byEnd[0])
	}
	return now
}

// remove removes a fact, and its table with the last one. The caller holds mu.
func (r *registry) remove(f *fact) {
	heap.Remove(&r.byEnd, f.place)
	table := r.tables[f.table]
	if delete(table, f.name); len(table) == 0 {
		delete(r.tables, f.table)
	}
}

// close drops everything.
func (r *registry) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.tables, r.byEnd = true, nil, nil
}

// A factHeap is facts, the one whose time is over first in front.
type factHeap []*fact

func (h factHeap) Len() int           { return len(h) }
func (h factHeap) Less(i, j int) bool { return h[i].until < h[j].until }
func (h factHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *factHeap) Push(v any) {
	f := v.(*fact)
	f.place = len(*h)
	*h = append(*h, f)
}

func (h *factHeap) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return f
}
