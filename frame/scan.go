package frame

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays may be nested in a message, its own
// braces included. What is deeper would reach callees and subscribers many of whose
// libraries fail, or end the process, long before encoding/json does, at 10,000.
const MaxDepth = 512

// ValidJSON reports whether b is one JSON value, in valid UTF-8, that may
// stand as args or data in a message of either protocol. Where it differs
// from [encoding/json.Valid] it is stricter: it refuses invalid UTF-8, and
// nesting deeper than MaxDepth-2, as a message puts up to two braces around
// the value. It does not allocate.
func ValidJSON(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	const around = 2
	i := skipValue(b, skipSpace(b, 0), around)
	return i >= 0 && skipSpace(b, i) == len(b)
}

// The functions of this file take text and an index into it, and return the
// index after what they read. A negative index says that the text is not
// JSON: the complement (^i) of the place where it stops being so, or tooDeep.
// What is and what is not JSON is decided exactly as encoding/json does. That
// the text is valid UTF-8 is the caller's business.

const tooDeep = math.MinInt

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skipValue skips one value, which must begin at i. Depth is the number of
// objects and arrays around it.
//
// The kinds of the open objects and arrays are the bits of one word; at every
// 64th level the function calls itself, so that the deepest text takes 8
// calls and no memory but a little stack.
func skipValue(b []byte, i, depth int) int {
	var kinds uint64 // lowest bit: the innermost; 1 for an object
	for open := 0; ; {
		if i >= len(b) {
			return ^i
		}
		switch c := b[i]; c {
		case '{', '[':
			if open == 64 {
				i = skipValue(b, i, depth)
				break
			}
			if depth == MaxDepth {
				return tooDeep
			}
			i = skipSpace(b, i+1)
			if i < len(b) && b[i] == c+2 { // the matching brace: empty
				i++
				break
			}
			depth++
			open++
			kinds <<= 1
			if c == '{' {
				kinds |= 1
				if i = skipKey(b, i); i < 0 {
					return i
				}
			}
			continue
		default:
			i = skipScalar(b, i)
		}

		// A value has ended before i: close what ends with it.
		for {
			if i < 0 || open == 0 {
				return i
			}
			i = skipSpace(b, i)
			if i == len(b) {
				return ^i
			}
			if b[i] == ',' {
				break
			}
			if b[i] != closing(kinds) {
				return ^i
			}
			i++
			depth--
			open--
			kinds >>= 1
		}
		i = skipSpace(b, i+1)
		if kinds&1 == 1 {
			if i = skipKey(b, i); i < 0 {
				return i
			}
		}
	}
}

func closing(kinds uint64) byte {
	if kinds&1 == 1 {
		return '}'
	}
	return ']'
}

// skipKey skips a key, its colon, and the white space up to the value.
func skipKey(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return ^i
	}
	i, _ = skipString(b, i)
	if i < 0 {
		return i
	}
	return skipColon(b, i)
}

func skipColon(b []byte, i int) int {
	i = skipSpace(b, i)
	if i == len(b) || b[i] != ':' {
		return ^i
	}
	return skipSpace(b, i+1)
}

// skipScalar skips a value that is neither an object nor an array.
func skipScalar(b []byte, i int) int {
	switch b[i] {
	case '"':
		i, _ = skipString(b, i)
		return i
	case 't':
		return skipLiteral(b, i, "true")
	case 'f':
		return skipLiteral(b, i, "false")
	case 'n':
		return skipLiteral(b, i, "null")
	}
	return skipNumber(b, i)
}

// skipString skips the string whose opening quote is at i, and reports
// whether there are escapes in it.
func skipString(b []byte, i int) (end int, escaped bool) {
	for i++; ; {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			if m := bytesBelow(w, ' ') | bytesEqual(w, '"') | bytesEqual(w, '\\'); m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
			i += 8
		}
		for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
			i++
		}
		if i == len(b) {
			return ^i, false
		}
		switch b[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			if i = skipEscape(b, i); i < 0 {
				return i, true
			}
		default: // a control character
			return ^i, false
		}
	}
}

// Each byte of a word is compared at once: the lowest bit that is set in the
// result is the highest bit of the first byte (in little-endian order) that
// meets the condition; the bits above it mean nothing. No byte of 0x80 or more
// is below an ASCII character.

const (
	eachByte = 0x0101010101010101
	highBits = 0x8080808080808080
)

func bytesBelow(w uint64, c byte) uint64 { return (w - eachByte*uint64(c)) &^ w & highBits }

func bytesEqual(w uint64, c byte) uint64 { return bytesBelow(w^eachByte*uint64(c), 1) }

// skipEscape skips the escape whose backslash is at i.
func skipEscape(b []byte, i int) int {
	if i+1 >= len(b) {
		return ^len(b)
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if i+6 <= len(b) && hex4(b[i+2:]) >= 0 {
			return i + 6
		}
	}
	return ^(i + 1)
}

func skipLiteral(b []byte, i int, literal string) int {
	if len(b)-i < len(literal) || string(b[i:i+len(literal)]) != literal {
		return ^i
	}
	return i + len(literal)
}

func skipNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = skipDigits(b, i); i < 0 {
		return i
	}
	if i < len(b) && b[i] == '.' {
		if i = skipDigits(b, i+1); i < 0 {
			return i
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		i = skipDigits(b, i)
	}
	return i
}

// skipDigits skips one or more digits.
func skipDigits(b []byte, i int) int {
	from := i
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	if i == from {
		return ^i
	}
	return i
}

// members walks over the members of an object:
//
//	for m.next() {
//		name, value := m.name(), m.value()
//	}
//
// In the place of value, the members of the value may be walked over; see
// object. After the loop, i is the index after the closing brace, or negative.
type members struct {
	b       []byte
	i       int    // what is to be read next, at first what follows the opening brace
	depth   int    // of the members: the number of objects and arrays around them
	key     []byte // as it stands in the text, without the quotes
	escaped bool   // there are escapes in key
	begun   bool   // next was called before
}

// next advances to the value of the next member.
func (m *members) next() bool {
	if m.i < 0 {
		return false
	}
	b, i := m.b, skipSpace(m.b, m.i)
	if i < len(b) && b[i] == '}' {
		m.i = i + 1
		return false
	}
	if m.begun {
		if i == len(b) || b[i] != ',' {
			m.i = ^i
			return false
		}
		i = skipSpace(b, i+1)
	}
	m.begun = true
	if i == len(b) || b[i] != '"' {
		m.i = ^i
		return false
	}
	end, escaped := skipString(b, i)
	if end < 0 {
		m.i = end
		return false
	}
	m.key, m.escaped = b[i+1:end-1], escaped
	m.i = skipColon(b, end)
	return m.i >= 0
}

// name returns the member's key, with escapes replaced in place.
func (m *members) name() []byte {
	if m.escaped {
		m.key, m.escaped = unescape(m.key[:0], m.key), false
	}
	return m.key
}

// value skips the member's value and returns it as it stands in the text,
// nil if it is not JSON.
func (m *members) value() []byte {
	b, from := m.b, m.i
	var end int
	if from < len(b) && b[from] == '"' { // most of the values that are read
		end, _ = skipString(b, from)
	} else {
		end = skipValue(b, from, m.depth)
	}
	if m.i = end; end < 0 {
		return nil
	}
	return b[from:end:end]
}

// object begins the walk over the member's value if it is an object. After
// that walk, its i is where this one goes on.
func (m *members) object() (object members, ok bool) {
	if m.i == len(m.b) || m.b[m.i] != '{' {
		return members{}, false
	}
	return members{b: m.b, i: m.i + 1, depth: m.depth + 1}, true
}
