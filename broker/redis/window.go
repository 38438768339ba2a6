package redis

import (
	"bytes"
	"math"
	"strconv"

	"github.com/juggler-go/juggler/broker"
)

// windowHeader begins the headers of a call that has a Window: a header of that name
// stands in front of those that the caller has given, as callees that know no parts see
// nothing in one header more. Behind it stand the two numbers, a quote, and
//
//	}    if the caller has given no headers
//	,    and what they have behind their first byte, {, if others follow there
//	' '  and the same, if the object is empty
//	:    and what the caller has given as headers and is no JSON object
//
// If headers that the caller has given begin so by themselves they get one of ours, too,
// which is then empty. So ours is always the first, and nothing else is taken for it.
const windowHeader = `{"@parts":"`

// withWindow returns headers with w in front of them: as they are if w is zero.
func withWindow(headers []byte, w broker.Window) []byte {
	if w.IsZero() && !bytes.HasPrefix(headers, []byte(windowHeader)) {
		return headers
	}
	b := make([]byte, 0, len(windowHeader)+33+len(headers))
	b = append(b, windowHeader...)
	b = strconv.AppendUint(b, uint64(w.Parts), 10)
	b = append(b, ',')
	b = strconv.AppendUint(b, w.Bytes, 10)
	b = append(b, '"')
	switch {
	case len(headers) == 0:
		return append(b, '}')
	case headers[0] != '{':
		return append(append(b, ':'), headers...)
	case bytes.HasPrefix(bytes.TrimLeft(headers[1:], " \t\r\n"), []byte("}")):
		b = append(b, ' ')
	default:
		b = append(b, ',')
	}
	return append(b, headers[1:]...)
}

// cutWindow is the inverse of withWindow. Headers that are not its work are returned as
// they are.
func cutWindow(headers []byte) ([]byte, broker.Window) {
	rest, ok := bytes.CutPrefix(headers, []byte(windowHeader))
	if !ok {
		return headers, broker.Window{}
	}
	numbers, rest, quoted := bytes.Cut(rest, []byte{'"'})
	first, second, two := bytes.Cut(numbers, []byte{','})
	parts, ok1 := parseNumber(first, math.MaxUint32)
	size, ok2 := parseNumber(second, math.MaxUint64)
	if !quoted || !two || !ok1 || !ok2 || len(rest) == 0 {
		return headers, broker.Window{}
	}
	w := broker.Window{Parts: uint32(parts), Bytes: size}
	switch separator := rest[0]; {
	case separator == '}' && len(rest) == 1:
		return nil, w
	case separator == ':' && len(rest) > 1:
		return rest[1:], w
	case separator == ',' || separator == ' ':
		// Not in place: who gives the call back gives back the value.
		return append([]byte{'{'}, rest[1:]...), w
	}
	return headers, broker.Window{}
}

// parseNumber parses digits as withWindow writes them.
func parseNumber(digits []byte, most uint64) (n uint64, ok bool) {
	n, err := strconv.ParseUint(string(digits), 10, 64)
	return n, err == nil && n <= most && (digits[0] != '0' || len(digits) == 1)
}
