// Package chanlock is a mutex for code that waits for a server while it holds one.
package chanlock

// A Lock is a mutex. In a bubble of testing/synctest a goroutine that waits for it is
// durably blocked, which one that waits for a sync.Mutex is not: there time would stand
// still.
type Lock chan struct{}

// New returns a Lock that nobody holds.
func New() Lock { return make(Lock, 1) }

// Lock locks l.
func (l Lock) Lock() { l <- struct{}{} }

// Unlock unlocks l. It may be called by another goroutine than has locked it.
func (l Lock) Unlock() { <-l }
