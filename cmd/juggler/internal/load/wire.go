package load

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/gobwas/httphead"

	"github.com/juggler-go/juggler/internal/deflate"
)

// traffic counts the bytes of all connections, once they are WebSockets; of TLS, what is
// in it.
type traffic struct{ sent, received atomic.Uint64 }

// counted is a connection whose bytes are counted.
type counted struct {
	net.Conn
	traffic *traffic
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.traffic.received.Add(uint64(n))
	return n, err
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.traffic.sent.Add(uint64(n))
	return n, err
}

const (
	// compressFrom is how many bytes a message has at least that is compressed, as those of
	// the Go client have.
	compressFrom  = 512
	compressLevel = 3

	rsv1 = 4 // in ws.Header.Rsv: the message is compressed
)

// offered is what is offered with --compression.
var offered = httphead.NewOption("permessage-deflate", map[string]string{"client_no_context_takeover": "", "server_no_context_takeover": ""})

// deflaters are for all connections, which need one for a moment only.
var deflaters = sync.Pool{New: func() any { return deflate.New(compressLevel) }}

// appendDeflated appends payload compressed to dst.
func appendDeflated(dst, payload []byte) []byte {
	d := deflaters.Get().(*deflate.Deflater)
	defer deflaters.Put(d)
	return append(dst, d.Deflate(payload)...)
}

// appendInflated appends what a message holds to dst.
func appendInflated(dst, message []byte) ([]byte, error) {
	d := deflaters.Get().(*deflate.Deflater)
	defer deflaters.Put(d)
	payload, err := d.Inflate(message, maxMessage)
	return append(dst, payload...), err
}
