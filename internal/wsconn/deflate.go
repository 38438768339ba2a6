package wsconn

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/klauspost/compress/flate"
)

// Compression is permessage-deflate (RFC 7692) without context takeover: each message is
// compressed by itself, so that what is needed for it belongs to the group, and a
// connection keeps nothing but the size of its peer's window. A message that this side
// compresses is not longer than that window, so that no compressor reaches beyond it.

const (
	// rsv1 marks the first frame of a compressed message, in its first byte.
	rsv1 = 0x40

	// mostDeflated bounds how long a turn is held up by one message: a few milliseconds,
	// at the dearest level that the server takes.
	mostDeflated = 1 << 20

	// tail is what a sender cuts off (RFC 7692, section 7.2.1), and a last block, as the
	// end of all is otherwise not told from an end too soon.
	tail = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff"
	// cut is how much of that the sender has cut off.
	cut = 4

	// widest is log2 of the window of DEFLATE.
	widest = 15

	// mostEnds is how many last blocks a message may have, as each makes work.
	mostEnds = 16
)

// errInflate closes with 1007, as text does that is not UTF-8.
const errInflate = errProtocol("compressed message cannot be read")

// errTooBig closes with 1009.
var errTooBig = errors.New("wsconn: message too big")

// Deflate has messages of the peer be read that are compressed, and WriteDeflated compress
// those for it: it keeps 1<<window bytes of each to inflate it, 8 to 15. It is to be
// called right after [Group.Attach].
func (c *Conn) Deflate(window uint8) { c.window = window }

// Deflating reports whether [Conn.Deflate] was called.
func (c *Conn) Deflating() bool { return c.window != 0 }

// Deflates reports whether a message of n bytes is worth being compressed for c.
func (c *Conn) Deflates(n int) bool { return c.window != 0 && c.deflates(n) }

func (c *Conn) deflates(n int) bool {
	return n >= c.g.cfg.DeflateFrom && n <= mostDeflated && (c.window == widest || n <= 1<<c.window)
}

// WriteDeflated queues payload, which is copied, as a text message, compressed if
// [Conn.Deflates] says so and that makes it smaller. It returns how many bytes it has
// compressed; 0: it is not.
func (c *Conn) WriteDeflated(payload []byte) (n int) {
	if c.state == stateOpen && c.Deflates(len(payload)) {
		if b := c.g.deflate(payload); len(b) > 0 {
			c.write(ws.OpText|rsv1, b)
			return len(b)
		}
	}
	c.WriteText(payload)
	return 0
}

// AppendDeflated appends payload as a compressed text frame to dst, or nothing, if that
// would not make it smaller. Made once, it can be written to all connections of the pool
// by [Conn.WriteRaw] for which [Conn.Deflates] says so.
func (g *Group) AppendDeflated(dst, payload []byte) []byte {
	if b := g.deflate(payload); len(b) > 0 {
		dst = AppendFrame(dst, ws.OpText|rsv1, b)
	}
	return dst
}

// deflate returns payload compressed, valid until the next call; nil if that is not smaller.
func (g *Group) deflate(payload []byte) []byte {
	b := g.getDeflater().deflate(payload)
	if len(b) >= len(payload) {
		return nil
	}
	return b
}

func (g *Group) getDeflater() *deflater {
	if g.deflater == nil {
		g.deflater = &deflater{level: g.cfg.DeflateLevel}
	}
	return g.deflater
}

// compressed passes a whole message on that has come compressed.
func (c *Conn) compressed(op ws.OpCode, message []byte) {
	if c.state != stateOpen {
		return
	}
	payload, err := c.g.getDeflater().inflate(message, c.g.cfg.MaxMessage)
	switch {
	case errors.Is(err, errTooBig):
		c.tooBig()
	case err != nil:
		c.violation(err)
	case c.g.cfg.CheckUTF8 && op == ws.OpText && !utf8.Valid(payload):
		c.violation(errInvalidUTF8)
	default:
		c.g.inflatedFrom.Add(uint64(len(message)))
		c.g.inflatedTo.Add(uint64(len(payload)))
		for n := len(message); n > len(payload)+1<<10; n -= 1 << 10 {
			c.partial() // blocks that hold nothing make work, too
		}
		c.message(op, payload)
	}
}

// Inflated returns how many bytes compressed messages have had as they came, and how many
// inflated.
func (p *Pool) Inflated() (from, to uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range slices.Concat(p.loops, p.portable) {
		if g != nil {
			from, to = from+g.inflatedFrom.Load(), to+g.inflatedTo.Load()
		}
	}
	return from, to
}

// maxWire returns how many bytes a message may have as it comes: compressed, a few more
// than when it is not, as what cannot be made smaller gets larger.
func (cfg *config) maxWire(compressed bool) int {
	if compressed {
		return cfg.MaxMessage + cfg.MaxMessage>>7 + 64
	}
	return cfg.MaxMessage
}

// deflater compresses and inflates the messages of a group, one after the other, on its
// turns.
type deflater struct {
	level int
	w     *flate.Writer // nil until it is first needed
	to    sink

	r        io.ReadCloser // nil until it is first needed
	from     bytes.Reader
	wire     []byte // a message with its tail
	inflated []byte
}

// sink is what a flate.Writer writes to.
type sink []byte

func (s *sink) Write(b []byte) (int, error) {
	*s = append(*s, b...)
	return len(b), nil
}

// deflate returns payload compressed, as it is sent.
func (d *deflater) deflate(payload []byte) []byte {
	if cap(d.to) > keepEach {
		d.to = nil
	}
	d.to = d.to[:0]
	if d.w == nil {
		d.w, _ = flate.NewWriter(nil, d.level) // fails only for a level that does not exist
	}
	d.w.Reset(&d.to)
	_, _ = d.w.Write(payload) // a sink never fails
	_ = d.w.Flush()
	return d.to[:len(d.to)-cut]
}

// inflate returns what message holds, valid until the next call. It stops as soon as that
// is more than most bytes.
func (d *deflater) inflate(message []byte, most int) (out []byte, err error) {
	d.wire = append(append(d.wire[:0], message...), tail...)
	d.from.Reset(d.wire)
	if d.r == nil {
		d.r = flate.NewReader(&d.from)
	}
	out = d.inflated[:0]
	// A last block need not be the end: what follows it has the same window (RFC 7692,
	// section 7.2.3.4).
	for ends := 0; err == nil && d.from.Len() > 0; ends++ {
		if ends > mostEnds {
			return nil, errInflate
		}
		_ = d.r.(flate.Resetter).Reset(&d.from, out[max(0, len(out)-1<<widest):]) // never fails
		out, err = appendAtMost(out, d.r, most)
	}
	if d.inflated = out; cap(out) > keepEach {
		d.inflated = nil
	}
	if cap(d.wire) > keepEach {
		d.wire = nil
	}
	return out, err
}

// appendAtMost appends what r inflates, up to most bytes of dst.
func appendAtMost(dst []byte, r io.Reader, most int) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, min(max(512, len(dst)), most+1-len(dst)))
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), most+1)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > most:
			return dst, errTooBig
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, errInflate
		}
	}
}
