package peer

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/gobwas/ws"
)

// rawRoom is the least that a fan-out can do without batching: a message from
// one connection is framed once and written to each of the others in a loop,
// one system call each.
type rawRoom struct {
	mu    sync.Mutex
	conns []net.Conn
}

func rawBroadcast() (string, error) {
	room := &rawRoom{}
	return serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		room.mu.Lock()
		room.conns = append(room.conns, c)
		room.mu.Unlock()
		go room.read(c, rw.Reader)
	}))
}

func (room *rawRoom) read(c net.Conn, r *bufio.Reader) {
	defer c.Close()
	var frame []byte
	for {
		h, err := ws.ReadHeader(r)
		if err != nil {
			return
		}
		frame = append(frame[:0], 0x80|byte(h.OpCode))
		if h.Length < 126 {
			frame = append(frame, byte(h.Length))
		} else {
			frame = append(frame, 126)
			frame = binary.BigEndian.AppendUint16(frame, uint16(h.Length))
		}
		header := len(frame)
		frame = slices.Grow(frame, int(h.Length))[:header+int(h.Length)]
		if _, err := io.ReadFull(r, frame[header:]); err != nil {
			return
		}
		ws.Cipher(frame[header:], h.Mask, 0)
		room.send(c, frame)
	}
}

func (room *rawRoom) send(from net.Conn, frame []byte) {
	room.mu.Lock()
	defer room.mu.Unlock()
	for _, c := range room.conns {
		if c != from {
			_, _ = c.Write(frame)
		}
	}
}
