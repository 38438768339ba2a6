package frame

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"time"
)

// append0 appends f in juggler.0.
func append0(dst []byte, f *Frame) []byte {
	if int(f.Type) >= len(numbers0) || numbers0[f.Type] == 0 {
		return dst
	}
	dst = strconv.AppendInt(append(dst, `{"meta":{"type":`...), int64(numbers0[f.Type]), 10)
	dst = append(dst, `,"uuid":`...)
	if f.Type.IsRequest() {
		dst = text0(dst, f.ID)
		dst = request0(append(dst, `},"payload":{`...), f)
	} else {
		dst = append(AppendUUID(append(dst, '"'), f.UUID), '"')
		dst = answer0(append(dst, `},"payload":{"for":`...), f)
	}
	return append(dst, '}', '}', '\n')
}

// request0 appends the members of a request's payload.
func request0(dst []byte, f *Frame) []byte {
	if f.Type == Call {
		dst = text0(append(dst, `"uri":`...), f.URI)
		timeout := wholeMilliseconds(f.Timeout) * int64(time.Millisecond)
		dst = strconv.AppendInt(append(dst, `,"timeout":`...), timeout, 10)
		return appendCompact(append(dst, `,"args":`...), orNull(f.Args))
	}
	dst = text0(append(dst, `"channel":`...), f.Channel)
	if f.Type == Pub {
		return appendCompact(append(dst, `,"args":`...), orNull(f.Args))
	}
	return strconv.AppendBool(append(dst, `,"pattern":`...), f.Pattern)
}

// answer0 appends the members of an answer's payload, from the value of for.
func answer0(dst []byte, f *Frame) []byte {
	if f.Type == Evnt {
		dst = append(dst, '"')
		if f.Publication != ([16]byte{}) {
			dst = AppendUUID(dst, f.Publication)
		}
		dst = append(dst, '"')
		dst = textMember0(dst, `,"channel":`, f.Channel)
		dst = textMember0(dst, `,"pattern":`, f.Matched)
		return appendCompact(append(dst, `,"args":`...), orNull(f.Args))
	}
	dst = text0(dst, f.For)
	if f.Type == Res {
		dst = textMember0(dst, `,"uri":`, f.URI)
		if f.Err.Code != 0 {
			dst = text0(append(dst, `,"args":{"error":{"message":`...), f.Err.Message)
			return append(dst, '}', '}')
		}
		return appendCompact(append(dst, `,"args":`...), orNull(f.Args))
	}
	forType := byte(0)
	if f.ForType.IsRequest() {
		forType = numbers0[f.ForType]
	}
	dst = strconv.AppendInt(append(dst, `,"for_type":`...), int64(forType), 10)
	dst = textMember0(dst, `,"uri":`, f.URI)
	dst = textMember0(dst, `,"channel":`, f.Channel)
	if f.Type == Nack {
		dst = strconv.AppendInt(append(dst, `,"code":`...), int64(f.Err.Code), 10)
		dst = text0(append(dst, `,"message":`...), f.Err.Message)
	}
	return dst
}

func text0(dst, s []byte) []byte { return appendText(dst, s, true) }

// textMember0 appends a member that is a string, unless it is empty.
func textMember0(dst []byte, key string, s []byte) []byte {
	if len(s) == 0 {
		return dst
	}
	return text0(append(dst, key...), s)
}

// appendCompact appends src, valid JSON, as encoding/json writes a
// json.RawMessage: without white space, and with what is special in HTML
// escaped. The latter only occurs in strings.
func appendCompact(dst, src []byte) []byte {
	done := 0 // src up to here is in dst, or left out
	for i := 0; i < len(src); {
		switch src[i] {
		case ' ', '\n', '\r', '\t':
			dst = append(dst, src[done:i]...)
			i++
			done = i
		case '"':
			end, _ := skipString(src, i)
			if end < 0 {
				end = len(src) // not JSON: the application's mistake, not a reason to panic
			}
			dst = appendHTMLSafe(dst, src[done:end])
			i, done = end, end
		default:
			i++
		}
	}
	return append(dst, src[done:]...)
}

// appendHTMLSafe appends s, a part of a JSON text, with what is special in
// HTML escaped.
func appendHTMLSafe(dst, s []byte) []byte {
	for i := 0; ; {
		if i = htmlSafe(s, i); i == len(s) {
			return append(dst, s...)
		}
		r, size := rune(s[i]), 1
		if s[i] == lineSeparator[0] {
			if i+3 > len(s) || s[i+1] != lineSeparator[1] || s[i+2]&^1 != lineSeparator[2] {
				i++
				continue
			}
			r, size = '\u2028'|rune(s[i+2]&1), 3
		}
		dst = appendEscapedRune(append(dst, s[:i]...), r)
		s = s[i+size:]
		i = 0
	}
}

// lineSeparator is U+2028 in UTF-8. U+2029 differs in the last bit.
const lineSeparator = "\u2028"

// htmlSafe returns the index of the first byte of s, at i or after, that
// begins what may be special in HTML, or len(s).
func htmlSafe(s []byte, i int) int {
	for i+8 <= len(s) {
		w := binary.LittleEndian.Uint64(s[i:])
		m := bytesEqual(w, '<') | bytesEqual(w, '>') | bytesEqual(w, '&') | bytesEqual(w, lineSeparator[0])
		if m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
		i += 8
	}
	for i < len(s) && s[i] != '<' && s[i] != '>' && s[i] != '&' && s[i] != lineSeparator[0] {
		i++
	}
	return i
}
