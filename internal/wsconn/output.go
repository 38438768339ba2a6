package wsconn

import (
	"slices"
	"unsafe"

	"github.com/gobwas/ws"
)

// output is what a connection owns while something is queued for it, or while
// it is closing.
type output struct {
	buf []byte // frames; what was written already is cut off when there is need
	off int    // bytes of buf written, or being written by a portable writer
	// A frame begins at mark: one before off, or the first at or after it.
	mark int
	raw  int  // where the frame begins that WriteRaw has queued last
	last bool // it is the last of buf
	busy bool // a portable writer is writing from buf: what is before off must stay as it is

	kept      kept  // what Group.account knows of buf
	delayedTo int64 // when a delayed write is made at the latest; 0: none is delayed
	since     int64 // when the socket was last seen to take something, while it is full
	deadline  int64 // of the state that a closing connection is in
	dropped   int   // bytes received since it is closing
	end       *CloseError
}

func (out *output) size() int { return int(unsafe.Sizeof(*out)) + cap(out.buf) }

// pending returns how many bytes have not been written.
func (out *output) pending() int { return len(out.buf) - out.off }

// boundary returns the end of the frame that is half written, or off if none
// is, and remembers it.
func (out *output) boundary() int {
	for out.mark < out.off {
		out.mark += frameLen(out.buf[out.mark:])
	}
	return out.mark
}

// dropRest drops the frames of which nothing was written, and the array that they were in.
func (out *output) dropRest() {
	boundary := out.boundary()
	out.buf = slices.Clone(out.buf[out.off:boundary])
	out.cut(boundary)
}

// cut notes that buf begins where off was.
func (out *output) cut(boundary int) {
	out.mark, out.raw, out.off = boundary-out.off, out.raw-out.off, 0
}

// room makes room for n bytes. It drops what was written already, or a queue that is
// never empty, as that of a peer which reads slowly but steadily, would grow for ever.
func (out *output) room(n int) {
	if cap(out.buf)-len(out.buf) >= n {
		return
	}
	boundary := out.boundary()
	pending := out.buf[out.off:]
	if need := len(pending) + n; out.movable() && cap(out.buf) >= need && cap(out.buf) <= max(4*need, keepEach) {
		out.buf = out.buf[:copy(out.buf, pending)]
	} else {
		out.buf = slices.Grow(slices.Clip(pending), n) // another array
	}
	out.cut(boundary)
}

// movable reports whether what is pending may be moved to the start of buf, and is no
// more than was written since the last time.
func (out *output) movable() bool { return !out.busy && out.off >= len(out.buf)/2 }

// written forgets everything, as all was written.
func (out *output) written() { out.buf, out.off, out.mark, out.last = out.buf[:0], 0, 0, false }

// add appends a frame.
func (out *output) add(op ws.OpCode, payload []byte) {
	out.last = false
	out.buf = AppendFrame(out.buf, op, payload)
}

// addRaw appends a frame of WriteRaw.
func (out *output) addRaw(frame []byte) {
	out.raw, out.last = len(out.buf), true
	out.buf = append(out.buf, frame...)
}

// maxJoined is how large a message gets that others are joined to, so that a reader has
// something to do while the next one comes.
const maxJoined = 16 << 10

// join makes payload a part of the last frame, if WriteRaw has queued that and nothing of
// it was written. Both are JSON: that message becomes an array, which payload is appended
// to.
func (out *output) join(payload []byte) bool {
	if !out.last || out.raw < out.off || out.buf[out.raw]&rsv1 != 0 {
		return false
	}
	at := out.raw + payloadAt(out.buf[out.raw:])
	first := len(out.buf) - at // the length of what is there
	array := first > 0 && out.buf[at] == '['
	if array {
		at, first = at+1, first-2 // what is between the brackets
	}
	n := len("[") + first + len(",") + len(payload) + len("]")
	if n > maxJoined {
		return false
	}
	to := out.raw + headerLen(n)
	out.buf = slices.Grow(out.buf, to+n-len(out.buf))[:to+n]
	copy(out.buf[to+1:], out.buf[at:at+first])
	appendHeader(out.buf[:out.raw], ws.OpText, n)
	out.buf[to] = '['
	rest := out.buf[to+1+first:]
	rest[0] = ','
	copy(rest[1:], payload)
	rest[len(rest)-1] = ']'
	return true
}
