package redis

// A hold is a lock that is held while a server is waited for. In a bubble of
// testing/synctest who waits for it is blocked, which who waits for a mutex is not:
// there time would stand still.
type hold chan struct{}

func newHold() hold { return make(hold, 1) }

func (h hold) lock()   { h <- struct{}{} }
func (h hold) unlock() { <-h }
