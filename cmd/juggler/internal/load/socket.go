package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
)

// maxMessage bounds what a server may send in one frame, in bytes.
const maxMessage = 64 << 20

// A socket is a WebSocket that is written by a goroutine of its own, so that
// reading goes on while the server does not read.
type socket struct {
	nc  net.Conn
	in  *bufio.Reader
	buf []byte // of the message that is read

	compresses bool
	wire, text []byte // a compressed message: as it is sent, and as it came

	mu     sync.Mutex
	out    []byte
	wake   chan struct{} // has room for one
	ours   atomic.Bool   // drop was called
	closed chan struct{}
	once   sync.Once
}

// dial opens a socket.
func dial(ctx context.Context, c *Config, t *traffic) (*socket, error) {
	d := ws.Dialer{
		Timeout:   10 * time.Second,
		Protocols: []string{fmt.Sprintf("juggler.%d", c.Protocol)},
		Header:    ws.HandshakeHeaderHTTP(http.Header(c.Header)),
		TLSConfig: c.TLS,
	}
	if c.Compress {
		d.Extensions = []httphead.Option{offered}
	}
	nc, in, h, err := d.Dial(ctx, c.URL)
	if err != nil {
		return nil, err
	}
	if h.Protocol != d.Protocols[0] {
		return nil, fmt.Errorf("the server does not speak %s", d.Protocols[0])
	}
	if c.Compress && len(h.Extensions) == 0 {
		_ = nc.Close()
		return nil, errors.New("the server does not compress: juggler serve does with --compression")
	}
	nc = counted{nc, t}
	if in == nil {
		in = bufio.NewReaderSize(nc, 16<<10)
	} else { // it has read the first message with the handshake
		early, _ := in.Peek(in.Buffered())
		t.received.Add(uint64(len(early)))
		in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), nc), 16<<10)
	}
	s := &socket{nc: nc, in: in, compresses: c.Compress, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	go s.write() // ends with close
	return s, nil
}

func (s *socket) close() {
	s.once.Do(func() {
		close(s.closed)
		_ = s.nc.Close()
	})
}

// drop ends the connection without a close frame, as a network does.
func (s *socket) drop() {
	s.ours.Store(true)
	s.close()
}

// dropped reports whether drop was called.
func (s *socket) dropped() bool { return s.ours.Load() }

// send queues a message.
func (s *socket) send(message []byte) { s.queue(ws.OpText, message) }

func (s *socket) queue(op ws.OpCode, payload []byte) {
	s.mu.Lock()
	if s.compresses && op == ws.OpText && len(payload) >= compressFrom {
		s.wire = appendDeflated(s.wire[:0], payload)
		s.out = appendFrame(s.out, op|rsv1<<4, s.wire)
	} else {
		s.out = appendFrame(s.out, op, payload)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// write writes what is queued, all at once, until close.
func (s *socket) write() {
	var spare []byte
	for {
		select {
		case <-s.wake:
		case <-s.closed:
			return
		}
		s.mu.Lock()
		batch := s.out
		s.out = spare[:0]
		s.mu.Unlock()
		if _, err := s.nc.Write(batch); err != nil {
			s.close()
			return
		}
		spare = batch
	}
}

// mask is any: it protects proxies (RFC 6455, section 10.3), not us.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// appendFrame appends a masked frame (RFC 6455, section 5.2).
func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst = append(dst, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = append(dst, mask[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[start:], mask, 0)
	return dst
}

// read returns the next message, valid until the next call. It answers pings.
func (s *socket) read() ([]byte, error) {
	s.buf = s.buf[:0]
	compressed := false
	for {
		h, err := ws.ReadHeader(s.in)
		if err != nil {
			return nil, err
		}
		if h.Length > maxMessage || h.Masked {
			return nil, fmt.Errorf("a frame of %d bytes, masked: %v", h.Length, h.Masked)
		}
		if h.OpCode.IsControl() {
			payload := make([]byte, h.Length)
			if _, err := io.ReadFull(s.in, payload); err != nil {
				return nil, err
			}
			switch h.OpCode {
			case ws.OpClose:
				code, reason := ws.ParseCloseFrameData(payload)
				return nil, fmt.Errorf("closed by the server: %d %s", code, reason)
			case ws.OpPing:
				s.queue(ws.OpPong, payload)
			}
			continue
		}
		compressed = compressed || h.Rsv == rsv1
		start := len(s.buf)
		s.buf = append(s.buf, make([]byte, h.Length)...)
		if _, err := io.ReadFull(s.in, s.buf[start:]); err != nil {
			return nil, err
		}
		if h.Fin && compressed {
			s.text, err = appendInflated(s.text[:0], s.buf)
			return s.text, err
		}
		if h.Fin {
			return s.buf, nil
		}
	}
}
