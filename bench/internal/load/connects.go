package load

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
)

// runConnects opens a connection, until it is ready for requests, and drops
// it, again and again, s.Conns of them at a time.
func runConnects(s Spec, p protocol) (r Result, err error) {
	to, err := netip.ParseAddrPort(s.Addr)
	if err != nil {
		return r, err
	}
	var count atomic.Int64
	var stop atomic.Bool
	errs := make([]error, s.Conns)
	var wait sync.WaitGroup
	for i := range s.Conns {
		wait.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for !stop.Load() {
				c, err := dial(to, i, p.open)
				if err != nil {
					errs[i] = err
					return
				}
				c.reset()
				count.Add(1)
			}
		})
	}
	err = measureCount(s, &r, &count)
	stop.Store(true)
	wait.Wait()
	return r, errors.Join(append(errs, err)...)
}
