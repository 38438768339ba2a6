package redis

import (
	"encoding/binary"

	"github.com/juggler-go/juggler/broker"
)

// formatKept is that of a kept event, in its log and as it is published.
const formatKept = 'K'

// keptHead is what stands before the value of the event: the format, number and tag of its
// position, and the tag of the event before it.
const keptHead = 1 + 8 + 8 + 8

// A keptValue is an event of a channel that a rule keeps.
type keptValue struct {
	pos    broker.Position // zero: it could not be kept
	before uint64          // the tag of the event before it; 0: none is known
	begins bool            // no event: a life begins at pos, since the one before has lost events
	event  broker.Event
}

// encodeKept is what keep.lua makes of an event, and lost.lua of the beginning of a life.
func encodeKept(k *keptValue) []byte {
	b := append(make([]byte, 0, keptHead+21+len(k.event.Headers)+len(k.event.Args)), formatKept)
	b = binary.BigEndian.AppendUint64(b, k.pos.At)
	b = binary.BigEndian.AppendUint64(b, k.pos.Tag)
	b = binary.BigEndian.AppendUint64(b, k.before)
	if k.begins {
		return b
	}
	return append(b, encodeEvent(&k.event)...)
}

// decodeKept decodes a value as decodeEvent does.
func decodeKept(value []byte) (k keptValue, err error) {
	if len(value) < keptHead || value[0] != formatKept {
		return k, errCorrupt
	}
	k.pos = decodePosition(value[1:])
	k.before = binary.BigEndian.Uint64(value[17:])
	if k.pos.At >= 1<<53 || (k.pos.At == 0) != (k.pos.Tag == 0) {
		return k, errCorrupt
	}
	if k.begins = len(value) == keptHead && k.before == 0; !k.begins {
		k.event, err = decodeEvent(value[keptHead:])
	}
	return k, err
}

// decodePosition decodes the first 16 bytes of b.
func decodePosition(b []byte) broker.Position {
	return broker.Position{At: binary.BigEndian.Uint64(b), Tag: binary.BigEndian.Uint64(b[8:])}
}

// decodeMessage decodes what is published for subscribers, kept or not. The slices of the
// event are its own.
func decodeMessage(value string) (keptValue, error) {
	if isKept(value) {
		return decodeKept([]byte(value))
	}
	e, err := decodeEvent([]byte(value))
	return keptValue{event: e}, err
}

// isKept reports whether what is published for subscribers was kept, or could not be.
func isKept(value string) bool { return value != "" && value[0] == formatKept }
