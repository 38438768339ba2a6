package frame

import "encoding/binary"

// The text forms of 16-byte ids. None of these functions allocates, other
// than to grow dst.

// crockford is the alphabet of ULIDs (github.com/ulid/spec).
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

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
		if v == noDigit {
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

// uuidPairs are the places of the 16 pairs of digits in a UUID's text.
var uuidPairs = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// AppendUUID appends id as a UUID: 32 lower-case hexadecimal digits in five
// groups (RFC 9562, section 4).
func AppendUUID(dst []byte, id [16]byte) []byte {
	text := [UUIDLen]byte{8: '-', 13: '-', 18: '-', 23: '-'}
	for i, at := range uuidPairs {
		text[at] = hexDigits[id[i]>>4]
		text[at+1] = hexDigits[id[i]&15]
	}
	return append(dst, text[:]...)
}

// ParseUUID reads a UUID as [AppendUUID] writes it, in upper or lower case,
// of any version.
func ParseUUID(text []byte) (id [16]byte, ok bool) {
	if len(text) != UUIDLen || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, false
	}
	var all byte
	for i, at := range uuidPairs {
		high, low := hexValue[text[at]], hexValue[text[at+1]]
		all |= high | low
		id[i] = high<<4 | low
	}
	if all == noDigit {
		return [16]byte{}, false
	}
	return id, true
}

const (
	hexDigits = "0123456789abcdef"
	noDigit   = 0xff
)

var (
	crockfordValue = digitValues(crockford)
	hexValue       = digitValues(hexDigits)
)

// digitValues returns the value of each byte as one of digits, in upper or
// lower case, and noDigit if it is none.
func digitValues(digits string) (values [256]byte) {
	for c := range values {
		values[c] = noDigit
	}
	for i := range len(digits) {
		c := digits[i]
		values[c] = byte(i)
		if c > '9' {
			values[c^0x20] = byte(i) // the other case
		}
	}
	return values
}
