package frame_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/juggler-go/juggler/frame"
)

// addMessages adds every message of the tables of this package.
func addMessages(f *testing.F) {
	for _, table := range [][]golden{
		golden0, golden1, acceptedRequests0, acceptedRequests1, acceptedAnswers0, acceptedAnswers1,
	} {
		for _, m := range table {
			f.Add([]byte(m.text))
		}
	}
	for _, table := range [][]refusal{
		refusedSyntax, refusedRequests0, refusedRequests1, refusedAnswers0, refusedAnswers1,
	} {
		for _, m := range table {
			if len(m.text) < 5000 {
				f.Add([]byte(m.text))
			}
		}
	}
	f.Add([]byte("{\"type\":\"CALL\",\"id\":\"1\",\"uri\":\"a\xff\"}"))
}

// Whatever comes in, nothing panics, every slice that comes out lies in the
// buffer without room to grow into its neighbour, and what was accepted is
// the same after it was encoded and decoded again.
func FuzzDecode(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, p := range []frame.Protocol{frame.Juggler0, frame.Juggler1} {
			for _, decode := range []func(frame.Protocol, []byte, *frame.Frame) error{
				frame.Protocol.DecodeRequest, frame.Protocol.DecodeAnswer,
			} {
				b := bytes.Clone(text)
				var got frame.Frame
				if err := decode(p, b, &got); err != nil {
					refusalOf(t, string(text), err)
					continue
				}
				checkBorrowed(t, b, &got)
				if got.Type == frame.Invalid { // an answer that is to be ignored
					if p == frame.Juggler0 || got.Message == nil {
						t.Fatalf("%v: %q is not refused", p, text)
					}
					continue
				}
				encoded := p.Append(nil, &got)
				var again frame.Frame
				if err := decode(p, encoded, &again); err != nil {
					t.Fatalf("%v: %q\nencoded as %q\nis refused: %v", p, text, encoded, err)
				}
				want := got
				asEncoded(p, &want)
				if !equal(&again, &want) {
					t.Fatalf("%v: %q\nencoded as %q\nis %+v\nwant %+v", p, text, encoded, again, want)
				}
			}
		}
	})
}

// checkBorrowed reports slices of f that are not parts of b.
func checkBorrowed(t *testing.T, b []byte, f *frame.Frame) {
	t.Helper()
	from := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for _, s := range slicesOf(f) {
		if len(*s) == 0 {
			continue
		}
		at := uintptr(unsafe.Pointer(unsafe.SliceData(*s)))
		if at < from || at+uintptr(len(*s)) > from+uintptr(len(b)) {
			t.Fatalf("%q is not in the buffer", *s)
		}
		if at+uintptr(cap(*s)) > from+uintptr(len(b)) {
			t.Fatalf("%q can grow beyond the buffer", *s)
		}
		for _, other := range slicesOf(f) {
			o := uintptr(unsafe.Pointer(unsafe.SliceData(*other)))
			if len(*other) > 0 && o > at && o < at+uintptr(cap(*s)) {
				t.Fatalf("%q can grow into %q", *s, *other)
			}
		}
	}
}

// asEncoded makes f what a decoder sees of it in p after Append.
func asEncoded(p frame.Protocol, f *frame.Frame) {
	if len(f.Args) == 0 && (f.Type == frame.Evnt || f.Type == frame.Part || f.Type == frame.Res && f.Err.Code == 0) {
		f.Args = []byte("null")
	}
	if p == frame.Juggler1 {
		return
	}
	if len(f.Args) == 0 && (f.Type == frame.Call || f.Type == frame.Pub) {
		f.Args = []byte("null")
	}
	if len(f.Args) > 0 {
		compact, err := json.Marshal(json.RawMessage(f.Args))
		if err != nil {
			panic(err) // a decoder let it through
		}
		f.Args = compact
	}
}

// Every frame arrives as it was sent, in both protocols.
func FuzzRoundTrip(f *testing.F) {
	f.Add(byte(frame.Call), "1", "math.add", "a*", "[1,2]", "user", "7", int64(5000), 503, []byte("0123456789abcdef"))
	for i, typ := range []frame.Type{frame.Call, frame.More, frame.Part, frame.Sub, frame.Pub, frame.Ack, frame.Evnt, frame.Gap, frame.Subs, frame.Unss, frame.Here} {
		f.Add(byte(typ), "1", "room.7", "", "1", "", "", int64(57), 2*i, []byte("0123456789abcdef"))
	}
	f.Add(byte(frame.Evnt), "\x00\"\\", "<\u2028>", "", " { } ", "", "😀", int64(-1), -1, []byte{})
	f.Fuzz(func(t *testing.T, typ byte, id, name, other, args, header, value string, ms int64, n int, id16 []byte) {
		if !frame.ValidJSON([]byte(args)) || mayBeDeep([]byte(args)) {
			args = ""
		}
		args = strings.Trim(args, " \t\r\n") // space around a value is not a part of it
		ms = max(0, min(ms, math.MaxInt64/int64(time.Millisecond)))
		utf := func(s string) []byte { return []byte(string([]rune(s))) }
		sent := frame.Frame{
			ID: utf("i" + id[:min(len(id), 20)]), For: utf("f" + id[:min(len(id), 20)]), ForType: frame.Pub,
			URI: utf("u" + name), Channel: utf("c" + name), Pattern: n&1 == 1, Matched: utf(other),
			Timeout: time.Duration(ms) * time.Millisecond, Args: []byte(args),
			Headers: frame.AppendHeaders(nil, map[string]string{"h" + string(utf(header)): string(utf(value))}),
			Key:     utf("k" + id[:min(len(id), 20)]), Again: n&1 == 1, Keys: n&2 == 2, Recovery: frame.Recovery(n & 2),
			Token: utf("t" + other), After: time.Duration(ms) * time.Millisecond,
			Expires: time.Duration(ms) * time.Millisecond, Message: utf(other),
			Err: frame.ErrorBody{
				Code: n, Message: utf(value), Data: []byte(args), RetryAfter: time.Duration(ms) * time.Millisecond,
			},
			Hello: frame.HelloBody{
				Ping: time.Duration(ms) * time.Millisecond, Expires: time.Duration(ms) * time.Millisecond,
				Keys: n&2 == 2, Keyed: n&1 == 1, Here: n&4 == 4,
				MaxMessage: max(n, 0), MaxSubscriptions: 7, MaxCalls: math.MaxInt32, MaxCallTimeout: time.Duration(ms) * time.Millisecond,
				MaxCallsPerURI: max(n, 0), Rates: frame.HelloRates{Calls: frame.Rate{PerSecond: int(ms&0xfff) + 1, Burst: int(ms&0xffff) + 1}},
			},
		}
		for _, id := range []*[16]byte{&sent.UUID, &sent.Publication, &sent.Hello.Session, &sent.Hello.Node} {
			copy(id[:], id16)
		}
		tag := binary.BigEndian.Uint64(sent.UUID[:8])
		sent.Pos = frame.Position{At: uint64(ms)&(1<<53-1) | 1, Tag: tag}
		sent.Parts, sent.N = 1+int(tag%frame.MaxParts), 1+int(tag>>34)
		sent.Stop, sent.Keyed, sent.State = n&1 == 1, n&1 == 1, frame.State(tag%4)
		sent.Own, sent.WantsHere = n&4 == 4, n&5 == 0
		sent.Count, sent.HasCount = max(n, 0), n&8 == 8
		sent.Joined = frame.AppendMember(nil, frame.Member{User: "u" + name, Sessions: 1 + int(tag>>34), Info: sent.Args})
		sent.Members = append(frame.AppendMember(bytes.Clone(sent.Joined), frame.Member{User: "v", Sessions: 1}), ']')
		sent.Joined = append(sent.Joined, ']')
		sent.Left = append(frame.AppendUser(nil, "w"+value), ']')
		switch {
		case sent.Pattern: // a SUB of one asks for nothing that is kept
		case n&2 == 2:
			sent.HasSince, sent.Since = true, sent.Pos
		default:
			sent.Last = 1 + int(tag%frame.MaxLast)
		}
		for _, p := range []frame.Protocol{frame.Juggler0, frame.Juggler1} {
			want := only(p, frame.Type(typ%(byte(frame.GoAway)+1)), &sent)
			encoded := p.Append(nil, &want)
			if want.Type == frame.Invalid {
				if len(encoded) > 0 {
					t.Fatalf("%v: %q is written for a type that it does not have", p, encoded)
				}
				continue
			}
			// The other fields of sent are not this type's.
			full := sent
			full.Type, full.ID, full.For, full.Err.Code = want.Type, want.ID, want.For, want.Err.Code
			if same := p.Append(nil, &full); !bytes.Equal(same, encoded) {
				t.Fatalf("%v: fields that the type does not have are written: %q, %q", p, same, encoded)
			}
			asEncoded(p, &want)
			var got frame.Frame
			if err := decode(p, want.Type, bytes.Clone(encoded), &got); err != nil {
				t.Fatalf("%v: %q: %v", p, encoded, err)
			}
			if !equal(&got, &want) {
				t.Fatalf("%v: %q\nis %+v\nwant %+v", p, encoded, got, want)
			}
		}
	})
}

// counted returns the Count that is written.
func counted(f *frame.Frame) int {
	if f.HasCount {
		return f.Count
	}
	return 0
}

// only returns what a message of type typ has of f in p, a zero Frame if p
// does not have the type.
func only(p frame.Protocol, typ frame.Type, f *frame.Frame) frame.Frame {
	zero := p == frame.Juggler0
	id, forID := f.ID, f.For
	if zero {
		id = frame.AppendUUID(nil, f.UUID)
		forID = id
	}
	switch typ {
	case frame.Call, frame.Pub:
		only := frame.Frame{Type: typ, ID: id, Args: f.Args}
		if typ == frame.Call {
			only.URI, only.Timeout = f.URI, f.Timeout
		} else {
			only.Channel = f.Channel
		}
		if !zero {
			only.Headers = f.Headers
			if typ == frame.Pub {
				only.Key, only.Again = f.Key, f.Again
			} else {
				only.Parts, only.Key = f.Parts, f.Key
				if f.HasSince {
					only.HasSince, only.N = true, f.N
				}
			}
		}
		return only
	case frame.Sub, frame.Unsb:
		only := frame.Frame{Type: typ, ID: id, Channel: f.Channel, Pattern: f.Pattern}
		if typ == frame.Sub && !zero {
			only.HasSince, only.Since, only.Last = f.HasSince, f.Since, f.Last
			only.Own, only.WantsHere = f.Own, f.WantsHere
		}
		return only
	case frame.Ack, frame.Nack, frame.Res:
		only := frame.Frame{Type: typ, For: forID}
		if zero {
			only.UUID, only.URI = f.UUID, f.URI
			if typ != frame.Res {
				only.ForType, only.Channel = f.ForType, f.Channel
			}
		} else if typ == frame.Ack {
			only.Expires, only.Keys, only.Keyed = f.Expires, f.Keys, f.Keyed
			only.Pos, only.Recovery = f.Pos, f.Recovery
			only.Members, only.Count, only.HasCount = f.Members, counted(f), f.HasCount
			if only.State = f.State; f.State != frame.NoState {
				only.N = f.N
			}
		}
		switch {
		case typ == frame.Nack && zero:
			only.Err = frame.ErrorBody{Code: f.Err.Code, Message: f.Err.Message}
		case typ == frame.Nack, typ == frame.Res && !zero && f.Err.Code != 0:
			only.Err = f.Err
			only.Err.Code = cmp.Or(f.Err.Code, 400)
		case typ == frame.Res:
			only.Args = f.Args
		}
		return only
	case frame.Evnt:
		only := frame.Frame{Type: typ, Publication: f.Publication, Channel: f.Channel, Matched: f.Matched, Args: f.Args}
		if zero {
			only.UUID = f.UUID
		} else {
			only.Headers, only.Own = f.Headers, f.Own
			if len(f.Matched) == 0 {
				only.Pos = f.Pos
			}
		}
		return only
	}
	if zero {
		return frame.Frame{}
	}
	switch typ {
	case frame.Cancel:
		return frame.Frame{Type: typ, For: forID, Stop: f.Stop}
	case frame.More:
		return frame.Frame{Type: typ, For: forID, Parts: f.Parts}
	case frame.Part:
		return frame.Frame{Type: typ, For: forID, N: f.N, Args: f.Args}
	case frame.Auth:
		return frame.Frame{Type: typ, ID: id, Token: f.Token}
	case frame.Hello:
		return frame.Frame{Type: typ, Hello: f.Hello}
	case frame.Unss:
		only := frame.Frame{Type: typ, Channel: f.Channel, Pattern: f.Pattern, Own: f.Own, Err: f.Err}
		only.Err.Code = cmp.Or(f.Err.Code, 400)
		return only
	case frame.Here:
		return frame.Frame{
			Type: typ, Channel: f.Channel, Members: f.Members, Joined: f.Joined, Left: f.Left, Count: counted(f), HasCount: f.HasCount,
		}
	case frame.Gap, frame.Subs:
		only := frame.Frame{Type: typ, Channel: f.Channel, Pattern: f.Pattern, Own: f.Own}
		if !f.Pattern {
			only.Pos = f.Pos
		}
		return only
	case frame.GoAway:
		return frame.Frame{Type: typ, After: f.After, Message: f.Message}
	}
	return frame.Frame{Type: typ}
}
