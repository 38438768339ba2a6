package frame

import (
	"encoding/binary"
	"encoding/hex"
)

// The text forms of 16-byte ids. None of these functions allocates, other
// than to grow dst.

// crockford is the alphabet of ULIDs (github.com/ulid/spec).
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// crockfordValue is the value of each byte as a digit, 0xff if it is none.
var crockfordValue = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for i := range len(crockford) {
		c := crockford[i]
		values[c] = byte(i)
		if c > '9' {
			values[c+'a'-'A'] = byte(i)
		}
	}
	return values
}()

// ULIDLen is the length of a ULID as text.
const ULIDLen = 26

// AppendULID appends id as a ULID in its canonical form: 26 upper-case
// digits of Crockford's base 32.
func AppendULID(dst []byte, id [16]byte) []byte {
	high, low := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	var text [ULIDLen]byte
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = crockford[low&31]
		low = low>>5 | high<<59
		high >>= 5
	}
	return append(dst, text[:]...)
}

// ParseULID reads a ULID as [AppendULID] writes it, in upper or lower case.
func ParseULID(text []byte) (id [16]byte, ok bool) {
	// 26 digits hold 130 bits: the first may be no more than 7.
	if len(text) != ULIDLen || text[0] > '7' {
		return id, false
	}
	var high, low uint64
	for _, c := range text {
		v := crockfordValue[c]
		if v == 0xff {
			return id, false
		}
		high = high<<5 | low>>59
		low = low<<5 | uint64(v)
	}
	binary.BigEndian.PutUint64(id[:8], high)
	binary.BigEndian.PutUint64(id[8:], low)
	return id, true
}

// UUIDLen is the length of a UUID as text.
const UUIDLen = 36

// AppendUUID appends id as a UUID: 32 lower-case hexadecimal digits in five
// groups (RFC 9562, section 4).
func AppendUUID(dst []byte, id [16]byte) []byte {
	var text [UUIDLen]byte
	hex.Encode(text[0:8], id[0:4])
	text[8] = '-'
	hex.Encode(text[9:13], id[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], id[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], id[8:10])
	text[23] = '-'
	hex.Encode(text[24:36], id[10:16])
	return append(dst, text[:]...)
}

// ParseUUID reads a UUID as [AppendUUID] writes it, in upper or lower case,
// of any version.
func ParseUUID(text []byte) (id [16]byte, ok bool) {
	if len(text) != UUIDLen || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, false
	}
	for _, group := range [...]struct{ id, text, digits int }{
		{0, 0, 8}, {4, 9, 4}, {6, 14, 4}, {8, 19, 4}, {10, 24, 12},
	} {
		if _, err := hex.Decode(id[group.id:], text[group.text:group.text+group.digits]); err != nil {
			return [16]byte{}, false
		}
	}
	return id, true
}
