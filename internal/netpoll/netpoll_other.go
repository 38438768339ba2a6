//go:build !linux

package netpoll

import (
	"errors"
	"net"
)

// Supported reports whether this system has what the package needs.
const Supported = false

// Poller cannot be made on this system.
type Poller struct{}

// New returns [errors.ErrUnsupported].
func New() (*Poller, error) { return nil, errors.ErrUnsupported }

// Close returns [errors.ErrUnsupported].
func (*Poller) Close() error { return errors.ErrUnsupported }

// Add returns [errors.ErrUnsupported].
func (*Poller) Add(fd int, token uint64, interest Interest) error { return errors.ErrUnsupported }

// Modify returns [errors.ErrUnsupported].
func (*Poller) Modify(fd int, token uint64, interest Interest) error { return errors.ErrUnsupported }

// Wait returns [errors.ErrUnsupported].
func (*Poller) Wait(timeout int) ([]Event, error) { return nil, errors.ErrUnsupported }

// Wake returns [errors.ErrUnsupported].
func (*Poller) Wake() error { return errors.ErrUnsupported }

// Duplicate returns false: no connection can be taken over.
func Duplicate(nc net.Conn) (fd int, ok bool, err error) { return -1, false, nil }

// Read returns [errors.ErrUnsupported].
func Read(fd int, b []byte) (int, error) { return 0, errors.ErrUnsupported }

// Write returns [errors.ErrUnsupported].
func Write(fd int, b []byte) (int, error) { return 0, errors.ErrUnsupported }

// ShutdownWrite returns [errors.ErrUnsupported].
func ShutdownWrite(fd int) error { return errors.ErrUnsupported }

// Close returns [errors.ErrUnsupported].
func Close(fd int) error { return errors.ErrUnsupported }

// Reset returns [errors.ErrUnsupported].
func Reset(fd int) error { return errors.ErrUnsupported }
