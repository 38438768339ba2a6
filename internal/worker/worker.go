// Package worker does work in order, on goroutines that exist only while there is
// some. User code in it may panic or end its goroutine (runtime.Goexit, as FailNow
// of a test does): the rest is done all the same.
package worker

import "sync"

// A Worker does its work step by step.
type Worker interface {
	// Step does a part of the work, and reports whether there is more. If user
	// code ends its goroutine, Step is called again on another one: what is to be
	// done once must be noted as done before.
	Step() (more bool)
}

// Start has w do all its work on a goroutine of its own, which counts in running.
func Start(running *sync.WaitGroup, w Worker) {
	running.Add(1)
	go run(running, w)
}

func run(running *sync.WaitGroup, w Worker) {
	defer running.Done()
	more := true
	defer func() {
		if more { // Step has ended this goroutine
			Start(running, w)
		}
	}()
	for more {
		more = w.Step()
	}
}

// A Backlog is functions to be called one after the other. Its methods may be called
// concurrently.
type Backlog struct {
	// Running counts the goroutine that calls them. It is set before Do.
	Running *sync.WaitGroup

	mu      sync.Mutex // guards the following
	waiting []func()
	busy    bool // a goroutine is at work
}

// Do has f called soon, after all that came before.
func (b *Backlog) Do(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, f)
	if !b.busy {
		b.busy = true
		Start(b.Running, b)
	}
}

// Len returns how many functions wait.
func (b *Backlog) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// Idle returns a channel that is closed when all was called that waits now.
func (b *Backlog) Idle() <-chan struct{} {
	done := make(chan struct{})
	b.Do(func() { close(done) })
	return done
}

// Step implements [Worker].
func (b *Backlog) Step() (more bool) {
	f := b.next()
	if f == nil {
		return false
	}
	f()
	return true
}

// next takes what has waited longest, or ends the work.
func (b *Backlog) next() (f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy = len(b.waiting) > 0; !b.busy {
		b.waiting = nil
		return nil
	}
	f = b.waiting[0]
	b.waiting[0] = nil
	b.waiting = b.waiting[1:]
	return f
}
