package load

import (
	"encoding/binary"
	"strconv"

	"github.com/juggler-go/juggler/frame"
)

// The kinds of requests, as the first byte of their ids.
const (
	kindCall byte = 'c'
	kindPub  byte = 'p'
	kindSub  byte = 's'
)

// appendID appends the id of a request.
func appendID(dst []byte, p frame.Protocol, kind byte, seq uint64) []byte {
	if p == frame.Juggler1 {
		return strconv.AppendUint(append(dst, kind), seq, 10)
	}
	var id [16]byte
	id[0] = kind
	binary.BigEndian.PutUint64(id[8:], seq)
	return frame.AppendUUID(dst, id)
}

// parseID reads an id that appendID made.
func parseID(text []byte, p frame.Protocol) (kind byte, seq uint64, ok bool) {
	if p == frame.Juggler1 {
		if len(text) < 2 {
			return 0, 0, false
		}
		seq, err := strconv.ParseUint(string(text[1:]), 10, 64)
		return text[0], seq, err == nil
	}
	id, ok := frame.ParseUUID(text)
	return id[0], binary.BigEndian.Uint64(id[8:]), ok
}

// appendArgs appends args that carry who sent them, their number,
// and when they were due, in at least size bytes.
func appendArgs(dst []byte, from int, n uint64, due int64, size int) []byte {
	start := len(dst)
	dst = strconv.AppendUint(append(dst, `{"n":`...), n, 10)
	dst = strconv.AppendInt(append(dst, `,"from":`...), int64(from), 10)
	dst = strconv.AppendInt(append(dst, `,"at":`...), due, 10)
	const end = `,"pad":""}`
	pad := max(0, size-(len(dst)-start)-len(end))
	dst = append(dst, end[:len(end)-2]...)
	for range pad {
		dst = append(dst, 'x')
	}
	return append(dst, `"}`...)
}

// parseArgs reads what appendArgs wrote, from its beginning.
func parseArgs(args []byte) (from int, n uint64, due int64, ok bool) {
	numbers := [3]int64{}
	for i, name := range [3]string{`{"n":`, `,"from":`, `,"at":`} {
		if len(args) < len(name) || string(args[:len(name)]) != name {
			return 0, 0, 0, false
		}
		args = args[len(name):]
		digits := 0
		for digits < len(args) && (args[digits] >= '0' && args[digits] <= '9' || args[digits] == '-') {
			digits++
		}
		v, err := strconv.ParseInt(string(args[:digits]), 10, 64)
		if err != nil {
			return 0, 0, 0, false
		}
		numbers[i], args = v, args[digits:]
	}
	return int(numbers[1]), uint64(numbers[0]), numbers[2], true
}
