package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A conn is one client connection: a bare socket, blocking until the run
// begins, or TLS over one.
type conn struct {
	fd        int
	tls       *tls.Conn // nil: without
	host      string
	index     int
	in        []byte // what was read and is not a whole message yet
	out       []byte // what is to be written
	fragments []byte // of an unfinished WebSocket message
	deflate   bool   // it takes compressed messages
	deflated  bool   // the unfinished message is
	inflated  []byte // what the last of these held
	stream    []byte // NATS over WebSocket: an unfinished line or payload
	waiting   bool   // for EPOLLOUT
	request   template
	slots     []slot
	next      int    // the slot whose answer comes next, where order is promised
	expects   uint32 // of a subscriber: the number of the next publication
}

// A slot is one request in flight.
type slot struct {
	number   uint32 // of the request, counted up
	open     bool   // it has no outcome yet
	accepted bool   // it was acknowledged
	sent     int64  // when, in nanoseconds
}

// dialAll opens n connections, some at a time, and makes each ready with open.
func dialAll(addr string, n int, open func(*conn) error) ([]*conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	conns := make([]*conn, n)
	errs := make([]error, n)
	var wait sync.WaitGroup
	const dialers = 8
	for d := range dialers {
		wait.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for i := d; i < n; i += dialers {
				if conns[i], errs[i] = dial(to, i, open); errs[i] != nil {
					return
				}
			}
		})
	}
	wait.Wait()
	return conns, errors.Join(errs...)
}

func dial(to netip.AddrPort, index int, open func(*conn) error) (*conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("load: socket %d: %w", index, err)
	}
	c := &conn{fd: fd, host: to.String(), index: index}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}),
	)
	if err == nil {
		// Addresses of its own for every 20,000: there are only 28,000 ports.
		from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + index/20_000)}}
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
			unix.Bind(fd, from),
		)
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err == nil {
		err = open(c)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("load: connection %d: %w", index, err)
	}
	return c, nil
}

// reset closes the connection with a RST, so that no port is left in
// TIME_WAIT.
func (c *conn) reset() {
	_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(c.fd)
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		switch {
		case c == nil:
		case c.tls != nil:
			_ = c.tls.Close()
		default:
			_ = unix.Close(c.fd)
		}
	}
}

// writeAll writes b on the blocking connection.
func (c *conn) writeAll(b []byte) error {
	if c.tls != nil {
		_, err := c.tls.Write(b)
		return err
	}
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// fill reads once from the blocking connection into c.in, as much as that has
// room for.
func (c *conn) fill() error {
	var buf [4096]byte
	into := c.in[len(c.in):cap(c.in)]
	if len(into) < len(buf) {
		into = buf[:]
	}
	if c.tls != nil {
		n, err := c.tls.Read(into)
		c.in = append(c.in, into[:n]...)
		return err
	}
	for {
		n, err := unix.Read(c.fd, into)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		c.in = append(c.in, into[:n]...)
		return nil
	}
}

// await reads until p finds an answer of the kind ready, and keeps what comes
// after that in c.in.
func (c *conn) await(p protocol) error {
	for {
		n, answers, err := p.parse(c, c.in, nil)
		if err != nil {
			return err
		}
		c.in = c.in[:copy(c.in, c.in[n:])]
		if len(c.out) > 0 {
			if err := c.writeAll(c.out); err != nil {
				return err
			}
			c.out = c.out[:0]
		}
		for _, a := range answers {
			if a.kind == ready {
				return nil
			}
		}
		if err := c.fill(); err != nil {
			return fmt.Errorf("waiting for the server's answer: %w", err)
		}
	}
}

// flush writes what is queued, on the non-blocking socket, as far as it goes.
func (c *conn) flush() error {
	for len(c.out) > 0 {
		n, errno := rawWrite(c.fd, c.out)
		switch errno {
		case 0:
			c.out = c.out[:copy(c.out, c.out[n:])]
		case unix.EAGAIN:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("load: write: %w", errno)
		}
	}
	return nil
}

// rawRead and rawWrite skip the scheduler's bookkeeping: the sockets do not
// block, and no other goroutine wants this thread.
func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

func rawWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}
