// Package glob matches names against patterns in the glob syntax of Redis (PSUBSCRIBE,
// https://redis.io/docs/latest/commands/psubscribe/), byte by byte:
//
//   - any bytes, or none
//     ?        one byte
//     [abc]    one of these bytes; [^abc] none of them; [a-c] or [c-a] a range
//     \x       x itself, also within brackets
//
// A bracket that is not closed ends with the pattern, a lone backslash at the end stands
// for itself, and ! is not special.
//
// Strangers choose patterns and names. So a pattern is compiled once, and a match never
// goes back: it costs a step for each byte of the name and 64 elements of the pattern,
// whatever its stars and classes are. Most patterns are a beginning, a star and an end,
// which are two comparisons.
package glob

import (
	"slices"
	"strings"
)

// A Pattern is compiled. It never changes.
type Pattern struct {
	prefix, suffix string   // what all matches begin with; what they end with behind a star
	starred        bool     // there is a star
	between        *machine // for what is between them; nil: a star, or nothing
	backtrack      int
}

// Compile takes a pattern apart. There are no wrong ones.
func Compile(pattern string) *Pattern {
	elements := parse(pattern)
	starred := slices.ContainsFunc(elements, func(e element) bool { return e.star })
	p := &Pattern{starred: starred, backtrack: backtrack(elements)}

	p.prefix, elements = cutPrefix(elements)
	if starred {
		n := len(elements)
		for elements[n-1].literal() {
			n--
		}
		p.suffix, elements = text(elements[n:]), elements[:n]
	}
	if alone := len(elements) == 1 && starred; len(elements) > 0 && !alone {
		p.between = newMachine(elements)
	}
	return p
}

// Prefix returns the bytes that every name begins with that a pattern matches.
func Prefix(pattern string) string {
	prefix, _ := cutPrefix(parse(pattern))
	return prefix
}

// cutPrefix takes the literals at the beginning off elements.
func cutPrefix(elements []element) (prefix string, rest []element) {
	n := 0
	for n < len(elements) && elements[n].literal() {
		n++
	}
	return text(elements[:n]), elements[n:]
}

// Prefix returns the bytes that every matching name begins with.
func (p *Pattern) Prefix() string { return p.prefix }

// Backtrack returns how many bytes of the pattern a matcher that goes back may compare
// with each byte of a name: those between its first star and stars at its end. It returns
// -1 where there is another star between them, which multiplies that.
func (p *Pattern) Backtrack() int { return p.backtrack }

// Match reports whether a name matches. It allocates nothing for patterns of up to
// 256 elements.
func (p *Pattern) Match(name string) bool {
	return strings.HasPrefix(name, p.prefix) && p.MatchRest(name[len(p.prefix):])
}

// MatchRest is Match for what follows [Pattern.Prefix] in a name.
func (p *Pattern) MatchRest(rest string) bool {
	if !strings.HasSuffix(rest, p.suffix) {
		return false
	}
	rest = rest[:len(rest)-len(p.suffix)]
	if p.between != nil {
		return p.between.match(rest)
	}
	return p.starred || rest == ""
}

// A machine is in several places of a pattern at once, a bit each: place i is where the
// first i elements have matched. A byte takes it from place i to i+1 if element i accepts
// the byte. A star lets it stay in the place that the star follows.
type machine struct {
	words int        // of the set of all places
	stay  []uint64   // places that a star follows
	rows  []uint64   // sets of the places whose next element accepts the bytes of a kind
	kind  [256]uint8 // of each byte: its row
	last  int        // the place where all has matched
}

func newMachine(elements []element) *machine {
	m := new(machine)
	var accept []element // without the stars
	var stay []int
	for _, e := range elements {
		if e.star {
			stay = append(stay, len(accept))
		} else {
			accept = append(accept, e)
		}
	}
	m.last = len(accept)
	m.words = m.last/64 + 1
	m.stay = make([]uint64, m.words)
	for _, place := range stay {
		add(m.stay, place)
	}
	row := make([]uint64, m.words)
	for b := range 256 {
		clear(row)
		for place, e := range accept {
			if e.accepts(byte(b)) {
				add(row, place)
			}
		}
		m.kind[b] = m.kindOf(row)
	}
	return m
}

// kindOf returns which row equals this one, a new one where none does. There are at most
// as many as bytes.
func (m *machine) kindOf(row []uint64) uint8 {
	for i := 0; i < len(m.rows); i += m.words {
		if slices.Equal(m.rows[i:i+m.words], row) {
			return uint8(i / m.words)
		}
	}
	m.rows = append(m.rows, row...)
	return uint8(len(m.rows)/m.words - 1)
}

func (m *machine) match(text string) bool {
	if m.words == 1 {
		return m.matchWord(text)
	}
	var few [5]uint64 // places of 256 elements
	at := few[:]
	if m.words > len(few) {
		at = make([]uint64, m.words)
	}
	at = at[:m.words]
	add(at, 0)
	for i := range len(text) {
		row := m.rows[int(m.kind[text[i]])*m.words:][:m.words]
		var carry, any uint64
		for w, places := range at {
			next := places & row[w]
			at[w] = next<<1 | carry | places&m.stay[w]
			carry = next >> 63
			any |= at[w]
		}
		if any == 0 {
			return false
		}
	}
	return at[m.last/64]>>(m.last%64)&1 != 0
}

// matchWord is match for a machine whose places are in one word.
func (m *machine) matchWord(text string) bool {
	at, stay := uint64(1), m.stay[0]
	for i := range len(text) {
		at = at&m.rows[m.kind[text[i]]]<<1 | at&stay
		if at == 0 {
			return false
		}
	}
	return at>>m.last&1 != 0
}

func add(places []uint64, place int) { places[place/64] |= 1 << (place % 64) }
