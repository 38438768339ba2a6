package redis

import (
	"encoding/binary"

	"github.com/juggler-go/juggler/broker"
)

const (
	// partHead is the length of the value of a part without arguments, grantLength that of
	// one grant.
	partHead    = 1 + 16 + 16 + 4 + windowLength
	grantLength = addressLength + windowLength

	windowLength = 4 + 8
)

func appendWindow(b []byte, w broker.Window) []byte {
	b = binary.BigEndian.AppendUint32(b, w.Parts)
	return binary.BigEndian.AppendUint64(b, w.Bytes)
}

func parseWindow(b []byte) broker.Window {
	return broker.Window{Parts: binary.BigEndian.Uint32(b), Bytes: binary.BigEndian.Uint64(b[4:])}
}

// encodePart returns the value of a part that a callee sends. The node is not in it, but
// in the key.
func encodePart(p *broker.Part, callee broker.ID) []byte {
	b := make([]byte, 0, partHead+len(p.Args))
	b = append(append(b, formatPart), p.To.Ref[:]...)
	b = append(b, callee[:]...)
	b = binary.BigEndian.AppendUint32(b, p.N)
	b = appendWindow(b, p.Window)
	return append(b, p.Args...)
}

// decodePart decodes a value. The arguments are a part of it.
func decodePart(node broker.ID, value []byte) (broker.Part, error) {
	p := broker.Part{To: broker.Address{Node: node}}
	if len(value) < partHead || value[0] != formatPart {
		return p, errCorrupt
	}
	b := value[1+copy(p.To.Ref[:], value[1:]):]
	b = b[copy(p.From[:], b):]
	p.N, b = binary.BigEndian.Uint32(b), b[4:]
	p.Window, p.Args = parseWindow(b), nonEmpty(b[windowLength:])
	return p, nil
}

// appendGrant appends a grant to a message for its callee.
func appendGrant(message []byte, g *broker.Grant) []byte {
	if len(message) == 0 {
		message = append(message, formatGrants)
	}
	return appendWindow(appendAddress(message, g.To), g.Window)
}

// decodeGrants decodes a message with grants for callee.
func decodeGrants(callee broker.ID, message string) ([]broker.Grant, error) {
	if len(message) <= 1 || message[0] != formatGrants || (len(message)-1)%grantLength != 0 {
		return nil, errCorrupt
	}
	grants := make([]broker.Grant, 0, len(message)/grantLength)
	for b := []byte(message[1:]); len(b) > 0; b = b[grantLength:] {
		to, _ := parseAddress(b[:addressLength])
		grants = append(grants, broker.Grant{To: to, Callee: callee, Window: parseWindow(b[addressLength:])})
	}
	return grants, nil
}
