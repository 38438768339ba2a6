package wsconn

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/frame"
)

// errProtocol is a violation found in a frame header: the reason that the
// peer is told.
type errProtocol string

func (e errProtocol) Error() string { return string(e) }

const (
	errLengthMSB     = errProtocol("payload length has its highest bit set")
	errLengthMinimal = errProtocol("payload length not in its shortest form")
)

// parseHeader takes a frame header from the start of b and checks it (RFC
// 6455, section 5.2). n is its length; 0 without an error means that b ends
// before the header does, of which what is there is correct. fragmented says
// that a fragmented message is under way, deflate that one may begin compressed: then
// h.Rsv is not 0.
func parseHeader(b []byte, fragmented, deflate bool) (h ws.Header, n int, err error) {
	if len(b) < ws.MinHeaderSize {
		return h, 0, nil
	}
	short := b[1] & 0x7f
	h = ws.Header{
		Fin:    b[0]&0x80 != 0,
		Rsv:    b[0] & 0x70 >> 4,
		OpCode: ws.OpCode(b[0] & 0x0f),
		Masked: b[1]&0x80 != 0,
		Length: int64(short),
	}
	state := ws.StateServerSide
	if fragmented {
		state = state.Set(ws.StateFragmented)
	}
	// The two bytes are enough for every rule but the length's form, as the
	// marks for a longer length exceed what a control frame may have.
	plain := h
	if deflate && b[0]&0x70 == rsv1 && (h.OpCode == ws.OpText || h.OpCode == ws.OpBinary) {
		plain.Rsv = 0
	}
	if err := ws.CheckHeader(plain, state); err != nil {
		return h, 0, err
	}

	n = ws.MinHeaderSize
	switch short {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	n += len(h.Mask)
	if len(b) < n {
		return h, 0, nil
	}
	switch short {
	case 126:
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
		if h.Length < 126 {
			return h, 0, errLengthMinimal
		}
	case 127:
		length := binary.BigEndian.Uint64(b[2:])
		if length>>63 != 0 {
			return h, 0, errLengthMSB
		}
		if length <= 0xffff {
			return h, 0, errLengthMinimal
		}
		h.Length = int64(length)
	}
	copy(h.Mask[:], b[n-len(h.Mask):n])
	return h, n, nil
}

// headerLen returns how many bytes the header of a frame of n bytes has when
// it comes from the server.
func headerLen(n int) int {
	switch {
	case n < 126:
		return 2
	case n <= 0xffff:
		return 4
	}
	return 10
}

// AppendFrame appends a whole, unmasked frame to dst.
func AppendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	return append(appendHeader(dst, op, len(payload)), payload...)
}

// appendHeader appends the header of an unmasked frame with n bytes of payload.
func appendHeader(dst []byte, op ws.OpCode, n int) []byte {
	first := 0x80 | byte(op)
	switch headerLen(n) {
	case 2:
		return append(dst, first, byte(n))
	case 4:
		return append(dst, first, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
}

// AppendText appends payload as a text frame to dst. Made once, it can be
// written to many connections with [Conn.WriteRaw].
func AppendText(dst, payload []byte) []byte {
	return AppendFrame(dst, ws.OpText, payload)
}

// payloadAt returns how long the header of the unmasked frame is that b starts with.
func payloadAt(b []byte) int {
	switch b[1] {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
}

// Payload returns what the frame holds that [AppendText] made.
func Payload(frame []byte) []byte { return frame[payloadAt(frame):] }

// frameLen returns the length of the whole unmasked frame that b starts with.
func frameLen(b []byte) int {
	n := payloadAt(b)
	switch n {
	case 2:
		return n + int(b[1])
	case 4:
		return n + int(binary.BigEndian.Uint16(b[2:]))
	}
	return n + int(binary.BigEndian.Uint64(b[2:]))
}

// appendClose appends a close frame. A reason is repaired where it is not UTF-8,
// or the peer would fail the connection and not see the code; one too long for a
// control frame is cut after a whole character; codes that must not be sent make an
// empty body.
func appendClose(dst []byte, code uint16, reason string) []byte {
	if code == uint16(ws.StatusNoStatusRcvd) {
		return AppendFrame(dst, ws.OpClose, nil)
	}
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	const most = ws.MaxControlFramePayloadSize - 2
	if len(reason) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	dst = append(dst, 0x80|byte(ws.OpClose), byte(2+len(reason)), byte(code>>8), byte(code))
	return append(dst, reason...)
}

// parseClose reads the body of the peer's close frame (RFC 6455, sections
// 5.5.1 and 7.4). An empty one has code 1005.
func parseClose(body []byte) (code uint16, reason string, err error) {
	switch {
	case len(body) == 0:
		return uint16(ws.StatusNoStatusRcvd), "", nil
	case len(body) == 1:
		return 0, "", errProtocol("close frame of one byte")
	}
	code = binary.BigEndian.Uint16(body)
	if !ValidCloseCode(code) {
		return 0, "", errProtocol("close code that must not be sent")
	}
	if !utf8.Valid(body[2:]) {
		return 0, "", errInvalidUTF8
	}
	return code, string(body[2:]), nil
}

// errInvalidUTF8 closes with 1007 where violations in frames close with 1002.
const errInvalidUTF8 = errProtocol("not valid UTF-8")

// ValidCloseCode reports whether a peer may send code: those that RFC 6455
// and its registry define for the wire, and the ranges for libraries and
// applications.
func ValidCloseCode(code uint16) bool {
	switch {
	case code >= frame.CloseNormal && code <= frame.CloseUnsupported, code >= frame.CloseInvalidText && code <= 1014:
		return true
	}
	return code >= 3000 && code <= 4999
}

// validPrefix returns how many bytes at the start of b are whole UTF-8
// characters, and false if what follows them is not the beginning of one.
func validPrefix(b []byte) (n int, ok bool) {
	if utf8.Valid(b) {
		return len(b), true
	}
	// Only the last three bytes can be a character not yet complete.
	for n = max(0, len(b)-utf8.UTFMax+1); n < len(b); n++ {
		if utf8.RuneStart(b[n]) && !utf8.FullRune(b[n:]) {
			return n, utf8.Valid(b[:n])
		}
	}
	return 0, false
}
