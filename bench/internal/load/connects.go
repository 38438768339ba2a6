package load

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/bench/internal/control"
)

// runConnects opens a connection, until it is ready for requests, and drops
// it, again and again, s.Conns of them at a time.
func runConnects(s Spec, p protocol) (Result, error) {
	to, err := netip.ParseAddrPort(s.Addr)
	if err != nil {
		return Result{}, err
	}
	server, err := control.Dial(s.Control)
	if err != nil {
		return Result{}, err
	}
	defer server.Close()

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
	time.Sleep(s.Warmup)
	var failed error
	if s.Profile != "" {
		failed = server.Profile(s.Profile)
	}
	before, err := server.Usage()
	failed = errors.Join(failed, err)
	ownBefore, began, first := control.CPU(), time.Now(), count.Load()
	time.Sleep(s.Window)
	r := Result{
		Messages: int(count.Load() - first),
		Elapsed:  time.Since(began),
		LoadCPU:  control.CPU() - ownBefore,
	}
	after, err := server.Usage()
	failed = errors.Join(failed, err)
	if s.Profile != "" {
		failed = errors.Join(failed, server.StopProfile())
	}
	stop.Store(true)
	wait.Wait()
	r.ServerCPU = after.CPU - before.CPU
	r.Mallocs = after.Mallocs - before.Mallocs
	return r, errors.Join(append(errs, failed)...)
}
