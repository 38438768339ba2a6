package frame

import (
	"strconv"
	"strings"
)

// A Position is where a channel whose events are kept stood: after the event that has it.
// The zero Position is none.
//
// No two events of a channel have one position, whatever an engine loses. After a loss of
// its newest events an engine may give out their numbers again, but never their tags: so
// whoever has a tag that the engine knows has the same past.
type Position struct {
	// At is the number of the event, above 0 and below 1<<53. Numbers of a channel grow,
	// but may have holes. They fall only where an engine lost events, which is a Gap. What
	// an engine forgot (for its age, for want of memory) begins anew above all numbers
	// that it has given out on the channel.
	At uint64

	// Tag is random, made anew for each attempt to keep an event.
	Tag uint64
}

// IsZero reports whether p is none.
func (p Position) IsZero() bool { return p == Position{} }

// String returns the number, a colon, and the tag as it is on the wire: "57:AAAAAAAAAAE".
// [ParsePosition] reads it.
func (p Position) String() string {
	text := append(strconv.AppendUint(nil, p.At, 10), ':')
	return string(appendTag(text, p.Tag))
}

// ParsePosition reads what [Position.String] has written; ok is false for any other text,
// and for that of no position.
func ParsePosition(text string) (p Position, ok bool) {
	number, tag, _ := strings.Cut(text, ":")
	at, isInteger := integer([]byte(number))
	p, ok = newPosition(at, isInteger, []byte(tag))
	if !ok || p.String() != text { // such as "057:…"
		return Position{}, false
	}
	return p, true
}

// Recovery says what an ACK says of the Since of its SUB.
type Recovery uint8

const (
	NoRecovery   Recovery = iota // nothing: the SUB had none
	Recovered                    // all events since then follow
	NotRecovered                 // some may be missing
)

// maxAt is the greatest number of a position, the greatest integer of JavaScript.
const maxAt = 1<<53 - 1

// isPosition reports whether p can be on the wire.
func (p Position) isPosition() bool { return p.At >= 1 && p.At <= maxAt }

// newPosition returns the position of a number that is one, if isInteger is true, and the
// text of a tag.
func newPosition(at int64, isInteger bool, text []byte) (p Position, ok bool) {
	tag, isTag := parseTag(text)
	p = Position{At: uint64(at), Tag: tag}
	if !isInteger || !isTag || !p.isPosition() {
		return Position{}, false
	}
	return p, true
}

// base64url are the digits of tags (RFC 4648, section 5).
const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// tagLen is the length of a tag as text: ten digits of 6 bits, and one of the last 4.
const tagLen = 11

// appendTag appends the 8 bytes of tag, the highest first, in base64url without padding.
func appendTag(dst []byte, tag uint64) []byte {
	for shift := 58; shift > 0; shift -= 6 {
		dst = append(dst, base64url[tag>>shift&63])
	}
	return append(dst, base64url[tag<<2&63])
}

// parseTag reads what appendTag has written, and nothing else.
func parseTag(text []byte) (tag uint64, ok bool) {
	if len(text) != tagLen {
		return 0, false
	}
	for _, c := range text[:tagLen-1] {
		v := strings.IndexByte(base64url, c)
		if v < 0 {
			return 0, false
		}
		tag = tag<<6 | uint64(v)
	}
	v := strings.IndexByte(base64url, text[tagLen-1])
	if v < 0 || v&3 != 0 {
		return 0, false
	}
	return tag<<4 | uint64(v>>2), true
}
