package frame

import (
	"bytes"
	"iter"
	"slices"
)

// The functions of this file handle [Frame.Headers]: a JSON object of
// strings, or nothing. Names are compared as they are, upper and lower case
// apart. In an object from a client a name may occur twice; the last counts.

// HeaderSeq returns the names and values of raw, which must be headers that
// were decoded, or nil, in their order. It does not change raw. Collected in a
// map ([maps.Collect]), a name that occurs twice has the value that counts.
func HeaderSeq(raw []byte) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		m := walkHeaders(raw)
		for m.next() {
			value := m.value()
			if !yield(copyText(m.key), copyText(value[1:len(value)-1])) {
				return
			}
		}
	}
}

// AppendHeaders appends headers to dst as an object, in the order of their
// names, or nothing if there are none.
func AppendHeaders(dst []byte, headers map[string]string) []byte {
	if len(headers) == 0 {
		return dst
	}
	names := make([]string, 0, 16) // small enough for the stack
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	before := byte('{')
	for _, name := range names {
		dst = appendHeader(append(dst, before), name, headers[name])
		before = ','
	}
	return append(dst, '}')
}

// SetHeader appends to dst the headers of raw (decoded ones, or nil) with the
// one called name set to value. What raw has under that name is left out,
// however often and with whatever escapes it stands there. It allocates only
// to grow dst, which must not overlap raw.
func SetHeader(dst, raw []byte, name, value string) []byte {
	dst = append(dst, '{')
	m := walkHeaders(raw)
	for m.next() {
		old := m.value()
		at := len(dst)
		dst = unescape(dst, m.key) // only to compare it
		if string(dst[at:]) == name {
			dst = dst[:at]
			continue
		}
		dst = append(dst[:at], '"')
		dst = append(dst, m.key...)
		dst = append(dst, '"', ':')
		dst = append(dst, old...)
		dst = append(dst, ',')
	}
	return append(appendHeader(dst, name, value), '}')
}

func appendHeader(dst []byte, name, value string) []byte {
	dst = append(AppendString(dst, name), ':')
	return AppendString(dst, value)
}

// walkHeaders begins the walk over headers, which may be nil.
func walkHeaders(raw []byte) members {
	if len(raw) == 0 {
		return members{i: -1}
	}
	return members{b: raw, i: 1, depth: 1}
}

// ValidHeaders reports whether raw, any bytes, can be [Frame.Headers]: a JSON
// object of strings.
func ValidHeaders(raw []byte) bool {
	return ValidJSON(raw) && validHeaders(bytes.TrimLeft(raw, " \t\r\n"))
}

// validHeaders reports whether raw, a JSON value, is an object of strings.
func validHeaders(raw []byte) bool {
	if raw[0] != '{' {
		return false
	}
	m := walkHeaders(raw)
	for m.next() {
		if m.value()[0] != '"' {
			return false
		}
	}
	return true
}

// copyText returns the text of s, the inside of a valid string.
func copyText(s []byte) string {
	if bytes.IndexByte(s, '\\') >= 0 {
		s = unescape(nil, s)
	}
	return string(s)
}
