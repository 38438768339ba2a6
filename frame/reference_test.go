package frame_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/juggler-go/juggler/frame"
)

// The requests of juggler.1 are read, and refused, as a decoder on top of
// encoding/json does it.
func FuzzRequest1(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if mayBeDeep(text) {
			return
		}
		want, code := referenceRequest1(text)
		var got frame.Frame
		err := frame.Juggler1.DecodeRequest(bytes.Clone(text), &got)
		if refused := refusalOf(t, string(text), err); refused.Code != code {
			t.Fatalf("%q: code %d (%s), want %d", text, refused.Code, refused.Reason, code)
		}
		switch {
		case code == 400 && (got.Type != want.Type || !bytes.Equal(got.ID, want.ID)):
			t.Fatalf("%q: type %v, id %q, want %v, %q", text, got.Type, got.ID, want.Type, want.ID)
		case code == 0 && !equal(&got, &want):
			t.Fatalf("%q\nis %+v\nwant %+v", text, got, want)
		}
	})
}

// referenceRequest1 decodes a request of juggler.1 with encoding/json, and
// returns the code if it is refused.
func referenceRequest1(text []byte) (f frame.Frame, code int) {
	var members map[string]json.RawMessage
	if !utf8.Valid(text) {
		return f, 1007
	}
	if json.Unmarshal(text, &members) != nil || members == nil {
		return f, 1002
	}
	str := func(name string) []byte { // nil if it is anything but a string
		var s *string
		if json.Unmarshal(orNull(members[name]), &s) != nil || s == nil {
			return nil
		}
		return []byte(*s)
	}
	for typ := frame.Call; typ <= frame.Pong; typ++ {
		if string(str("type")) == typ.String() {
			f.Type = typ
		}
	}
	f.ID, f.For = str("id"), str("for")
	validID := func(id []byte) bool { return len(id) >= 1 && len(id) <= 64 }
	switch {
	case f.Type == frame.Pong:
		return frame.Frame{Type: f.Type}, 0
	case f.Type == frame.Cancel && validID(f.For):
		if json.Unmarshal(orNull(members["stop"]), &f.Stop) != nil {
			return frame.Frame{}, 1002
		}
		return frame.Frame{Type: f.Type, For: f.For, Stop: f.Stop}, 0
	case f.Type == frame.More && validID(f.For):
		if json.Unmarshal(orNull(members["parts"]), &f.Parts) != nil || f.Parts < 1 || f.Parts > 1_000_000 {
			return frame.Frame{}, 1002
		}
		return frame.Frame{Type: f.Type, For: f.For, Parts: f.Parts}, 0
	case f.Type == frame.Cancel, f.Type == frame.More, !validID(f.ID):
		return frame.Frame{}, 1002
	}
	f = frame.Frame{Type: f.Type, ID: f.ID}
	var wrong, bad bool
	switch f.Type {
	case frame.Invalid:
		wrong = true
	case frame.Auth:
		f.Token = str("token")
		wrong = len(f.Token) == 0
	case frame.Call:
		f.URI = str("uri")
		var ms int64
		bad = json.Unmarshal(orNull(members["timeout"]), &ms) != nil
		f.Timeout = time.Duration(ms) * time.Millisecond
		wrong = len(f.URI) == 0 || bad || ms < 0 || ms > math.MaxInt64/1_000_000
		if parts := members["parts"]; !isNull(parts) {
			wrong = json.Unmarshal(parts, &f.Parts) != nil || f.Parts < 1 || f.Parts > 1_000_000 || wrong
		}
		wrong = !referenceCallKey(members, &f) || wrong
	case frame.Sub, frame.Unsb:
		f.Channel = str("channel")
		bad = json.Unmarshal(orNull(members["pattern"]), &f.Pattern) != nil
		wrong = len(f.Channel) == 0 || f.Channel[0] == 0 || bad
		if f.Type == frame.Sub {
			wrong = !referenceHistory(members, &f) || wrong
			wrong = json.Unmarshal(orNull(members["own"]), &f.Own) != nil || json.Unmarshal(orNull(members["here"]), &f.WantsHere) != nil || wrong
			wrong = wrong || f.WantsHere && (f.Own || f.Pattern)
		}
	case frame.Pub:
		f.Channel, f.Key = str("channel"), str("key")
		if key := members["key"]; !isNull(key) {
			wrong = len(f.Key) < 1 || len(f.Key) > 64 || json.Unmarshal(orNull(members["again"]), &f.Again) != nil
		}
		wrong = len(f.Channel) == 0 || f.Channel[0] == 0 || wrong
	}
	if f.Type == frame.Call || f.Type == frame.Pub {
		f.Args = members["args"]
		if h := members["headers"]; len(h) > 0 && string(h) != "null" {
			f.Headers = h
			names, ok := stringMembers(h)
			wrong = wrong || !ok
			for name := range names {
				wrong = wrong || f.Type == frame.Call && strings.HasPrefix(name, "@")
			}
		}
	}
	if wrong {
		return f, 400
	}
	return f, 0
}

// referenceCallKey reads key and since of a CALL, and reports whether they are right.
func referenceCallKey(members map[string]json.RawMessage, f *frame.Frame) (ok bool) {
	key, since := members["key"], members["since"]
	if !isNull(key) {
		var text *string
		if json.Unmarshal(key, &text) != nil || len(*text) < 1 || len(*text) > 64 {
			return false
		}
		f.Key = []byte(*text)
	}
	if f.HasSince = !isNull(since); !f.HasSince {
		return true
	}
	return json.Unmarshal(since, &f.N) == nil && f.N >= 0 && f.N <= math.MaxInt32 && f.Key != nil
}

// referenceHistory reads since and last of a SUB, and reports whether they are right.
func referenceHistory(members map[string]json.RawMessage, f *frame.Frame) (ok bool) {
	since, last := members["since"], members["last"]
	f.HasSince = !isNull(since)
	var p map[string]json.RawMessage
	var at uint64
	var tag *string
	if json.Unmarshal(orNull(since), &p) == nil &&
		json.Unmarshal(orNull(p["at"]), &at) == nil && at >= 1 && at < 1<<53 &&
		json.Unmarshal(orNull(p["tag"]), &tag) == nil && tag != nil && !strings.ContainsAny(*tag, "\r\n") {
		if b, err := base64.RawURLEncoding.Strict().DecodeString(*tag); err == nil && len(b) == 8 {
			f.Since = frame.Position{At: at, Tag: binary.BigEndian.Uint64(b)}
		}
	}
	if !isNull(last) && (json.Unmarshal(last, &f.Last) != nil || f.Last < 1 || f.Last > 1_000_000) {
		return false
	}
	both := f.HasSince && f.Last > 0
	return !both && !(f.Pattern && (f.HasSince || f.Last > 0))
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// The requests of juggler.0, in the same way.
func FuzzRequest0(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if mayBeDeep(text) {
			return
		}
		want, code := referenceRequest0(text)
		var got frame.Frame
		err := frame.Juggler0.DecodeRequest(bytes.Clone(text), &got)
		if refused := refusalOf(t, string(text), err); refused.Code != code {
			t.Fatalf("%q: code %d (%s), want %d", text, refused.Code, refused.Reason, code)
		}
		switch {
		case code == 400 && (got.Type != want.Type || !bytes.Equal(got.ID, want.ID)):
			t.Fatalf("%q: type %v, id %q, want %v, %q", text, got.Type, got.ID, want.Type, want.ID)
		case code == 0 && !equal(&got, &want):
			t.Fatalf("%q\nis %+v\nwant %+v", text, got, want)
		}
	})
}

// envelope0 is meta and payload of a message, the members of those that occur
// twice merged.
type envelope0 struct{ meta, payload map[string]json.RawMessage }

func (e *envelope0) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return strconv.ErrSyntax
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		var members *map[string]json.RawMessage
		switch name {
		case "meta":
			members = &e.meta
		case "payload":
			members = &e.payload
		default:
			continue
		}
		if *members == nil {
			*members = map[string]json.RawMessage{}
		}
		if string(value) == "null" {
			continue
		}
		if err := json.Unmarshal(value, members); err != nil {
			return err
		}
	}
	return nil
}

func referenceRequest0(text []byte) (f frame.Frame, code int) {
	var e envelope0
	if !utf8.Valid(text) {
		return f, 1007
	}
	if json.Unmarshal(text, &e) != nil || e.payload == nil {
		return f, 1002
	}
	var typ int
	var uuid string
	if json.Unmarshal(orNull(e.meta["type"]), &typ) != nil || json.Unmarshal(orNull(e.meta["uuid"]), &uuid) != nil {
		return f, 1002
	}
	if len(uuid) == 45 && strings.EqualFold(uuid[:9], "urn:uuid:") {
		uuid = uuid[9:]
	}
	if _, ok := frame.ParseUUID([]byte(uuid)); !ok && uuid != "" {
		return f, 1002
	}
	f.ID = []byte(strings.ToLower(uuid))

	var name string
	var badName, bad bool
	switch typ {
	case 1:
		f.Type = frame.Call
		var timeout int64
		badName = json.Unmarshal(orNull(e.payload["uri"]), &name) != nil
		bad = json.Unmarshal(orNull(e.payload["timeout"]), &timeout) != nil || timeout <= -1e6
		f.URI, f.Timeout, f.Args = []byte(name), time.Duration(timeout/1e6)*time.Millisecond, e.payload["args"]
	case 2, 3, 4:
		f.Type = []frame.Type{frame.Pub, frame.Sub, frame.Unsb}[typ-2]
		badName = json.Unmarshal(orNull(e.payload["channel"]), &name) != nil
		f.Channel = []byte(name)
		if typ == 2 {
			f.Args = e.payload["args"]
		} else {
			bad = json.Unmarshal(orNull(e.payload["pattern"]), &f.Pattern) != nil
		}
	default:
		return f, 1002
	}
	if badName || bad || name == "" {
		return f, 400
	}
	return f, 0
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}
