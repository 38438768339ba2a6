// Package intern makes strings of bytes without allocating one for each.
package intern

// A Table returns the same string for the same bytes, so that a name in use is not
// allocated for each message. The zero Table is empty. One goroutine at a time may
// use it.
type Table map[string]string

// maxStrings bounds what clients can make a Table remember.
const maxStrings = 4096

// String returns b as a string.
func (t *Table) String(b []byte) string {
	if s, ok := (*t)[string(b)]; ok {
		return s
	}
	if *t == nil || len(*t) >= maxStrings {
		*t = make(Table)
	}
	s := string(b)
	(*t)[s] = s
	return s
}
