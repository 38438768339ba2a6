package wsconn

import (
	"errors"
	"unicode/utf8"
	"unsafe"

	"github.com/gobwas/ws"
)

// input is what a connection owns while a frame or a fragmented message is
// incomplete, or while it is paused with bytes already read. Payload is
// unmasked as it arrives, so that a violation is seen at its first byte and
// no more is kept than what has arrived, whatever length a header announces.
type input struct {
	head  [ws.MaxHeaderSize]byte // the beginning of a header,
	nhead uint8                  // as far as it has arrived

	inFrame    bool // a frame's header is complete, its payload is not
	fragmented bool // a message's first fragment is complete, its last is not
	compressed bool // the message is
	op         ws.OpCode
	since      int64 // when the message began, in ms; 0: none has

	frame   ws.Header // the frame, if inFrame
	got     int64     // bytes of its payload that have arrived
	control [ws.MaxControlFramePayloadSize]byte
	msg     []byte // the data message as far as it has arrived
	checked int    // bytes of msg that are whole UTF-8 characters

	held []byte // raw bytes read and not parsed, as the connection is paused
	kept kept   // what Group.account knows of msg and held
}

func (in *input) size() int {
	return int(unsafe.Sizeof(*in)) + cap(in.msg) + cap(in.held)
}

func (in *input) reset() { *in = input{msg: in.msg[:0], held: in.held[:0]} }

// inMessage reports whether part of a frame or message has arrived.
func (in *input) inMessage() bool { return in.nhead > 0 || in.inFrame || in.fragmented }

// receive takes bytes that were read. They may be modified, and belong to the
// caller again afterwards.
func (c *Conn) receive(b []byte) {
	c.heard()
	if c.state != stateOpen && !c.mayDrop(len(b)) {
		return
	}
	if c.flags&flagPaused != 0 || c.in != nil && len(c.in.held) > 0 {
		if c.parsing() {
			c.hold(b)
		}
		return
	}
	c.parseAll(b)
	if c.state != stateOpen && c.state != stateDead {
		c.dropSlowly()
	}
}

// dropPause is for how many ms a connection that is closing is not read after each time
// that it was: the peer can send on for no answer at all, which must cost less than what
// it sent before.
const dropPause = 10

// dropSlowly stops reading for a while, while closing.
func (c *Conn) dropSlowly() {
	c.flags |= flagPaused
	c.markDirty()
	c.arm(c.g.now + dropPause)
}

// mostDropped is how many bytes, besides a message of the largest size, a peer may send
// after this side has begun to close.
const mostDropped = 16 << 20

// mayDrop counts n bytes that a closing connection received, and ends it if there are too
// many.
func (c *Conn) mayDrop(n int) bool {
	c.out.dropped += n
	if c.out.dropped <= c.g.cfg.MaxMessage+mostDropped {
		return true
	}
	c.lost(ErrCloseTimeout)
	return false
}

// hold keeps raw bytes until the connection is resumed.
func (c *Conn) hold(b []byte) {
	in := c.input()
	in.held = append(in.held, b...)
	c.g.account(&in.kept, cap(in.msg)+cap(in.held))
}

// feed parses what was held while the connection was paused.
func (c *Conn) feed() {
	if c.flags&flagPaused != 0 || c.in == nil || len(c.in.held) == 0 {
		return
	}
	held := c.in.held
	c.in.held = nil
	c.parseAll(held) // what is held again is a new copy: held is being read
	if c.in != nil && c.in.held == nil {
		c.in.held = held[:0]
		c.g.account(&c.in.kept, cap(c.in.msg)+cap(c.in.held))
	}
}

// parsing reports whether frames of the peer still mean anything: once this
// side wants to close, at least the peer's close frame does.
func (c *Conn) parsing() bool {
	return c.state < stateReplying && c.flags&flagLostFraming == 0
}

// parseAll parses b until the connection is paused or ends.
func (c *Conn) parseAll(b []byte) {
	for len(b) > 0 && c.parsing() {
		if c.flags&flagPaused != 0 {
			c.hold(b)
			break
		}
		n := 0
		if c.in == nil || !c.in.inMessage() {
			n = c.parseWhole(b)
		}
		if n == 0 && c.parsing() {
			n = c.parsePart(b)
		}
		b = b[n:]
	}
	switch in := c.in; {
	case in == nil:
	case !in.inMessage() && len(in.held) == 0 || !c.parsing():
		c.g.giveBackInput(c)
	default:
		c.g.account(&in.kept, cap(in.msg)+cap(in.held))
		if in.inMessage() && in.since == 0 {
			in.since = c.g.now
			c.arm(in.since + c.g.cfg.readTimeout)
		}
	}
}

// parseWhole takes the one frame that b starts with, outside of any message,
// without copying it. It returns 0 if the frame is not complete, is the
// beginning of a fragmented message, or has a header that is none.
func (c *Conn) parseWhole(b []byte) int {
	h, n, err := parseHeader(b, false, c.window != 0)
	if err != nil {
		c.violation(err)
		return 0
	}
	if n == 0 || !h.Fin || int64(len(b)-n) < h.Length {
		return 0
	}
	c.checkData(h, 0, h.Rsv != 0)
	payload := b[n : n+int(h.Length)]
	ws.Cipher(payload, h.Mask, 0)
	switch {
	case h.OpCode.IsControl():
		c.controlFrame(h.OpCode, payload)
	case h.Rsv != 0:
		c.compressed(h.OpCode, payload)
	case c.state == stateOpen && c.g.cfg.CheckUTF8 && h.OpCode == ws.OpText && !utf8.Valid(payload):
		c.violation(errInvalidUTF8)
	default:
		c.message(h.OpCode, payload)
	}
	return n + len(payload)
}

// parsePart takes what b has of a header, or of a payload, of the frame that
// the input is in, and returns how many bytes that was.
func (c *Conn) parsePart(b []byte) int {
	in := c.input()
	if !in.inFrame {
		before := int(in.nhead)
		n := copy(in.head[before:], b)
		in.nhead += uint8(n)
		h, length, err := parseHeader(in.head[:in.nhead], in.fragmented, c.window != 0)
		if err != nil {
			c.violation(err)
			return len(b)
		}
		if length == 0 {
			return n
		}
		if h.OpCode == ws.OpText || h.OpCode == ws.OpBinary {
			in.op, in.compressed = h.OpCode, h.Rsv != 0
		}
		c.checkData(h, len(in.msg), in.compressed)
		in.nhead, in.inFrame, in.frame, in.got = 0, true, h, 0
		if h.Length == 0 {
			c.frameComplete(in)
		}
		return length - before
	}

	n := int(min(int64(len(b)), in.frame.Length-in.got))
	ws.Cipher(b[:n], in.frame.Mask, int(in.got%4))
	switch {
	case in.frame.OpCode.IsControl():
		copy(in.control[in.got:], b[:n])
	case c.state == stateOpen:
		in.msg = append(in.msg, b[:n]...)
		c.checkText(in)
	}
	in.got += int64(n)
	if in.got == in.frame.Length {
		c.frameComplete(in)
	}
	return n
}

// checkText looks at the bytes of a text message that have arrived since the
// last time, and fails the connection as soon as they cannot be UTF-8.
func (c *Conn) checkText(in *input) {
	if !c.g.cfg.CheckUTF8 || in.op != ws.OpText || in.compressed {
		return
	}
	n, ok := validPrefix(in.msg[in.checked:])
	in.checked += n
	if !ok {
		c.violation(errInvalidUTF8)
	}
}

// checkData fails the connection if h announces a data frame that it does not
// take; before is how many bytes of its message have arrived. While closing,
// data is passed over unread: there is nothing to refuse.
func (c *Conn) checkData(h ws.Header, before int, compressed bool) {
	switch {
	case h.OpCode.IsControl() || c.state != stateOpen:
	case h.OpCode == ws.OpBinary && !c.g.cfg.Binary:
		c.fail(uint16(ws.StatusUnsupportedData), "binary messages are not accepted", ErrProtocol)
	case h.Length > int64(c.g.cfg.maxWire(compressed)-before):
		c.tooBig()
	}
}

// tooBig fails the connection for a message of more than MaxMessage bytes.
func (c *Conn) tooBig() { c.fail(uint16(ws.StatusMessageTooBig), c.g.cfg.tooBig, ErrProtocol) }

// frameComplete acts on the frame whose last byte has arrived.
func (c *Conn) frameComplete(in *input) {
	in.inFrame = false
	switch {
	case in.frame.OpCode.IsControl():
		c.controlFrame(in.frame.OpCode, in.control[:in.frame.Length])
	case !in.frame.Fin:
		in.fragmented = true
		c.partial()
	default:
		in.fragmented = false
		if in.compressed {
			c.compressed(in.op, in.msg)
			in.msg = in.msg[:0]
			break
		}
		if c.g.cfg.CheckUTF8 && in.op == ws.OpText && in.checked < len(in.msg) && c.state == stateOpen {
			c.violation(errInvalidUTF8) // ends within a character
			return
		}
		c.message(in.op, in.msg)
		in.msg, in.checked = in.msg[:0], 0
	}
	if !in.fragmented {
		in.since = 0
	}
}

// message passes a whole message on.
func (c *Conn) message(op ws.OpCode, payload []byte) {
	if c.state == stateOpen {
		c.g.handler.Message(c, op, payload)
	}
}

// partial tells of a frame that is no message.
func (c *Conn) partial() {
	if c.state == stateOpen {
		c.g.handler.Frame(c)
	}
}

// controlFrame answers pings and close frames (RFC 6455, section 5.5).
func (c *Conn) controlFrame(op ws.OpCode, payload []byte) {
	if op != ws.OpClose {
		c.partial()
	}
	switch op {
	case ws.OpPing:
		last := c.lastWrite
		c.write(ws.OpPong, payload)
		c.lastWrite = last // a peer may not see pongs: scripts of browsers do not
	case ws.OpClose:
		code, reason, err := parseClose(payload)
		if err != nil {
			c.closedBadly(err)
			return
		}
		c.closedByPeer(code, reason)
	}
}

// violation fails the connection for a breach of RFC 6455. After one in a
// frame header it is not known where the next frame begins.
func (c *Conn) violation(err error) {
	if !inPayload(err) {
		c.flags |= flagLostFraming
		if c.state == stateFailing && c.flags&flagSent != 0 {
			c.die()
		}
	}
	c.fail(violationCode(err), err.Error(), ErrProtocol)
}

func violationCode(err error) uint16 {
	if inPayload(err) {
		return uint16(ws.StatusInvalidFramePayloadData)
	}
	return uint16(ws.StatusProtocolError)
}

// inPayload reports whether a violation is in what frames carry, and not in one itself.
func inPayload(err error) bool { return errors.Is(err, errInvalidUTF8) || errors.Is(err, errInflate) }
