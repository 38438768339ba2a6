// Package names is the names that rules are about: one name, or all that begin alike.
package names

import "strings"

// A Set is a name, or the beginning of names. The zero Set is the empty name. Names that
// begin with a zero byte are the server's own: a star alone does not have them.
type Set struct {
	begin string
	more  bool // whether they may go on
}

// Want says what [Parse] takes.
const Want = "a name, or how names begin and then a star"

// Parse reads what [Want] says. It reports whether it is that.
func Parse(text string) (s Set, ok bool) {
	s.begin, s.more = strings.CutSuffix(text, "*")
	return s, text != "" && !strings.Contains(s.begin, "*")
}

// Has reports whether s has a name.
func (s Set) Has(name string) bool {
	if s.more {
		return strings.HasPrefix(name, s.begin) && (s.begin != "" || !strings.HasPrefix(name, "\x00"))
	}
	return name == s.begin
}

// Covers reports whether s has all names that t has.
func (s Set) Covers(t Set) bool { return s.Has(t.begin) && (s.more || !t.more) }
