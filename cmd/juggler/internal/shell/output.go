package shell

import (
	"io"
	"strings"
	"sync"
	"unicode"
)

// Styles of text: parameters of the terminal's SGR sequence (ECMA-48, 8.3.117).
const (
	plain  = ""
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// A span is a piece of a line in one style.
type span struct{ style, text string }

// output writes whole lines, from any goroutine.
type output struct {
	mu     sync.Mutex
	w      io.Writer
	colour bool
	names  bool // lines carry the name of their connection; it stays on
}

// line writes the spans and a line feed, in one write: a terminal redraws its
// prompt around it. Control characters that a server or another client sent do
// not reach the terminal.
func (o *output) line(spans ...span) {
	var b strings.Builder
	for _, s := range spans {
		text := printable(s.text)
		if o.colour && s.style != plain && text != "" {
			text = "\x1b[" + s.style + "m" + text + "\x1b[0m"
		}
		b.WriteString(text)
	}
	b.WriteByte('\n')
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = io.WriteString(o.w, b.String())
}

// printable replaces control characters other than line feeds.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// nameLines makes lines carry the name of their connection from now on.
func (o *output) nameLines() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names = true
}

func (o *output) namesLines() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.names
}
