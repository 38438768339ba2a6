package wsconn

import (
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/deflate"
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

	// widest is log2 of the window of DEFLATE.
	widest = 15
)

// errInflate closes with 1007, as text does that is not UTF-8.
const errInflate = errProtocol("compressed message cannot be read")

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

// WriteDeflated queues payload, which is copied, as a message, compressed if
// [Conn.Deflates] says so and that makes it smaller. It returns how many bytes it has
// compressed; 0: it is not.
func (c *Conn) WriteDeflated(op ws.OpCode, payload []byte) (n int) {
	if c.state == stateOpen && c.Deflates(len(payload)) {
		if b := c.g.deflate(payload); len(b) > 0 {
			c.write(op|rsv1, b)
			return len(b)
		}
	}
	c.write(op, payload)
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
	b := g.getDeflater().Deflate(payload)
	if len(b) >= len(payload) {
		return nil
	}
	return b
}

func (g *Group) getDeflater() *deflate.Deflater {
	if g.deflater == nil {
		g.deflater = deflate.New(g.cfg.DeflateLevel)
	}
	return g.deflater
}

// compressed passes a whole message on that has come compressed.
func (c *Conn) compressed(op ws.OpCode, message []byte) {
	if c.state != stateOpen {
		return
	}
	payload, err := c.g.getDeflater().Inflate(message, c.g.cfg.MaxMessage)
	switch {
	case errors.Is(err, deflate.ErrTooBig):
		c.tooBig()
	case err != nil:
		c.violation(errInflate)
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
