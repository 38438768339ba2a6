package main

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/juggler-go/juggler/bench/internal/peer"
)

// idleSessions measures what sessions hold that do nothing: a user of 16
// bytes, and one subscription to a channel shared by all.
func idleSessions() ([]guarded, error) {
	addr, err := peer.Start("juggler")
	if err != nil {
		return nil, err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	sessions := min(5000, int(limit.Cur)/2-200) // both ends are in this process
	first, all := 16, make([]*rawConn, sessions)
	buf, counted := make([]byte, readBuffer), &clientCalls{}
	sub := masked(`{"type":"SUB","id":"1","channel":"c"}`)
	open := func(conns []*rawConn) error {
		for i := range conns {
			c, err := dialRaw(addr, "juggler.1", counted, buf) // they share the buffer: nothing is ever left in it
			if err != nil {
				return err
			}
			conns[i] = c
			if err := c.write(sub); err != nil {
				return err
			}
			if err := c.messages(1); err != nil {
				return err
			}
		}
		return nil
	}
	defer func() {
		for _, c := range all {
			if c != nil {
				c.close()
			}
		}
	}()
	if err := open(all[:first]); err != nil { // what every server has once
		return nil, err
	}
	before := heldNow()
	if err := open(all[first:]); err != nil {
		return nil, err
	}
	after := heldNow()
	each := func(n int) float64 { return float64(n) / float64(sessions-first) }
	return []guarded{{"handler: an idle session with a subscription", map[unit]float64{
		held:       each(after.bytes - before.bytes),
		goroutines: each(after.goroutines - before.goroutines),
	}}}, nil
}

type holding struct{ bytes, goroutines int }

// heldNow returns the bytes of live objects and the number of goroutines.
func heldNow() holding {
	var m runtime.MemStats
	for range 3 { // pools let go of what they hold only at the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return holding{int(m.HeapAlloc), runtime.NumGoroutine()}
}
