package redis

import (
	"bytes"
	"math"
	"strconv"

	"github.com/juggler-go/juggler/broker"
)

// windowHeader begins the header of a call that has a Window. If headers that the caller
// has given begin so by themselves they get one of ours, too, whose numbers are 0. So ours
// is always the first, and nothing else is taken for it.
const windowHeader = `{"@parts":"`

// withWindow returns headers with w in front of them: as they are if w is zero.
func withWindow(headers []byte, w broker.Window) []byte {
	if w.IsZero() && !bytes.HasPrefix(headers, []byte(windowHeader)) {
		return headers
	}
	numbers := strconv.AppendUint(make([]byte, 0, 31), uint64(w.Parts), 10)
	numbers = strconv.AppendUint(append(numbers, ','), w.Bytes, 10)
	return withHeader(windowHeader, numbers, headers)
}

// cutWindow is the inverse of withWindow. Headers that are not its work are returned as
// they are.
func cutWindow(headers []byte) ([]byte, broker.Window) {
	numbers, rest, ok := cutHeader(windowHeader, headers)
	if !ok {
		return headers, broker.Window{}
	}
	first, second, two := bytes.Cut(numbers, []byte{','})
	parts, ok1 := parseNumber(first, math.MaxUint32)
	size, ok2 := parseNumber(second, math.MaxUint64)
	if !two || !ok1 || !ok2 {
		return headers, broker.Window{}
	}
	return rest, broker.Window{Parts: uint32(parts), Bytes: size}
}

// parseNumber parses digits as withWindow writes them.
func parseNumber(digits []byte, most uint64) (n uint64, ok bool) {
	n, err := strconv.ParseUint(string(digits), 10, 64)
	return n, err == nil && n <= most && (digits[0] != '0' || len(digits) == 1)
}
