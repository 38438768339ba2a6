package frame_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/frame"
)

// A refusal is a message and what is said to its sender: in a NACK, if typ or
// id is set, else in the close frame.
type refusal struct {
	text   string
	reason string
	typ    frame.Type
	id     string
}

const (
	noObject  = "not a JSON object"
	noUUID    = "meta.uuid: want a UUID"
	noType0   = "meta.type: want 1, 2, 3 or 4"
	noMeta    = "meta: want an object"
	noPayload = "payload: want an object"
	noID      = "id: want a string of 1 to 64 bytes"
	noFor     = "for: want a string of 1 to 64 bytes"
	noURI     = "uri: want a string that is not empty"
	noChannel = "channel: want a string that is not empty"
	noPattern = "pattern: want true or false"
	noTime0   = "timeout: want an integer number of nanoseconds, 0 or more"
	noTime1   = "timeout: want an integer number of milliseconds, 0 or more"
	noHeaders = "headers: want an object of strings"
	reserved  = "headers: names that begin with @ are reserved"
	noParts   = "parts: want an integer of 1 to 1000000"
	noSince   = "since: want an integer of 0 to 2147483647"
	noN       = "n: want an integer of 1 or more"
	noLast    = "last: want an integer of 1 to 1000000"
	noKey     = "key: want a string of 1 to 64 bytes"
	noToken   = "token: want a string that is not empty"
)

// What is no message in either protocol.
var refusedSyntax = []refusal{
	{text: ``, reason: noObject},
	{text: " \n\t\r ", reason: noObject},
	{text: `null`, reason: noObject},
	{text: `[]`, reason: noObject},
	{text: `1`, reason: noObject},
	{text: `"{}"`, reason: noObject},
	{text: "\uFEFF{}", reason: noObject},
	{text: "\v{}", reason: noObject},
	{text: `{`, reason: "not valid JSON from byte 1 on"},
	{text: `{,}`, reason: "not valid JSON from byte 1 on"},
	{text: `{"a"`, reason: "not valid JSON from byte 4 on"},
	{text: `{"a" 1}`, reason: "not valid JSON from byte 5 on"},
	{text: `{"a":}`, reason: "not valid JSON from byte 5 on"},
	{text: `{"a":1`, reason: "not valid JSON from byte 6 on"},
	{text: `{"a":1,`, reason: "not valid JSON from byte 7 on"},
	{text: `{"a":1,}`, reason: "not valid JSON from byte 7 on"},
	{text: `{"a":1 "b":2}`, reason: "not valid JSON from byte 7 on"},
	{text: `{a:1}`, reason: "not valid JSON from byte 1 on"},
	{text: `{'a':1}`, reason: "not valid JSON from byte 1 on"},
	{text: `{"a":1]`, reason: "not valid JSON from byte 6 on"},
	{text: `{"a":[1}`, reason: "not valid JSON from byte 7 on"},
	{text: `{"a":[1,]}`, reason: "not valid JSON from byte 8 on"},
	{text: `{"a":{"b":{"c"}}}`, reason: "not valid JSON from byte 14 on"},
	{text: `{"a":01}`, reason: "not valid JSON from byte 6 on"},
	{text: `{"a":+1}`, reason: "not valid JSON from byte 5 on"},
	{text: `{"a":1.}`, reason: "not valid JSON from byte 7 on"},
	{text: `{"a":1e}`, reason: "not valid JSON from byte 7 on"},
	{text: `{"a":nul}`, reason: "not valid JSON from byte 5 on"},
	{text: `{"a":NaN}`, reason: "not valid JSON from byte 5 on"},
	{text: "{\"a\":\"\n\"}", reason: "not valid JSON from byte 6 on"},
	{text: `{"a":"\x"}`, reason: "not valid JSON from byte 7 on"},
	{text: `{"a":"\u12g4"}`, reason: "not valid JSON from byte 7 on"},
	{text: `{"a\x":1}`, reason: "not valid JSON from byte 4 on"},
	{text: `{"a":{"b\x":1}}`, reason: "not valid JSON from byte 9 on"},
	{text: `{"a":"b}`, reason: "not valid JSON from byte 8 on"},
	{text: `{"a":"b\`, reason: "not valid JSON from byte 8 on"},
	{text: `{} x`, reason: "text after the JSON object, at byte 3"},
	{text: `{}{}`, reason: "text after the JSON object, at byte 2"},
	{text: "{}\n\x00", reason: "text after the JSON object, at byte 3"},
	{text: `{"a":` + strings.Repeat("[", 512) + strings.Repeat("]", 512) + `}`, reason: "JSON nested deeper than 512"},
	{text: strings.Repeat(`{"a":`, 513) + `1` + strings.Repeat("}", 513), reason: "JSON nested deeper than 512"},
}

const (
	id0   = "13374918-84ac-47bc-b1f8-6a89a3a0ca0f"
	call0 = `{"meta":{"type":1,"uuid":"` + id0 + `"},"payload":`
	pub0  = `{"meta":{"type":2,"uuid":"` + id0 + `"},"payload":`
	sub0  = `{"meta":{"type":3,"uuid":"` + id0 + `"},"payload":`
	unsb0 = `{"meta":{"type":4,"uuid":"` + id0 + `"},"payload":`
)

var refusedRequests0 = []refusal{
	{text: `{}`, reason: noType0},
	{text: `{"payload":{"uri":"a"}}`, reason: noType0},
	{text: `{"meta":null,"payload":{"uri":"a"}}`, reason: noType0},
	{text: `{"meta":[],"payload":{"uri":"a"}}`, reason: noMeta},
	{text: `{"meta":{"type":1},"meta":1,"payload":{"uri":"a"}}`, reason: noMeta},
	{text: `{"meta":{},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":null},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":0},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":5},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":6},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":7},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":8},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":9},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":10},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":11},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":256},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":257},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":-1},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":"3"},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":"SUB"},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":3.0},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":3e0},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"type":true},"payload":{}}`, reason: noType0},
	{text: `{"meta":{"TYPE":1},"payload":{}}`, reason: noType0},
	{text: `{"type":"CALL","id":"1","uri":"a"}`, reason: noType0},
	{text: `{"meta":{"type":1,"uuid":"1"},"payload":{"uri":"a"}}`, reason: noUUID},
	{text: `{"meta":{"type":1,"uuid":5},"payload":{"uri":"a"}}`, reason: noUUID},
	{text: `{"meta":{"type":1,"uuid":" "},"payload":{"uri":"a"}}`, reason: noUUID},
	{text: `{"meta":{"type":1,"uuid":" ` + id0 + `"},"payload":{"uri":"a"}}`, reason: noUUID},
	{text: `{"meta":{"type":1,"uuid":"{` + id0 + `}"},"payload":{"uri":"a"}}`, reason: noUUID},
	{text: `{"meta":{"type":1,"uuid":"1337491884ac47bcb1f86a89a3a0ca0f"},"payload":{"uri":"a"}}`, reason: noUUID},
	{text: `{"meta":{"type":1,"uuid":"13374918-84ac-47bc-b1f8-6a89a3a0ca0g"},"payload":{"uri":"a"}}`, reason: noUUID},
	{text: `{"meta":{"type":1,"uuid":"urn-uuid:` + id0 + `"},"payload":{"uri":"a"}}`, reason: noUUID},
	{text: `{"meta":{"type":1,"uuid":"` + id0 + `"}}`, reason: noPayload},
	{text: `{"meta":{"type":1,"uuid":"` + id0 + `"},"payload":[]}`, reason: noPayload},
	{text: `{"meta":{"type":1,"uuid":"` + id0 + `"},"payload":"a"}`, reason: noPayload},
	{text: `{"meta":{"type":1,"uuid":"` + id0 + `"},"payload":{"uri":"a"},"payload":0}`, reason: noPayload},

	{text: pub0 + `{"channel":"a","args":` + strings.Repeat("[", 511) + strings.Repeat("]", 511) + `}}`, reason: "JSON nested deeper than 512"},

	{text: call0 + `null}`, reason: noURI, typ: frame.Call, id: id0},
	{text: call0 + `{}}`, reason: noURI, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":null}}`, reason: noURI, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":""}}`, reason: noURI, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":1}}`, reason: noURI, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":["a"]}}`, reason: noURI, typ: frame.Call, id: id0},
	{text: call0 + `{"URI":"a"}}`, reason: noURI, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":"a","uri":null}}`, reason: noURI, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":"a","timeout":"1s"}}`, reason: noTime0, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":"a","timeout":1.5}}`, reason: noTime0, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":"a","timeout":1e9}}`, reason: noTime0, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":"a","timeout":9223372036854775808}}`, reason: noTime0, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":"a","timeout":-1000000}}`, reason: noTime0, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":"a","timeout":-9223372036854775808}}`, reason: noTime0, typ: frame.Call, id: id0},
	{text: call0 + `{"uri":"a","timeout":-9223372036854775809}}`, reason: noTime0, typ: frame.Call, id: id0},
	{text: pub0 + `{}}`, reason: noChannel, typ: frame.Pub, id: id0},
	{text: pub0 + `null}`, reason: noChannel, typ: frame.Pub, id: id0},
	{text: pub0 + `{"channel":null}}`, reason: noChannel, typ: frame.Pub, id: id0},
	{text: pub0 + `{"channel":""}}`, reason: noChannel, typ: frame.Pub, id: id0},
	{text: pub0 + `{"channel":{}}}`, reason: noChannel, typ: frame.Pub, id: id0},
	{text: sub0 + `{"pattern":true}}`, reason: noChannel, typ: frame.Sub, id: id0},
	{text: sub0 + `{"channel":""}}`, reason: noChannel, typ: frame.Sub, id: id0},
	{text: sub0 + `{"channel":"a","pattern":1}}`, reason: noPattern, typ: frame.Sub, id: id0},
	{text: unsb0 + `{}}`, reason: noChannel, typ: frame.Unsb, id: id0},
	{text: unsb0 + `{"channel":"a","pattern":"true"}}`, reason: noPattern, typ: frame.Unsb, id: id0},
	{text: `{"meta":{"type":1},"payload":{}}`, reason: noURI, typ: frame.Call},
	{text: `{"meta":{"type":1,"uuid":""},"payload":null}`, reason: noURI, typ: frame.Call},
}

var longID = strings.Repeat("x", frame.MaxID+1)

var refusedRequests1 = []refusal{
	{text: `{}`, reason: noID},
	{text: `{"type":"CALL","uri":"a"}`, reason: noID},
	{text: `{"type":"CALL","id":null,"uri":"a"}`, reason: noID},
	{text: `{"type":"CALL","id":"","uri":"a"}`, reason: noID},
	{text: `{"type":"CALL","id":1,"uri":"a"}`, reason: noID},
	{text: `{"type":"CALL","id":["1"],"uri":"a"}`, reason: noID},
	{text: `{"type":"CALL","ID":"1","uri":"a"}`, reason: noID},
	{text: `{"type":"CALL","id":"` + longID + `","uri":"a"}`, reason: noID},
	{text: `{"type":"CALL","id":"1","id":2,"uri":"a"}`, reason: noID},
	{text: `{"type":"NONE"}`, reason: noID},
	{text: `{"meta":{"type":1,"uuid":"` + id0 + `"},"payload":{"uri":"a"}}`, reason: noID},
	{text: `{"type":"CANCEL"}`, reason: noFor},
	{text: `{"type":"CANCEL","id":"1"}`, reason: noFor},
	{text: `{"type":"CANCEL","for":""}`, reason: noFor},
	{text: `{"type":"CANCEL","for":1}`, reason: noFor},
	{text: `{"type":"CANCEL","for":"` + longID + `"}`, reason: noFor},
	{text: `{"type":"CANCEL","for":"1","stop":1}`, reason: "stop: want true or false"},
	{text: `{"type":"MORE","parts":1}`, reason: noFor},
	{text: `{"type":"MORE","for":"1"}`, reason: noParts},
	{text: `{"type":"MORE","for":"1","parts":null}`, reason: noParts},
	{text: `{"type":"MORE","for":"1","parts":0}`, reason: noParts},
	{text: `{"type":"MORE","for":"1","parts":1e3}`, reason: noParts},
	{text: `{"type":"MORE","for":"1","parts":99999999999999999999}`, reason: noParts},

	{text: `{"id":"1","type":"SUB","channel":"\u0000a"}`, reason: "channel: the name begins with a zero byte", typ: frame.Sub, id: "1"},
	{text: `{"id":"1","type":"UNSB","channel":"\u0000*","pattern":true}`, reason: "channel: the name begins with a zero byte", typ: frame.Unsb, id: "1"},
	{text: `{"id":"1","type":"PUB","channel":"\u0000a"}`, reason: "channel: the name begins with a zero byte", typ: frame.Pub, id: "1"},
	{text: `{"id":"1","type":"SUB","channel":"a","own":1}`, reason: "own: want true or false", typ: frame.Sub, id: "1"},
	{text: `{"id":"1","type":"SUB","channel":"a","here":1}`, reason: "here: want true or false", typ: frame.Sub, id: "1"},
	{text: `{"id":"1","type":"SUB","channel":"a","here":true,"pattern":true}`, reason: "here: not with a pattern", typ: frame.Sub, id: "1"},
	{text: `{"id":"1","type":"SUB","channel":"a","here":true,"own":true}`, reason: "here: not with own", typ: frame.Sub, id: "1"},

	{text: `{"id":"1"}`, reason: "type: want a string", id: "1"},
	{text: `{"id":"1","type":null}`, reason: "type: want a string", id: "1"},
	{text: `{"id":"1","type":1}`, reason: "type: want a string", id: "1"},
	{text: `{"id":"1","type":""}`, reason: `unknown type ""`, id: "1"},
	{text: `{"id":"1","type":"call"}`, reason: `unknown type "call"`, id: "1"},
	{text: `{"id":"1","type":"ACK"}`, reason: `unknown type "ACK"`, id: "1"},
	{text: `{"id":"1","type":"` + longID + `"}`, reason: `unknown type "xxxxxxxxxx"`, id: "1"},
	{text: `{"id":"1","type":"\u0000\ud83d\ude00é\""}`, reason: `unknown type "\x00\U0001f600\u00e9\""`, id: "1"},
	{text: `{"id":"1","type":"` + strings.Repeat("\U0010ffff", 100) + `"}`, reason: `unknown type "` + strings.Repeat(`\U0010ffff`, 10) + `"`, id: "1"},
	{text: `{"type":"CALL","id":"1"}`, reason: noURI, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":null}`, reason: noURI, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":""}`, reason: noURI, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":1}`, reason: noURI, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","timeout":-1}`, reason: noTime1, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","timeout":"1"}`, reason: noTime1, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","timeout":1.0}`, reason: noTime1, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","timeout":1e3}`, reason: noTime1, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","timeout":9223372036855}`, reason: noTime1, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","timeout":99999999999999999999}`, reason: noTime1, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","headers":[]}`, reason: noHeaders, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","headers":"{}"}`, reason: noHeaders, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","headers":{"a":1}}`, reason: noHeaders, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","headers":{"a":"b","c":null}}`, reason: noHeaders, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","headers":{"a":{"b":"c"}}}`, reason: noHeaders, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","headers":{"a":"b","@c":"d"}}`, reason: reserved, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","headers":{"\u0040":"d"}}`, reason: reserved, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","parts":0}`, reason: noParts, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","parts":-1}`, reason: noParts, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","parts":1000001}`, reason: noParts, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","parts":true}`, reason: noParts, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","key":""}`, reason: noKey, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","key":7,"since":1}`, reason: noKey, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","since":1}`, reason: "since: not without a key", typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","key":"k","since":-1}`, reason: noSince, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","key":"k","since":1.5}`, reason: noSince, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","key":"k","since":2147483648}`, reason: noSince, typ: frame.Call, id: "1"},
	{text: `{"type":"CALL","id":"1","uri":"a","key":"k","since":{"at":1}}`, reason: noSince, typ: frame.Call, id: "1"},
	{text: `{"type":"SUB","id":"1"}`, reason: noChannel, typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":""}`, reason: noChannel, typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a","pattern":0}`, reason: noPattern, typ: frame.Sub, id: "1"},
	{text: `{"type":"UNSB","id":"1","channel":1}`, reason: noChannel, typ: frame.Unsb, id: "1"},
	{text: `{"type":"UNSB","id":"1","channel":"a","pattern":"a"}`, reason: noPattern, typ: frame.Unsb, id: "1"},
	{text: `{"type":"PUB","id":"1","args":1}`, reason: noChannel, typ: frame.Pub, id: "1"},
	{text: `{"type":"PUB","id":"1","channel":"a","headers":true}`, reason: noHeaders, typ: frame.Pub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a","last":0}`, reason: noLast, typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a","last":-1}`, reason: noLast, typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a","last":1000001}`, reason: noLast, typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a","last":99999999999999999999}`, reason: noLast, typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a","last":1.0}`, reason: noLast, typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a","last":"1"}`, reason: noLast, typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a","last":1,"since":{"at":1,"tag":"AAAAAAAAAAE"}}`, reason: "since, last: want one of them", typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a","last":1,"since":7}`, reason: "since, last: want one of them", typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a*","pattern":true,"since":{}}`, reason: "since: not with a pattern", typ: frame.Sub, id: "1"},
	{text: `{"type":"SUB","id":"1","channel":"a*","pattern":true,"last":1}`, reason: "last: not with a pattern", typ: frame.Sub, id: "1"},
	{text: `{"type":"PUB","id":"1","channel":"a","key":""}`, reason: noKey, typ: frame.Pub, id: "1"},
	{text: `{"type":"PUB","id":"1","channel":"a","key":7}`, reason: noKey, typ: frame.Pub, id: "1"},
	{text: `{"type":"PUB","id":"1","channel":"a","key":"` + longID + `"}`, reason: noKey, typ: frame.Pub, id: "1"},
	{text: `{"type":"PUB","id":"1","channel":"a","key":"` + strings.Repeat("é", 33) + `"}`, reason: noKey, typ: frame.Pub, id: "1"},
	{text: `{"type":"PUB","id":"1","channel":"a","key":"k","again":1}`, reason: "again: want true or false", typ: frame.Pub, id: "1"},
	{text: `{"type":"AUTH","id":"1"}`, reason: noToken, typ: frame.Auth, id: "1"},
	{text: `{"type":"AUTH","id":"1","token":""}`, reason: noToken, typ: frame.Auth, id: "1"},
	{text: `{"type":"AUTH","id":"1","token":{}}`, reason: noToken, typ: frame.Auth, id: "1"},
}

func TestRefusedRequests(t *testing.T) {
	for _, table := range []struct {
		p        frame.Protocol
		refusals []refusal
	}{
		{frame.Juggler0, refusedSyntax}, {frame.Juggler0, refusedRequests0},
		{frame.Juggler1, refusedSyntax}, {frame.Juggler1, refusedRequests1},
	} {
		for _, r := range table.refusals {
			want := frame.DecodeError{Code: 1002, Reason: r.reason}
			if r.typ != frame.Invalid || r.id != "" {
				want = frame.DecodeError{Nack: true, Code: 400, Reason: r.reason}
			}
			var f frame.Frame
			got := refusalOf(t, r.text, table.p.DecodeRequest([]byte(r.text), &f))
			if got != want {
				t.Errorf("%v: %.200q\nrefused with %+v\nwant         %+v", table.p, r.text, got, want)
			}
			if got.Nack && (f.Type != r.typ || string(f.ID) != r.id) {
				t.Errorf("%v: %.200q\nType %v, ID %q", table.p, r.text, f.Type, f.ID)
			}
		}
	}
}

const (
	answerID = `"for":"63b189cb-516e-4b1e-9270-ac089f10babc"`
	aULID    = "01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"
)

var refusedAnswers0 = []refusal{
	{text: `{}`, reason: "meta.type: want 7, 8, 9 or 10"},
	{text: `{"meta":{"type":1},"payload":{"uri":"a"}}`, reason: "meta.type: want 7, 8, 9 or 10"},
	{text: `{"meta":{"type":11},"payload":{}}`, reason: "meta.type: want 7, 8, 9 or 10"},
	{text: `{"meta":{"type":9,"uuid":"x"},"payload":{}}`, reason: noUUID},
	{text: `{"meta":{"type":9},"payload":{"for":"x"}}`, reason: "for: want a UUID"},
	{text: `{"meta":{"type":9},"payload":{"for":1}}`, reason: "for: want a UUID"},
	{text: `{"meta":{"type":9},"payload":{` + answerID + `,"uri":1}}`, reason: "uri: want a string"},
	{text: `{"meta":{"type":8},"payload":{` + answerID + `,"channel":1}}`, reason: "channel: want a string"},
	{text: `{"meta":{"type":8},"payload":{` + answerID + `,"for_type":9}}`, reason: "for_type: want 1, 2, 3 or 4"},
	{text: `{"meta":{"type":8},"payload":{` + answerID + `,"for_type":"1"}}`, reason: "for_type: want 1, 2, 3 or 4"},
	{text: `{"meta":{"type":7},"payload":{` + answerID + `,"code":"500"}}`, reason: "code: want an integer"},
	{text: `{"meta":{"type":7},"payload":{` + answerID + `,"code":9223372036854775808}}`, reason: "code: want an integer"},
	{text: `{"meta":{"type":7},"payload":{` + answerID + `,"message":5}}`, reason: "message: want a string"},
	{text: `{"meta":{"type":10},"payload":{` + answerID + `,"channel":[]}}`, reason: "channel: want a string"},
	{text: `{"meta":{"type":10},"payload":{` + answerID + `,"pattern":true}}`, reason: "pattern: want a string"},
}

var refusedAnswers1 = []refusal{
	{text: `{}`, reason: "type: want a string"},
	{text: `{"type":1}`, reason: "type: want a string"},
	{text: `{"type":"CALL","id":"1","uri":"a"}`, reason: `unknown type "CALL"`},
	{text: `{"type":"ACK"}`, reason: noFor},
	{text: `{"type":"ACK","for":""}`, reason: noFor},
	{text: `{"type":"ACK","for":"` + longID + `"}`, reason: noFor},
	{text: `{"type":"ACK","for":"1","expires":-1}`, reason: "expires: want an integer number of milliseconds, 0 or more"},
	{text: `{"type":"ACK","for":"1","keys":1}`, reason: "keys: want true or false"},
	{text: `{"type":"ACK","for":"1","state":1}`, reason: "state: want a string"},
	{text: `{"type":"ACK","for":"1","state":"done","from":0}`, reason: "from: want an integer of 1 or more"},
	{text: `{"type":"ACK","for":"1","keyed":0}`, reason: "keyed: want true or false"},
	{text: `{"type":"ACK","for":"1","count":-1}`, reason: "count: want an integer, 0 or more"},
	{text: `{"type":"ACK","for":"1","here":true}`, reason: "here: want an array of objects with user and n"},
	{text: `{"type":"ACK","for":"1","here":[{"user":"","n":1}]}`, reason: "here: want an array of objects with user and n"},
	{text: `{"type":"HERE","channel":"a","join":[{"user":"u","n":0}]}`, reason: "join: want an array of objects with user and n"},
	{text: `{"type":"HERE","channel":"a","join":[1]}`, reason: "join: want an array of objects with user and n"},
	{text: `{"type":"HERE","channel":"a","leave":[1]}`, reason: "leave: want an array of strings"},
	{text: `{"type":"HERE","channel":"a","leave":{}}`, reason: "leave: want an array of strings"},
	{text: `{"type":"HERE"}`, reason: "channel: want a string that is not empty"},
	{text: `{"type":"SUBS","channel":"a","own":1}`, reason: "own: want true or false"},
	{text: `{"type":"UNSS","channel":"a"}`, reason: "error: want an object"},
	{text: `{"type":"ACK","for":"1","recovered":"true"}`, reason: "recovered: want true or false"},
	{text: `{"type":"NACK","for":"1"}`, reason: "error: want an object"},
	{text: `{"type":"NACK","for":"1","error":null}`, reason: "error: want an object"},
	{text: `{"type":"NACK","for":"1","error":{}}`, reason: "error.code: want an integer other than 0"},
	{text: `{"type":"NACK","for":"1","error":{"code":"400"}}`, reason: "error.code: want an integer other than 0"},
	{text: `{"type":"NACK","for":"1","error":{"code":400,"message":1}}`, reason: "error.message: want a string"},
	{text: `{"type":"NACK","for":"1","error":{"code":400,"retry_after":1.5}}`, reason: "error.retry_after: want an integer number of milliseconds, 0 or more"},
	{text: `{"type":"RES","for":1,"args":3}`, reason: noFor},
	{text: `{"type":"RES","for":"1","error":"no"}`, reason: "error: want an object"},
	{text: `{"type":"RES","for":"1","error":{"code":0}}`, reason: "error.code: want an integer other than 0"},
	{text: `{"type":"PART","n":1}`, reason: noFor},
	{text: `{"type":"PART","for":"1"}`, reason: noN},
	{text: `{"type":"PART","for":"1","n":0}`, reason: noN},
	{text: `{"type":"PART","for":"1","n":"1"}`, reason: noN},
	{text: `{"type":"EVNT","channel":"a"}`, reason: "id: want a ULID"},
	{text: `{"type":"EVNT","id":1,"channel":"a"}`, reason: "id: want a ULID"},
	{text: `{"type":"EVNT","id":"` + id0 + `","channel":"a"}`, reason: "id: want a ULID"},
	{text: `{"type":"EVNT","id":"` + aULID + `"}`, reason: noChannel},
	{text: `{"type":"EVNT","id":"` + aULID + `","channel":"a","pattern":true}`, reason: "pattern: want a string"},
	{text: `{"type":"EVNT","id":"` + aULID + `","channel":"a","headers":{"a":1}}`, reason: noHeaders},
	{text: `{"type":"GAP"}`, reason: noChannel},
	{text: `{"type":"GAP","channel":"a","pattern":"a"}`, reason: noPattern},
	{text: `{"type":"GOAWAY","after":"1"}`, reason: "after: want an integer number of milliseconds, 0 or more"},
	{text: `{"type":"GOAWAY","after":1,"message":1}`, reason: "message: want a string"},
	{text: `{"type":"HELLO"}`, reason: "session: want a ULID"},
	{text: `{"type":"HELLO","session":"` + aULID + `"}`, reason: "node: want a ULID"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","ping":"1"}`, reason: "ping: want an integer number of milliseconds, 0 or more"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","expires":[]}`, reason: "expires: want an integer number of milliseconds, 0 or more"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","keys":"yes"}`, reason: "keys: want true or false"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":1}`, reason: "limits: want an object"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"calls":-1}}`, reason: "limits: want integers, 0 or more"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"message":"1"}}`, reason: "limits: want integers, 0 or more"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"timeout":-1}}`, reason: "limits.timeout: want an integer number of milliseconds, 0 or more"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"rates":1}}`, reason: "limits.rates: want objects with per_second and burst, integers above 0"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"rates":{"messages":1}}}`, reason: "limits.rates: want objects with per_second and burst, integers above 0"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"rates":{"messages":{}}}}`, reason: "limits.rates: want objects with per_second and burst, integers above 0"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"rates":{"messages":{"per_second":1}}}}`, reason: "limits.rates: want objects with per_second and burst, integers above 0"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"rates":{"calls":{"per_second":0,"burst":1}}}}`, reason: "limits.rates: want objects with per_second and burst, integers above 0"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"rates":{"calls":{"per_second":1,"burst":-1}}}}`, reason: "limits.rates: want objects with per_second and burst, integers above 0"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"rates":{"subscriptions":{"per_second":"1","burst":1}}}}`, reason: "limits.rates: want objects with per_second and burst, integers above 0"},
	{text: `{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":{"rates":{"publications":{"per_second":1,"burst":99999999999999999999}}}}`, reason: "limits.rates: want objects with per_second and burst, integers above 0"},
}

var unknownAnswers = []struct{ text, typ string }{
	{`{"type":"NEWS"}`, "NEWS"},
	{`{"type":"ack","for":7}`, "ack"},
	{`{"type":"\u004eEWS"}`, "NEWS"},
	{`{"id":5,"type":"","error":{}}`, ""},
}

// A message that a later server may send does not cost an older client its
// connection. Nothing is read of it but its type.
func TestUnknownAnswers(t *testing.T) {
	for _, a := range unknownAnswers {
		var f frame.Frame
		err := frame.Juggler1.DecodeAnswer([]byte(a.text), &f)
		if want := (frame.Frame{Message: []byte(a.typ)}); err != nil || !equal(&f, &want) {
			t.Errorf("%s: %+v, %v", a.text, f, err)
		}
	}
}

func TestRefusedAnswers(t *testing.T) {
	for _, table := range []struct {
		p        frame.Protocol
		refusals []refusal
	}{
		{frame.Juggler0, refusedSyntax}, {frame.Juggler0, refusedAnswers0},
		{frame.Juggler1, refusedSyntax}, {frame.Juggler1, refusedAnswers1},
	} {
		for _, r := range table.refusals {
			want := frame.DecodeError{Code: 1002, Reason: r.reason}
			var f frame.Frame
			if got := refusalOf(t, r.text, table.p.DecodeAnswer([]byte(r.text), &f)); got != want {
				t.Errorf("%v: %.200q\nrefused with %+v\nwant         %+v", table.p, r.text, got, want)
			}
		}
	}
}

// Text that is not UTF-8 closes with 1007 wherever it is, also where it is
// not JSON.
func TestRefusesInvalidUTF8(t *testing.T) {
	for _, text := range []string{
		"\xff",
		"{\"type\":\"CALL\",\"id\":\"1\",\"uri\":\"a\xff\"}",
		"{\"type\":\"CALL\",\"id\":\"1\",\"uri\":\"a\",\"args\":\"\xed\xa0\x80\"}", // a surrogate
		"{\"type\":\"CALL\",\"id\":\"1\",\"uri\":\"a\",\"\xc0\xaf\":1}",            // an overlong slash
		"{\"type\":\"CALL\",\"id\":\"1\",\"uri\":\"a\xc3\"}",                       // cut off
		"{\"type\":\"CALL\",\"id\":\"1\",\"uri\":\"a\"}\x80",
		"{\"type\":CALL,\"id\":\"\xf5\"}",
		"{\"meta\":{\"type\":1},\"payload\":{\"uri\":\"a\xff\"}}",
	} {
		for _, p := range []frame.Protocol{frame.Juggler0, frame.Juggler1} {
			want := frame.DecodeError{Code: 1007, Reason: "not valid UTF-8"}
			var f frame.Frame
			if got := refusalOf(t, text, p.DecodeRequest([]byte(text), &f)); got != want {
				t.Errorf("%v: request %q: %+v", p, text, got)
			}
			if got := refusalOf(t, text, p.DecodeAnswer([]byte(text), &f)); got != want {
				t.Errorf("%v: answer %q: %+v", p, text, got)
			}
		}
	}
}

// refusalOf returns the DecodeError that err is, after a look at what all of
// them have in common.
func refusalOf(t *testing.T, text string, err error) frame.DecodeError {
	t.Helper()
	if err == nil {
		return frame.DecodeError{Reason: "not refused"}
	}
	var refused *frame.DecodeError
	if !errors.As(err, &refused) {
		t.Fatalf("%.200q: %T is not a *DecodeError", text, err)
	}
	if len(refused.Reason) > 120 {
		t.Errorf("%.200q: the reason has %d bytes: %s", text, len(refused.Reason), refused.Reason)
	}
	if err.Error() != refused.Reason {
		t.Errorf("Error() is %q, Reason %q", err.Error(), refused.Reason)
	}
	return *refused
}
