package frame

import (
	"bytes"
	"iter"
	"slices"
)

// The functions of this file handle [Frame.Headers]: a JSON object of
// strings, or nothing. Names are read as they are, upper and lower case apart. In an
// object from a client a name may occur twice; the last counts.

// HeaderSeq returns the names and values of raw, which is a decoded
// [Frame.Headers] or nil, in their order. It does not change raw. Collected in
// a map ([maps.Collect]), a name that occurs twice has the value that counts.
// Where raw stops being an object of strings, the sequence ends.
func HeaderSeq(raw []byte) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		h := walkHeaders(raw)
		for h.next() {
			if !yield(copyText(h.key), copyText(h.value[1:len(h.value)-1])) {
				return
			}
		}
	}
}

// Header returns the value of the header of raw that is called name, which it allocates; ok
// is false if there is none. Of one that occurs twice the last counts.
func Header(raw []byte, name string) (value string, ok bool) {
	var last []byte
	h := walkHeaders(raw)
	for h.next() {
		if isText(h.key, name) {
			last = h.value
		}
	}
	if last == nil {
		return "", false
	}
	return copyText(last[1 : len(last)-1]), true
}

// isText reports whether s, what stands between the quotes of a JSON string, is text.
func isText(s []byte, text string) bool {
	if bytes.IndexByte(s, '\\') < 0 {
		return string(s) == text
	}
	return string(unescape(nil, s)) == text
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
// one called name set to value. What raw has under that name is left out, however
// often, with whatever escapes and in whichever case of letters it stands there: a
// reader may not tell User from user. With a name of up to 32 bytes it allocates only to
// grow dst, which must not overlap raw.
func SetHeader(dst, raw []byte, name, value string) []byte {
	dst = appendOthers(append(dst, '{'), raw, name)
	return append(appendHeader(dst, name, value), '}')
}

// DeleteHeader is SetHeader without a value: what is called name is left out, and nothing
// stands for it.
func DeleteHeader(dst, raw []byte, name string) []byte {
	at := len(dst)
	dst = appendOthers(append(dst, '{'), raw, name)
	if len(dst) == at+1 {
		return dst[:at]
	}
	dst[len(dst)-1] = '}' // in place of a comma
	return dst
}

// appendOthers appends the members of raw that are not called name, each with a comma.
func appendOthers(dst, raw []byte, name string) []byte {
	left := []byte(name)
	h := walkHeaders(raw)
	for h.next() {
		at := len(dst)
		dst = unescape(dst, h.key) // only to compare it
		same := bytes.EqualFold(dst[at:], left)
		dst = dst[:at]
		if same {
			continue
		}
		dst = append(append(append(dst, '"'), h.key...), '"', ':')
		dst = append(append(dst, h.value...), ',')
	}
	return dst
}

func appendHeader(dst []byte, name, value string) []byte {
	dst = append(AppendString(dst, name), ':')
	return AppendString(dst, value)
}

// headerMembers walks over the members of an object of strings. It ends where the
// text is something else; members.i is negative then.
type headerMembers struct {
	members
	value []byte // of the member, with its quotes
}

// walkHeaders begins the walk over raw, any bytes.
func walkHeaders(raw []byte) headerMembers {
	m := members{b: raw, i: skipSpace(raw, 0)}
	object, ok := m.object()
	if !ok {
		object.i = -1
	}
	return headerMembers{members: object}
}

func (h *headerMembers) next() bool {
	if !h.members.next() {
		return false
	}
	h.value = h.members.value()
	if len(h.value) == 0 || h.value[0] != '"' {
		h.i = -1
		return false
	}
	return true
}

// ValidHeaders reports whether raw, any bytes, can be [Frame.Headers]: a JSON
// object of strings.
func ValidHeaders(raw []byte) bool { return ValidJSON(raw) && validHeaders(raw) }

// validHeaders reports whether raw, a JSON value, is an object of strings.
func validHeaders(raw []byte) bool {
	h := walkHeaders(raw)
	for h.next() {
	}
	return h.i >= 0
}

// ReservedHeader begins the names of the headers that nodes and callees add to a call
// between each other. Clients do not send such.
const ReservedHeader = "@"

// hasReserved reports whether raw, [Frame.Headers] or nil, has a name that is reserved.
func hasReserved(raw []byte) bool {
	h := walkHeaders(raw)
	for h.next() {
		if bytes.HasPrefix(h.key, []byte(ReservedHeader)) || bytes.HasPrefix(h.key, []byte(`\u0040`)) {
			return true
		}
	}
	return false
}

// copyText returns the text of s, the inside of a valid string.
func copyText(s []byte) string {
	if bytes.IndexByte(s, '\\') >= 0 {
		s = unescape(nil, s)
	}
	return string(s)
}
