// Package recordingtest makes pictures of what programs show in terminals, for tests.
// A picture is an SVG that moves and needs nothing else. The package understands the
// control sequences of the juggler command and of plain shells, not those of every
// program.
package recordingtest

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// A Screen is what a terminal shows. Its methods may be called concurrently.
type Screen struct {
	mu       sync.Mutex
	rows     [][]cell
	columns  int
	row, col int // of the cursor; col may be columns, until something is written
	style    string
	rest     []byte // the beginning of a sequence or character
}

// A cell is a character with the parameter of its SGR sequence, "" for none.
type cell struct {
	char  rune
	style string
}

// NewScreen returns an empty screen.
func NewScreen(rows, columns int) *Screen {
	s := &Screen{rows: make([][]cell, rows), columns: columns}
	for i := range s.rows {
		s.rows[i] = blank(columns)
	}
	return s
}

func blank(columns int) []cell { return slices.Repeat([]cell{{char: ' '}}, columns) }

// Write implements io.Writer. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, p...)
	for len(s.rest) > 0 {
		n := s.take(s.rest)
		if n == 0 {
			break // the rest comes with the next write
		}
		s.rest = s.rest[n:]
	}
	return len(p), nil
}

// take does the first character or sequence of p and returns its length, 0 if p
// holds only a part of it.
func (s *Screen) take(p []byte) int {
	switch p[0] {
	case '\x1b':
		return s.escape(p)
	case '\r':
		s.col = 0
	case '\n':
		s.lineFeed()
	case '\b':
		s.col = max(0, s.col-1)
	default:
		if p[0] < ' ' {
			break // bells and the like
		}
		if !utf8.FullRune(p) {
			return 0
		}
		r, n := utf8.DecodeRune(p)
		s.put(r)
		return n
	}
	return 1
}

// escape does a control sequence (ECMA-48, 5.4): ESC [ parameters letter.
func (s *Screen) escape(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	if p[1] != '[' {
		return 2
	}
	for i, b := range p[2:] {
		if b >= '@' && b <= '~' {
			s.control(b, string(p[2:2+i]))
			return 2 + i + 1
		}
	}
	return 0
}

func (s *Screen) control(final byte, parameters string) {
	n, err := strconv.Atoi(parameters)
	if err != nil || n == 0 {
		n = 1
	}
	switch final {
	case 'A':
		s.row = max(0, s.row-n)
	case 'B':
		s.row = min(len(s.rows)-1, s.row+n)
	case 'C':
		s.col = min(s.columns-1, s.col+n)
	case 'D':
		s.col = max(0, s.col-n)
	case 'K': // to the end of the line
		if s.col < s.columns {
			copy(s.rows[s.row][s.col:], blank(s.columns-s.col))
		}
	case 'm':
		s.style = strings.TrimPrefix(parameters, "0")
	}
}

func (s *Screen) put(r rune) {
	if s.col == s.columns {
		s.col = 0
		s.lineFeed()
	}
	s.rows[s.row][s.col] = cell{r, s.style}
	s.col++
}

func (s *Screen) lineFeed() {
	if s.row++; s.row < len(s.rows) {
		return
	}
	s.row--
	s.rows = append(s.rows[1:], blank(s.columns))
}

// Text returns the lines, without spaces at their ends.
func (s *Screen) Text() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := make([]string, len(s.rows))
	for i, row := range s.rows {
		var b strings.Builder
		for _, c := range row {
			b.WriteRune(c.char)
		}
		lines[i] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

// Typed returns the line of the cursor up to it.
func (s *Screen) Typed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, c := range s.rows[s.row][:s.col] {
		b.WriteRune(c.char)
	}
	return b.String()
}

// snapshot returns the lines as spans of one style each, with the cursor if it
// is to be shown.
func (s *Screen) snapshot(withCursor bool) []line {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := make([]line, len(s.rows))
	for i, row := range s.rows {
		row = slices.Clone(row)
		if withCursor && i == s.row && s.col < s.columns {
			row[s.col] = cell{'█', cursorStyle}
		}
		lines[i] = spans(row)
	}
	return lines
}
