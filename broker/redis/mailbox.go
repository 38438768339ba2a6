package redis

import "sync"

// A mailbox hands what arrives for one connection to its callback, in batches and in
// order. Its goroutine runs from start to stop: callbacks may wait, and must not keep
// others waiting. A goroutine that puts something into a full mailbox waits: so a slow
// callback slows the engine down at last.
type mailbox[T any] struct {
	handle func([]T)
	limit  int // of size

	mu      sync.Mutex // guards the following
	changed sync.Cond
	items   []T
	size    int // in bytes, of items
	closed  bool

	stopped chan struct{}
}

func newMailbox[T any](limit int, handle func([]T)) *mailbox[T] {
	m := &mailbox[T]{handle: handle, limit: limit, stopped: make(chan struct{})}
	m.changed.L = &m.mu
	return m
}

func (m *mailbox[T]) start() { go m.run() }

// stop drops what is there and returns when the callback has returned.
func (m *mailbox[T]) stop() {
	m.mu.Lock()
	m.closed = true
	m.items = nil
	m.changed.Broadcast()
	m.mu.Unlock()
	<-m.stopped
}

func (m *mailbox[T]) put(item T, size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.size > 0 && m.size+size > m.limit && !m.closed {
		m.changed.Wait()
	}
	if m.closed {
		return
	}
	m.items = append(m.items, item)
	m.size += size
	if len(m.items) == 1 {
		m.changed.Broadcast()
	}
}

// offer is put that does not wait: it returns false when the mailbox is full.
func (m *mailbox[T]) offer(item T, size int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size > 0 && m.size+size > m.limit {
		return false
	}
	if !m.closed {
		m.items = append(m.items, item)
		m.size += size
		m.changed.Broadcast()
	}
	return true
}

func (m *mailbox[T]) run() {
	defer close(m.stopped)
	var batch []T
	for {
		m.mu.Lock()
		for len(m.items) == 0 && !m.closed {
			m.changed.Wait()
		}
		if m.closed {
			m.mu.Unlock()
			return
		}
		batch, m.items = m.items, batch[:0]
		m.size = 0
		m.changed.Broadcast()
		m.mu.Unlock()

		m.handle(batch)
		clear(batch)
	}
}
