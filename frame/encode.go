package frame

import (
	"encoding/binary"
	"math/bits"
	"time"
	"unicode/utf8"
)

// Append appends f to dst as one message, a request or an answer, and returns
// the longer slice. It allocates only to grow dst. A type that the protocol
// does not have leaves dst as it is: in juggler.0 those marked 1 at [Type].
//
// Args, Headers and Err.Data must be valid JSON (see [ValidJSON]). Juggler.1
// takes them over byte for byte; juggler.0, as its first implementation did,
// without white space and with <, >, &, U+2028 and U+2029 escaped, and it
// ends each message with a line feed. Strings that are not valid UTF-8 are
// repaired with U+FFFD. Times are rounded up to whole milliseconds, and
// negative ones are 0.
//
// A RES or EVNT without Args has the args null. In juggler.0 the args of a
// RES that failed are {"error":{"message":"…"}}, and a Publication of zeros is
// an empty for.
func (p Protocol) Append(dst []byte, f *Frame) []byte {
	if p == Juggler0 {
		return append0(dst, f)
	}
	return append1(dst, f)
}

// AppendString appends s as a JSON string, as [encoding/json] does with
// SetEscapeHTML(false).
func AppendString(dst []byte, s string) []byte {
	return appendText(dst, []byte(s), false) // the conversion does not allocate
}

// appendText appends s as a JSON string, as encoding/json does, with or
// without escapes for what is special in HTML.
func appendText(dst, s []byte, html bool) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; ; {
		if i = safeText(s, i, html); i == len(s) {
			break
		}
		c, size := s[i], 1
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRune(s[i:])
			if r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || size > 1) {
				i += size
				continue
			}
			dst = append(dst, s[done:i]...)
			dst = appendEscapedRune(dst, r)
		} else {
			dst = append(dst, s[done:i]...)
			dst = appendEscapedByte(dst, c)
		}
		i += size
		done = i
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}

// safeText returns the index of the first byte of s, at i or after, that may
// need an escape, or len(s).
func safeText(s []byte, i int, html bool) int {
	for i+8 <= len(s) {
		w := binary.LittleEndian.Uint64(s[i:])
		m := bytesBelow(w, ' ') | bytesEqual(w, '"') | bytesEqual(w, '\\') | w&highBits
		if html {
			m |= bytesEqual(w, '<') | bytesEqual(w, '>') | bytesEqual(w, '&')
		}
		if m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
		i += 8
	}
	for i < len(s) {
		switch c := s[i]; {
		case c < ' ', c == '"', c == '\\', c >= utf8.RuneSelf:
			return i
		case html && (c == '<' || c == '>' || c == '&'):
			return i
		}
		i++
	}
	return i
}

func appendEscapedRune(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

func appendEscapedByte(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return appendEscapedRune(dst, rune(c))
}

// wholeMilliseconds returns d in milliseconds, rounded up, so that a time of
// less than one does not become none at all; 0 if d is negative.
func wholeMilliseconds(d time.Duration) int64 {
	n := int64(max(d, 0) / time.Millisecond)
	if d%time.Millisecond > 0 && n < maxMilliseconds {
		n++
	}
	return n
}

// orNull returns raw, or null if it is empty.
func orNull(raw []byte) []byte {
	if len(raw) == 0 {
		return null
	}
	return raw
}

var null = []byte("null")
