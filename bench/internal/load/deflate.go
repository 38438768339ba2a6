package load

import (
	"sync"

	"github.com/juggler-go/juggler/internal/deflate"
)

// deflateOffer is what a connection offers that takes compressed messages, as browsers do;
// what it sends is never compressed.
const deflateOffer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"

// rsv1 marks the first frame of a compressed message.
const rsv1 = 0x40

// inflaters are for the connections that are being opened, and then for the loop.
var inflaters = sync.Pool{New: func() any { return deflate.New(1) }}

// inflate returns what a message holds, valid until the next one of c.
func (c *conn) inflate(message []byte) ([]byte, error) {
	d := inflaters.Get().(*deflate.Deflater)
	defer inflaters.Put(d)
	payload, err := d.Inflate(message, 1<<20)
	c.inflated = append(c.inflated[:0], payload...)
	return c.inflated, err
}
