package glob

import (
	"math/bits"
	"slices"
	"strings"
)

var special = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)

// Quote returns a pattern that matches a name only.
func Quote(name string) string { return special.Replace(name) }

// An element of a pattern is a star, several in a row being one, or the set of the bytes
// that it accepts.
type element struct {
	star  bool
	set   [4]uint64
	bytes int // that it takes in the pattern
}

// parse returns the elements of a pattern.
func parse(pattern string) []element {
	elements := make([]element, 0, len(pattern))
	for pattern != "" {
		var e element
		rest := pattern[1:]
		switch {
		case pattern[0] == '*':
			e.star = true
			rest = strings.TrimLeft(rest, "*")
		case pattern[0] == '?':
			e.add(0, 255)
		case pattern[0] == '[':
			rest = e.class(rest)
		case pattern[0] == '\\' && rest != "":
			e.add(rest[0], rest[0])
			rest = rest[1:]
		default:
			e.add(pattern[0], pattern[0])
		}
		e.bytes = len(pattern) - len(rest)
		pattern = rest
		elements = append(elements, e)
	}
	return elements
}

// class has e accept what a bracket expression says, whose bracket is before text, and
// returns what follows it.
func (e *element) class(text string) (rest string) {
	text, not := strings.CutPrefix(text, "^")
	for text != "" && text[0] != ']' {
		switch {
		case text[0] == '\\' && len(text) > 1:
			e.add(text[1], text[1])
			text = text[2:]
		case len(text) > 2 && text[1] == '-':
			// Whatever the third byte is, a bracket or a backslash too.
			e.add(min(text[0], text[2]), max(text[0], text[2]))
			text = text[3:]
		default:
			e.add(text[0], text[0])
			text = text[1:]
		}
	}
	if not {
		for i := range e.set {
			e.set[i] = ^e.set[i]
		}
	}
	return strings.TrimPrefix(text, "]")
}

func (e *element) add(low, high byte) {
	for b := int(low); b <= int(high); b++ {
		e.set[b/64] |= 1 << (b % 64)
	}
}

func (e *element) accepts(b byte) bool { return e.set[b/64]>>(b%64)&1 != 0 }

// literal reports whether e accepts one byte only.
func (e *element) literal() bool {
	n := 0
	for _, word := range e.set {
		n += bits.OnesCount64(word)
	}
	return n == 1
}

// text returns what literals say.
func text(literals []element) string {
	var b strings.Builder
	for _, e := range literals {
		for i, word := range e.set {
			if word != 0 {
				b.WriteByte(byte(i*64 + bits.TrailingZeros64(word)))
			}
		}
	}
	return b.String()
}

// backtrack is what [Pattern.Backtrack] returns.
func backtrack(elements []element) (bytes int) {
	if n := len(elements); n > 0 && elements[n-1].star {
		elements = elements[:n-1]
	}
	first := slices.IndexFunc(elements, func(e element) bool { return e.star })
	if first < 0 {
		return 0
	}
	for _, e := range elements[first+1:] {
		if e.star {
			return -1
		}
		bytes += e.bytes
	}
	return bytes
}
