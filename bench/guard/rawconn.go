package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// A rawConn is a client on a bare, blocking socket. It allocates nothing, and
// it counts its system calls, so that the rest is the server's.
type rawConn struct {
	fd    int
	calls *clientCalls
	buf   []byte
	have  int // bytes of buf that were read and not taken
}

// clientCalls are the system calls of all clients.
type clientCalls struct{ reads, writes int }

// dialRaw opens a WebSocket connection; with a subprotocol of juggler's it
// waits for HELLO.
func dialRaw(addr, subprotocol string, calls *clientCalls, buf []byte) (*rawConn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &rawConn{fd: fd, calls: calls, buf: buf}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		c.close()
		return nil, err
	}
	if err := c.upgrade(addr, subprotocol); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *rawConn) upgrade(addr, subprotocol string) error {
	// A read that waits for longer than this has lost a message.
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
		return err
	}
	request := "GET / HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	if subprotocol != "" {
		request += "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	if err := c.write([]byte(request + "\r\n")); err != nil {
		return err
	}
	for {
		if err := c.fill(); err != nil {
			return err
		}
		if end := strings.Index(string(c.buf[:c.have]), "\r\n\r\n"); end >= 0 {
			if !strings.HasPrefix(string(c.buf[:c.have]), "HTTP/1.1 101 ") {
				return fmt.Errorf("the upgrade was refused: %q", c.buf[:c.have])
			}
			c.take(end + 4)
			break
		}
	}
	if subprotocol == "" {
		return nil
	}
	return c.messages(1)
}

func (c *rawConn) close() { _ = unix.Close(c.fd) }

func (c *rawConn) write(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		c.calls.writes++
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("write: %w", err)
		default:
			b = b[n:]
		}
	}
	return nil
}

// fill reads once.
func (c *rawConn) fill() error {
	n, err := unix.Read(c.fd, c.buf[c.have:])
	c.calls.reads++
	switch {
	case err == unix.EINTR:
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0:
		return fmt.Errorf("read: the server closed the connection")
	}
	c.have += n
	return nil
}

func (c *rawConn) take(n int) { c.have = copy(c.buf, c.buf[n:c.have]) }

// messages reads and drops n messages.
func (c *rawConn) messages(n int) error {
	for {
		at := 0
		for ; n > 0; n-- {
			size := frameSize(c.buf[at:c.have])
			if size == 0 {
				break
			}
			at += size
		}
		c.take(at)
		if n == 0 {
			return nil
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// frameSize returns the length of the server's frame at the beginning of b, or
// 0 if it is not all there.
func frameSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	size := 2 + int(b[1])
	if b[1] == 126 {
		if len(b) < 4 {
			return 0
		}
		size = 4 + int(binary.BigEndian.Uint16(b[2:]))
	}
	if len(b) < size {
		return 0
	}
	return size
}

// masked returns messages as frames, one after the other.
func masked(messages ...string) (frames []byte) {
	for _, m := range messages {
		frames = append(frames, ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(m))))...)
	}
	return frames
}
