package redis

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// The values as they lie in Redis; docs/redis.md has them as tables. Integers
// are big-endian. The first byte is the format; another layout gets another.
const (
	formatCall   = 'C'
	formatResult = 'R'
	formatTimed  = 'T' // a result that says how long the callee's function ran
	formatParted = 'S' // a result that parts came before
	formatPart   = 'P'
	formatNews   = 'N'
	formatGrants = 'G'
	formatEvent  = 'E'

	// headLength is what push.lua puts before a call's value: the format and
	// the deadline in ms of the server's Unix time, as 13 decimal digits.
	headLength = 1 + 13

	addressLength = 32

	// retryFlag in the code of a result says that behind it stands after how many ms a
	// retry is worth it.
	retryFlag = 1 << 31
)

// errCorrupt: what was read has none of our formats. It is counted, logged and
// dropped: nothing in it says whom to tell.
var errCorrupt = errors.New("corrupt value")

func appendAddress(b []byte, a broker.Address) []byte {
	b = append(b, a.Node[:]...)
	return append(b, a.Ref[:]...)
}

// address returns the 32 bytes that name a call.
func address(a broker.Address) string {
	var b [addressLength]byte
	return string(appendAddress(b[:0], a))
}

func parseAddress[T string | []byte](s T) (a broker.Address, ok bool) {
	if len(s) != addressLength {
		return a, false
	}
	copy(a.Node[:], s)
	copy(a.Ref[:], s[len(a.Node):])
	return a, true
}

// milliseconds rounds up: a call with any time left keeps some.
func milliseconds(d time.Duration) uint32 {
	ms := (d + time.Millisecond - 1) / time.Millisecond
	return uint32(min(max(ms, 1), math.MaxUint32))
}

// encodeCall returns c's value without the head that push.lua adds. The Key is in it if the
// address is that of a record.
func encodeCall(c *broker.Call) []byte {
	key := c.Key
	if !isKeyed(c.ReplyTo.Node) {
		key = broker.CallKey{}
	}
	b := make([]byte, 0, addressLength+8+len(c.Headers)+len(c.Args))
	b = appendAddress(b, c.ReplyTo)
	b = binary.BigEndian.AppendUint32(b, milliseconds(c.Timeout))
	b = appendCounted(b, withKey(withWindow(c.Headers, c.Window), key))
	return append(b, c.Args...)
}

// decodeCall decodes a value that was taken when the server's clock showed now
// (ms). The slices of the call are parts of it. The URI is not in the value,
// but in the key that it came from.
func decodeCall(value []byte, now int64) (broker.Call, error) {
	var c broker.Call
	if len(value) < headLength+addressLength+8 || value[0] != formatCall {
		return c, errCorrupt
	}
	deadline, err := strconv.ParseInt(string(value[1:headLength]), 10, 64)
	if err != nil {
		return c, errCorrupt
	}
	c.ReplyTo, _ = parseAddress(value[headLength : headLength+addressLength])
	c.Timeout = max(time.Duration(deadline-now)*time.Millisecond, time.Millisecond)
	var ok bool
	if c.Headers, c.Args, ok = cutCounted(value[headLength+addressLength+4:]); !ok {
		return c, errCorrupt
	}
	if c.Headers, c.Key = cutKey(c.Headers); !c.Key.IsZero() {
		c.Attempt = c.ReplyTo.Ref[attemptByte]
	}
	c.Headers, c.Window = cutWindow(c.Headers)
	return c, nil
}

// encodeResult returns r's value. The node is not in it, but in the key.
func encodeResult(r *broker.Result) []byte {
	if r.Err == nil {
		b := appendResultHead(make([]byte, 0, 25+len(r.Args)), r, 0)
		return append(b, r.Args...)
	}
	code, retries := errorCode(r.Err), r.Err.RetryAfter > 0
	if retries {
		code |= retryFlag
	}
	b := appendResultHead(make([]byte, 0, 33+len(r.Err.Message)+len(r.Err.Data)), r, code)
	if retries {
		b = binary.BigEndian.AppendUint32(b, milliseconds(r.Err.RetryAfter))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Err.Message)))
	b = append(b, r.Err.Message...)
	return append(b, r.Err.Data...)
}

// appendResultHead appends what the values of all results begin with.
func appendResultHead(b []byte, r *broker.Result, code uint32) []byte {
	ran := uint32(min(r.Ran/time.Microsecond, math.MaxUint32))
	switch {
	case r.Parts > 0:
		b = append(append(b, formatParted), r.To.Ref[:]...)
		b = binary.BigEndian.AppendUint32(b, r.Parts)
		b = binary.BigEndian.AppendUint32(b, ran)
	case ran > 0:
		b = append(append(b, formatTimed), r.To.Ref[:]...)
		b = binary.BigEndian.AppendUint32(b, ran)
	default:
		b = append(append(b, formatResult), r.To.Ref[:]...)
	}
	return binary.BigEndian.AppendUint32(b, code)
}

// errorCode is the code of an error on its way. 0 would say that the call
// succeeded, so a callee that set none (or nonsense) failed with 500.
func errorCode(e *broker.Error) uint32 {
	if e.Code <= 0 || e.Code > math.MaxInt32 {
		return frame.CodeInternal
	}
	return uint32(e.Code)
}

// decodeResult decodes a value. The slices of the result are parts of it.
func decodeResult(node broker.ID, value []byte) (broker.Result, error) {
	r := broker.Result{To: broker.Address{Node: node}}
	if len(value) < 21 {
		return r, errCorrupt
	}
	b := value[1+copy(r.To.Ref[:], value[1:]):]
	switch {
	case value[0] == formatParted && len(b) >= 12:
		r.Parts = binary.BigEndian.Uint32(b)
		r.Ran = time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Microsecond
		if r.Parts == 0 { // the format says that there are some
			return r, errCorrupt
		}
		b = b[8:]
	case value[0] == formatTimed && len(b) >= 8:
		r.Ran = time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
		b = b[4:]
	case value[0] != formatResult:
		return r, errCorrupt
	}
	code, b := binary.BigEndian.Uint32(b), b[4:]
	if code == 0 {
		r.Args = nonEmpty(b)
		return r, nil
	}
	var ok bool
	r.Err, ok = decodeError(code, b)
	if !ok {
		return r, errCorrupt
	}
	return r, nil
}

// decodeError decodes what stands behind the code of a result that is an error.
func decodeError(code uint32, b []byte) (e *broker.Error, ok bool) {
	e = &broker.Error{Code: frame.Code(code &^ retryFlag)}
	if code&retryFlag != 0 {
		if len(b) < 4 || e.Code == 0 {
			return nil, false
		}
		e.RetryAfter = time.Duration(binary.BigEndian.Uint32(b)) * time.Millisecond
		if e.RetryAfter == 0 { // the flag says that there is one
			return nil, false
		}
		b = b[4:]
	}
	message, data, ok := cutCounted(b)
	e.Message, e.Data = string(message), data
	return e, ok
}

func encodeEvent(e *broker.Event) []byte {
	b := make([]byte, 0, 21+len(e.Headers)+len(e.Args))
	b = append(append(b, formatEvent), e.ID[:]...)
	b = appendCounted(b, e.Headers)
	return append(b, e.Args...)
}

// decodeEvent decodes a value. The slices of the event are parts of it. It leaves the
// channel to the caller: it is not in the value.
func decodeEvent(value []byte) (broker.Event, error) {
	var e broker.Event
	if len(value) < 21 || value[0] != formatEvent {
		return e, errCorrupt
	}
	b := value[1+copy(e.ID[:], value[1:]):]
	var ok bool
	if e.Headers, e.Args, ok = cutCounted(b); !ok {
		return e, errCorrupt
	}
	return e, nil
}

// appendCounted appends the length of p as four bytes, then p.
func appendCounted(b, p []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
	return append(b, p...)
}

// cutCounted is the inverse of appendCounted: it returns p and what follows,
// nil where they are empty.
func cutCounted(b []byte) (p, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	p, rest = b[4:4+n:4+n], b[4+n:]
	return nonEmpty(p), nonEmpty(rest), true
}

func nonEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
