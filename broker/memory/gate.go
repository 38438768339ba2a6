package memory

import (
	"sync"
	"sync/atomic"
)

// A gate lets callbacks of a connection run until it is closed, and lets
// those who close it wait until the last one has left. It is not a WaitGroup,
// since callbacks come while others already wait.
type gate struct {
	// state counts the callbacks inside, and holds gateClosed once closed. A
	// callback that comes late counts for a moment, until it sees that.
	state atomic.Int64
	once  sync.Once
	empty chan struct{} // closed when the gate is closed and no callback is inside
}

const gateClosed = 1 << 62

func (g *gate) init() { g.empty = make(chan struct{}) }

// enter reports whether a callback may run; if so, leave must follow.
func (g *gate) enter() bool {
	if g.state.Add(1)&gateClosed != 0 {
		g.leave()
		return false
	}
	return true
}

func (g *gate) leave() {
	if g.state.Add(-1) == gateClosed {
		g.once.Do(func() { close(g.empty) })
	}
}

// close lets no more callbacks in and returns when none is inside. It may be called
// more than once, but not from inside.
func (g *gate) close() {
	if g.state.Or(gateClosed) == 0 {
		g.once.Do(func() { close(g.empty) })
	}
	<-g.empty
}
