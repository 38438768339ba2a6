package conn

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// A stream is the network connection of a link. It knows when bytes moved last,
// and lets writes take their time as long as they do: what is large takes long
// on a slow link.
type stream struct {
	net.Conn
	timeout time.Duration // of a write, while nothing moves
	born    time.Time
	last    atomic.Int64 // when bytes moved last, as a time since born
	read    atomic.Int64 // when bytes were read last
}

func newStream(conn net.Conn, timeout time.Duration) *stream {
	return &stream{Conn: conn, timeout: timeout, born: time.Now()}
}

// moved returns when bytes moved last, in either direction.
func (s *stream) moved() time.Time { return s.born.Add(time.Duration(s.last.Load())) }

func (s *stream) move() { s.last.Store(int64(time.Since(s.born))) }

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.move()
		s.read.Store(s.last.Load())
	}
	return n, err
}

// silence returns how long nothing has been read.
func (s *stream) silence() time.Duration {
	return time.Since(s.born.Add(time.Duration(s.read.Load())))
}

// reset has the kernel drop what it has not sent yet, when the connection is closed.
// Else it would go on trying: when the network heals, requests would be carried out
// that were given up long ago, after younger ones that went another way.
func (s *stream) reset() {
	conn := s.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0) //nolint:errcheck // nothing can be done about it
	}
}

// portion is how much is written at once: TLS does not go on with a write that
// timed out, even if it made progress.
const portion = 64 << 10

// Write writes p in portions, each with a deadline of its own. SetWriteDeadline
// has no effect on it.
func (s *stream) Write(p []byte) (written int, err error) {
	for {
		s.SetWriteDeadline(time.Now().Add(s.timeout)) //nolint:errcheck // then writing fails, too
		n, err := s.Conn.Write(p[written:min(len(p), written+portion)])
		written += n
		if n > 0 {
			s.move()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
		}
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// What was written may be on its way for a while, in the buffers of kernels and proxies,
// although we see no byte move. It has the time that it takes at slowest bytes a second.
const (
	slowest = 512 << 10
	onWay   = 4 << 20 // about as much as such buffers hold
)

// TransmitTime returns the time that so many bytes may take on their way.
func TransmitTime(bytes int) time.Duration {
	return time.Duration(min(bytes, onWay)) * time.Second / slowest
}
