package load

import (
	"errors"
	"time"

	"github.com/juggler-go/juggler/bench/internal/control"
)

// measure runs work, which is the window of s, and fills in what both
// processes used meanwhile.
func measure(s Spec, r *Result, work func() error) (err error) {
	server, err := control.Dial(s.Control)
	if err != nil {
		return err
	}
	defer server.Close()
	if s.Profile != "" {
		if err := server.Profile(s.Profile); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.StopProfile()) }()
	}
	before, err := server.Usage()
	if err != nil {
		return err
	}
	ownBefore, began := control.CPU(), time.Now()
	if err := work(); err != nil {
		return err
	}
	r.Elapsed, r.LoadCPU = time.Since(began), control.CPU()-ownBefore
	after, err := server.Usage()
	if err != nil {
		return err
	}
	r.ServerCPU = after.CPU - before.CPU
	r.Mallocs = after.Mallocs - before.Mallocs
	r.Switches = after.Switches - before.Switches
	return nil
}
