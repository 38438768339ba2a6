package frame

import (
	"bytes"
	"time"
)

// The types of messages in juggler.0, by their number.
var (
	types0   = [...]Type{1: Call, 2: Pub, 3: Sub, 4: Unsb, 7: Nack, 8: Ack, 9: Res, 10: Evnt}
	numbers0 = [GoAway + 1]byte{Call: 1, Pub: 2, Sub: 3, Unsb: 4, Nack: 7, Ack: 8, Res: 9, Evnt: 10}
)

// type0 reads a type: an integer, not 1.0 or 1e0.
func type0(raw []byte) Type {
	n, ok := integer(raw)
	if !ok || n < 0 || n >= int64(len(types0)) {
		return Invalid
	}
	return types0[n]
}

// members0 are the members of any message of juggler.0, those of meta and
// those of payload, as they stand in the text. Each message reads those that
// it has.
type members0 struct {
	typ, uuid []byte

	payload                     bool // payload is there
	uri, channel, pattern, args []byte
	timeout                     []byte
	forID, forType              []byte
	code, message               []byte

	unknown []byte
	wrong   string // what is wrong with meta or payload themselves
}

func (r *members0) metaSlot(name []byte) *[]byte {
	switch string(name) {
	case "type":
		return &r.typ
	case "uuid":
		return &r.uuid
	}
	return &r.unknown
}

func (r *members0) payloadSlot(name []byte) *[]byte {
	switch string(name) {
	case "uri":
		return &r.uri
	case "channel":
		return &r.channel
	case "pattern":
		return &r.pattern
	case "args":
		return &r.args
	case "timeout":
		return &r.timeout
	case "for":
		return &r.forID
	case "for_type":
		return &r.forType
	case "code":
		return &r.code
	case "message":
		return &r.message
	}
	return &r.unknown
}

// read fills in r from the message b. The members of objects that occur twice
// are merged, as the first implementation did.
func (r *members0) read(b []byte) *DecodeError {
	var m members
	if err := m.begin(b); err != nil {
		return err
	}
	for m.next() {
		switch string(m.name()) {
		case "meta":
			r.readMeta(&m)
		case "payload":
			r.readPayload(&m)
		default:
			m.value()
		}
	}
	if err := m.end(); err != nil {
		return err
	}
	if r.wrong != "" {
		return closing1002(r.wrong)
	}
	return nil
}

func (r *members0) readMeta(m *members) {
	object, ok := m.object()
	if !ok {
		if !absent(m.value()) {
			r.wrong = "meta: want an object"
		}
		return
	}
	for object.next() {
		slot := r.metaSlot(object.name())
		*slot = object.value()
	}
	m.i = object.i
}

func (r *members0) readPayload(m *members) {
	r.payload = true
	object, ok := m.object()
	if !ok {
		if !absent(m.value()) {
			r.wrong = "payload: want an object"
		}
		return
	}
	for object.next() {
		slot := r.payloadSlot(object.name())
		*slot = object.value()
	}
	m.i = object.i
}

// decodeRequest0 decodes a message of a client in juggler.0.
func decodeRequest0(b []byte, f *Frame) *DecodeError {
	var r members0
	if err := r.read(b); err != nil {
		return err
	}
	typ := type0(r.typ)
	if !typ.IsRequest() {
		return closing1002("meta.type: want 1, 2, 3 or 4")
	}
	id, ok := uuidText(r.uuid)
	if !ok {
		return closing1002("meta.uuid: want a UUID")
	}
	if !r.payload {
		return closing1002("payload: want an object")
	}
	f.Type, f.ID = typ, id
	if reason := r.request(f); reason != "" {
		return nack(reason)
	}
	return nil
}

// request reads the payload of the request f.Type and returns what is wrong
// with it.
func (r *members0) request(f *Frame) (reason string) {
	var ok bool
	if f.Type == Call {
		if f.URI, ok = nonEmpty(r.uri); !ok {
			return "uri: " + wantText
		}
		timeout, ok := integer(r.timeout)
		f.Timeout = time.Duration(timeout).Truncate(time.Millisecond)
		if !ok || f.Timeout < 0 {
			return "timeout: want an integer number of nanoseconds, 0 or more"
		}
		f.Args = r.args
		return ""
	}
	if f.Channel, ok = nonEmpty(r.channel); !ok {
		return "channel: " + wantText
	}
	if reason := zeroByte(f.Channel); reason != "" {
		return reason
	}
	if f.Type == Pub {
		f.Args = r.args
		return ""
	}
	if f.Pattern, ok = boolean(r.pattern); !ok {
		return "pattern: " + wantBoolean
	}
	return ""
}

// decodeAnswer0 decodes a message of a server in juggler.0.
func decodeAnswer0(b []byte, f *Frame) *DecodeError {
	var r members0
	if err := r.read(b); err != nil {
		return err
	}
	f.Type = type0(r.typ)
	if f.Type == Invalid || f.Type.IsRequest() {
		return closing1002("meta.type: want 7, 8, 9 or 10")
	}
	uuid, ok := uuidText(r.uuid)
	if !ok {
		return closing1002("meta.uuid: want a UUID")
	}
	f.UUID, _ = ParseUUID(uuid)
	if reason := r.answer(f); reason != "" {
		return closing1002(reason)
	}
	return nil
}

// answer reads the payload of the answer f.Type and returns what is wrong
// with it.
func (r *members0) answer(f *Frame) (reason string) {
	id, ok := uuidText(r.forID)
	if !ok {
		return "for: want a UUID"
	}
	if f.Type == Evnt {
		f.Publication, _ = ParseUUID(id) // all zeros without one
		return r.event(f)
	}
	f.For = id
	if f.URI, ok = text(r.uri); !ok {
		return "uri: want a string"
	}
	if f.Type == Res {
		f.Args = r.args
		return ""
	}
	if f.Channel, ok = text(r.channel); !ok {
		return "channel: want a string"
	}
	if f.ForType, ok = forType0(r.forType); !ok {
		return "for_type: want 1, 2, 3 or 4"
	}
	if f.Type == Ack {
		return ""
	}
	return r.nack(f)
}

func (r *members0) event(f *Frame) (reason string) {
	var ok bool
	if f.Channel, ok = text(r.channel); !ok {
		return "channel: want a string"
	}
	if f.Matched, ok = text(r.pattern); !ok {
		return "pattern: want a string"
	}
	f.Args = r.args
	return ""
}

func (r *members0) nack(f *Frame) (reason string) {
	code, ok := integer(r.code)
	if f.Err.Code = int(code); !ok || int64(f.Err.Code) != code {
		return "code: want an integer"
	}
	if f.Err.Message, ok = text(r.message); !ok {
		return "message: want a string"
	}
	return ""
}

// forType0 reads the type of the request that is answered, which may be
// absent or 0.
func forType0(raw []byte) (t Type, ok bool) {
	if n, ok := integer(raw); ok && n == 0 {
		return Invalid, true
	}
	t = type0(raw)
	return t, t.IsRequest()
}

// uuidText reads a UUID, which may be absent or empty, as 36 lower-case
// characters. It is made lower-case in place.
func uuidText(raw []byte) (id []byte, ok bool) {
	s, ok := text(raw)
	if !ok || len(s) == 0 {
		return nil, ok
	}
	const urn = "urn:uuid:"
	if len(s) == len(urn)+UUIDLen && bytes.EqualFold(s[:len(urn)], []byte(urn)) {
		s = s[len(urn):]
	}
	if _, ok := ParseUUID(s); !ok {
		return nil, false
	}
	for i := range s {
		s[i] |= 0x20 // set in digits, lower-case letters and the dash anyway
	}
	return s, true
}
