// Package deflate compresses and inflates the messages of WebSockets one by one, as
// permessage-deflate does without context takeover (RFC 7692, section 7.2). It knows
// nothing of frames.
package deflate

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/klauspost/compress/flate"
)

// Why a message is not inflated.
var (
	ErrTooBig = errors.New("deflate: it holds more than it may")
	ErrBroken = errors.New("deflate: it cannot be read, or ends too soon")
)

// Window is how far DEFLATE looks back.
const Window = 32 << 10

// MostEnds is how many last blocks a message may have, as each makes work.
const MostEnds = 16

const (
	// tail is what a sender cuts off (RFC 7692, section 7.2.1), and a last block, as the
	// end of all is otherwise not told from an end too soon.
	tail = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff"
	// cut is how much of that the sender has cut off.
	cut = 4

	// keepEach is how large a buffer may be that is kept.
	keepEach = 256 << 10
)

// A Deflater compresses and inflates messages, one after the other. Beside buffers of up
// to 256 KiB it keeps about a megabyte once it has compressed, and 40 KiB once it has
// inflated.
type Deflater struct {
	level int
	w     *flate.Writer // nil until it is first needed
	to    sink

	r        io.ReadCloser // nil until it is first needed
	from     bytes.Reader
	wire     []byte // a message with its tail
	inflated []byte
}

// New returns a Deflater that compresses at a level, 1 to 9.
func New(level int) *Deflater { return &Deflater{level: level} }

// sink is what a flate.Writer writes to.
type sink []byte

func (s *sink) Write(b []byte) (int, error) {
	*s = append(*s, b...)
	return len(b), nil
}

// Deflate returns payload compressed, as it is sent, valid until the next call.
func (d *Deflater) Deflate(payload []byte) []byte {
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

// Inflate returns what message holds, valid until the next call. It stops with
// [ErrTooBig] as soon as that is more than most bytes.
func (d *Deflater) Inflate(message []byte, most int) (out []byte, err error) {
	d.wire = append(append(d.wire[:0], message...), tail...)
	d.from.Reset(d.wire)
	if d.r == nil {
		d.r = flate.NewReader(&d.from)
	}
	out = d.inflated[:0]
	// A last block need not be the end: what follows it has the same window (RFC 7692,
	// section 7.2.3.4).
	for ends := 0; err == nil && d.from.Len() > 0; ends++ {
		if ends > MostEnds {
			return nil, ErrBroken
		}
		_ = d.r.(flate.Resetter).Reset(&d.from, out[max(0, len(out)-Window):]) // never fails
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

// Size returns how many bytes the buffers have.
func (d *Deflater) Size() int { return cap(d.to) + cap(d.wire) + cap(d.inflated) }

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
			return dst, ErrTooBig
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, ErrBroken
		}
	}
}
