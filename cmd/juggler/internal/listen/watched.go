package listen

import (
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
)

// acceptFailures counts those of all listeners of the process: what they lack, such as
// descriptors, is the process's.
var acceptFailures atomic.Uint64

// AcceptFailures returns how often the process could not accept a connection.
func AcceptFailures() uint64 { return acceptFailures.Load() }

// A watched listener counts and logs that it cannot accept. http.Server tries again by
// itself; clients meanwhile wait in the kernel's queue, and see nothing.
type watched struct {
	net.Listener
	log *slog.Logger
}

// Watch returns l, watched. log has to bound lines of one kind.
func Watch(l net.Listener, log *slog.Logger) net.Listener { return &watched{l, log} }

// Accept implements net.Listener.
func (w *watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		w.log.Warn("cannot accept connections", "error", err, "failures", acceptFailures.Add(1))
	}
	return c, err
}
