package netpoll

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Supported reports whether this system has what the package needs.
const Supported = true

// batch is how many events one Wait fetches at most.
const batch = 256

// wakeToken marks the eventfd; no descriptor may use it.
const wakeToken = ^uint64(0)

// Poller is one epoll instance and the eventfd that interrupts its Wait.
type Poller struct {
	epoll, event int
	fetched      [batch]unix.EpollEvent
	events       [batch]Event
}

// New opens a Poller: two descriptors until Close.
func New() (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &Poller{epoll: epoll, event: event}
	// Edge-triggered: each Wake is an edge, so the counter is never read,
	// which saves a system call a wake-up. It would take 2^64 of them to
	// fill it.
	if err := p.control(unix.EPOLL_CTL_ADD, event, unix.EPOLLIN|unix.EPOLLET, wakeToken); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close releases the Poller's descriptors. It must not run concurrently with
// any other method; descriptors that were added stay open.
func (p *Poller) Close() error {
	return errors.Join(unix.Close(p.event), unix.Close(p.epoll))
}

// Add starts reporting events of fd with token (any value but the highest).
func (p *Poller) Add(fd int, token uint64, interest Interest) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, mask(interest), token)
}

// Modify changes what Wait reports for fd.
func (p *Poller) Modify(fd int, token uint64, interest Interest) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, mask(interest), token)
}

// mask translates an interest to epoll's level-triggered events.
func mask(interest Interest) uint32 {
	var m uint32 = unix.EPOLLRDHUP
	if interest&Readable != 0 {
		m |= unix.EPOLLIN
	}
	if interest&Writable != 0 {
		m |= unix.EPOLLOUT
	}
	return m
}

// userData returns the 64 bits that the kernel hands back with each event:
// x/sys splits them into Fd and Pad, which lie next to each other.
func userData(e *unix.EpollEvent) *[8]byte {
	return (*[8]byte)(unsafe.Pointer(&e.Fd))
}

func (p *Poller) control(op, fd int, events uint32, token uint64) error {
	e := unix.EpollEvent{Events: events}
	binary.NativeEndian.PutUint64(userData(&e)[:], token)
	if err := unix.EpollCtl(p.epoll, op, fd, &e); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// Wait blocks until something is ready, Wake is called, or timeout
// milliseconds have passed (0: it does not block; negative: no limit). The
// events are valid until the next Wait; after a Wake there may be none.
func (p *Poller) Wait(timeout int) ([]Event, error) {
	n, err := unix.EpollWait(p.epoll, p.fetched[:], timeout)
	if err == unix.EINTR {
		n, err = 0, nil // the caller's next turn computes what is left of the timeout
	}
	if err != nil {
		return nil, os.NewSyscallError("epoll_wait", err)
	}
	events := p.events[:0]
	for i := range n {
		e := &p.fetched[i]
		token := binary.NativeEndian.Uint64(userData(e)[:])
		if token == wakeToken {
			continue
		}
		hangUp := e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
		events = append(events, Event{
			Token:    token,
			Readable: hangUp || e.Events&unix.EPOLLIN != 0,
			Writable: e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0,
			HangUp:   hangUp,
		})
	}
	return events, nil
}

// Wake makes the current or the next Wait return. It may be called from any
// goroutine, but not while or after Close runs.
func (p *Poller) Wake() error {
	one := [8]byte{}
	binary.NativeEndian.PutUint64(one[:], 1)
	_, err := retry(func() (int, error) { return unix.Write(p.event, one[:]) })
	return os.NewSyscallError("eventfd write", err)
}

// Duplicate returns a descriptor of its own for the socket of nc, closed on
// exec and non-blocking, and makes that of nc so. It returns false for a type of
// connection where that would be wrong: anything but exactly a TCP or Unix
// connection of package net may transform the bytes (TLS) or have a Close
// that matters (a listener's limit), even if it gives access to a descriptor.
func Duplicate(nc net.Conn) (fd int, ok bool, err error) {
	var raw syscall.RawConn
	switch c := nc.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	default:
		return -1, false, nil
	}
	if err != nil {
		return -1, true, err
	}
	var dupErr error
	err = raw.Control(func(s uintptr) {
		// Not so any more if somebody has called Fd of its File, for a socket option.
		if dupErr = unix.SetNonblock(int(s), true); dupErr != nil {
			return
		}
		fd, dupErr = retry(func() (int, error) { return unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	})
	if err == nil {
		err = os.NewSyscallError("fcntl", dupErr)
	}
	if err != nil {
		return -1, true, err
	}
	return fd, true, nil
}

// Read reads what has arrived. It returns [io.EOF] when the peer shut its
// writing side, ErrWouldBlock when there is nothing.
func Read(fd int, b []byte) (int, error) {
	switch n, errno := transfer(unix.SYS_READ, fd, b); {
	case errno == unix.EAGAIN:
		return 0, ErrWouldBlock
	case errno != 0:
		return 0, os.NewSyscallError("read", errno)
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	default:
		return n, nil
	}
}

// Write writes as much of b as the socket takes, and returns ErrWouldBlock if
// that is nothing.
func Write(fd int, b []byte) (int, error) {
	switch n, errno := transfer(unix.SYS_WRITE, fd, b); {
	case errno == unix.EAGAIN:
		return 0, ErrWouldBlock
	case errno != 0:
		return 0, os.NewSyscallError("write", errno)
	default:
		return n, nil
	}
}

// transfer is the system call of Read or Write. It does not block, so we do not tell
// Go's scheduler of it: that would take longer than all else the loop does for a
// message.
func transfer(call uintptr, fd int, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// ShutdownWrite tells the peer that nothing more will be written.
func ShutdownWrite(fd int) error {
	return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR))
}

// Close closes fd. What was written is still delivered.
func Close(fd int) error {
	return os.NewSyscallError("close", unix.Close(fd))
}

// Reset closes fd and drops what was not yet delivered: the peer sees the
// connection reset (RST of TCP).
func Reset(fd int) error {
	// On a socket without lingering, as a Unix one, this changes nothing.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	return Close(fd)
}

// retry calls f until a signal does not interrupt it.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}
