package conn

import (
	"context"
	"sync"
)

// A Background is goroutines that begin when their owner is first used, and end with it.
type Background struct {
	Quit context.Context // ends with Stop

	cancel  context.CancelFunc
	mu      sync.Mutex // guards over
	over    bool       // they were started, or must not be any more
	running sync.WaitGroup
}

// NewBackground returns a Background of which nothing runs yet.
func NewBackground() *Background {
	b := &Background{}
	b.Quit, b.cancel = context.WithCancel(background)
	return b
}

// Start runs functions, each on a goroutine of its own, unless Start or Stop was called
// before. They must end when Quit does.
func (b *Background) Start(functions ...func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return
	}
	b.over = true
	for _, f := range functions {
		b.running.Go(f)
	}
}

// Stop ends what Start has begun, and waits for it.
func (b *Background) Stop() {
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	b.cancel()
	b.running.Wait()
}
