package wsconn

import "unsafe"

// output is what a connection owns while something is queued for it, or while
// it is closing.
type output struct {
	buf []byte // frames; what was written already is cut off when there is need
	off int    // bytes of buf written, or being written by a portable writer
	// A frame begins at mark: one before off, or the first at or after it.
	mark int
	busy bool // a portable writer is writing from buf, which must not move

	since    int64 // when the socket was last seen to take something, while it is full
	deadline int64 // of the state that a closing connection is in
	end      *CloseError
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

// dropRest drops the frames of which nothing was written.
func (out *output) dropRest() { out.buf = out.buf[:out.boundary()] }

// compact makes room for n bytes by moving what is pending to the start, if
// that is cheaper than growing.
func (out *output) compact(n int) {
	if out.busy || out.off == 0 || cap(out.buf)-len(out.buf) >= n || out.off < len(out.buf)/2 {
		return
	}
	boundary := out.boundary()
	keep := copy(out.buf, out.buf[out.off:])
	out.buf = out.buf[:keep]
	out.mark, out.off = boundary-out.off, 0
}

// written forgets everything, as all was written.
func (out *output) written() { out.buf, out.off, out.mark = out.buf[:0], 0, 0 }
