package frame

import (
	"bytes"
	"math"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// The functions of this file read single values that members.value returned:
// valid JSON, or nil for a member that is not there.

// absent reports whether a member is not there or null, which is the same in
// every field but args.
func absent(raw []byte) bool { return len(raw) == 0 || raw[0] == 'n' }

// text reads a string and replaces its escapes in place. It returns an empty
// string for an absent value; ok is false for any that is not a string.
func text(raw []byte) (s []byte, ok bool) {
	if absent(raw) {
		return nil, true
	}
	if raw[0] != '"' {
		return nil, false
	}
	s = raw[1 : len(raw)-1]
	if bytes.IndexByte(s, '\\') >= 0 {
		s = unescape(s[:0], s)
	}
	return s, true
}

// nonEmpty reads a string that must be there and not be empty.
func nonEmpty(raw []byte) (s []byte, ok bool) {
	s, ok = text(raw)
	return s, ok && len(s) > 0
}

// boolean reads true or false; an absent value is false.
func boolean(raw []byte) (v, ok bool) {
	if absent(raw) {
		return false, true
	}
	return raw[0] == 't', raw[0] == 't' || raw[0] == 'f'
}

// integer reads a number of digits only, as encoding/json does for an int64.
// An absent value is 0.
func integer(raw []byte) (n int64, ok bool) {
	if absent(raw) {
		return 0, true
	}
	digits := raw
	if raw[0] == '-' {
		digits = raw[1:]
	}
	for _, c := range digits {
		d := int64(c - '0')
		if c < '0' || c > '9' || n < (math.MinInt64+d)/10 {
			return 0, false
		}
		n = n*10 - d // negative, as -1<<63 has no positive counterpart
	}
	if raw[0] == '-' {
		return n, true
	}
	return -n, n != math.MinInt64
}

// maxMilliseconds is the longest time.Duration in milliseconds.
const maxMilliseconds = math.MaxInt64 / int64(time.Millisecond)

// milliseconds reads an integer number of milliseconds, 0 or more, that a
// time.Duration can hold.
func milliseconds(raw []byte) (d time.Duration, ok bool) {
	n, ok := integer(raw)
	if !ok || n < 0 || n > maxMilliseconds {
		return 0, false
	}
	return time.Duration(n) * time.Millisecond, true
}

// unescape appends to dst the text of src, the inside of a valid string. As
// text is never longer than its escapes, dst may be src[:0]. As in
// encoding/json, a surrogate without its other half becomes U+FFFD.
func unescape(dst, src []byte) []byte {
	for {
		plain := bytes.IndexByte(src, '\\')
		if plain < 0 {
			return append(dst, src...)
		}
		dst = append(dst, src[:plain]...)
		c := src[plain+1]
		src = src[plain+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(src)
			src = src[4:]
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(src) >= 6 && src[0] == '\\' && src[1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(src[2:]))
				}
				if pair != utf8.RuneError {
					src = src[6:]
				}
				r = pair
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}

// hex4 returns the value of the first four bytes as hexadecimal digits, or
// -1. There must be four.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		v := hexValue[c]
		if v == noDigit {
			return -1
		}
		r = r<<4 | rune(v)
	}
	return r
}
