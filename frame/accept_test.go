package frame_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// Requests that clients other than ours may send, or that are on the edge.
var acceptedRequests0 = []golden{
	{ // any order of keys, unknown ones, white space
		" {\n\t\"more\": [{}, {\"a\": [[]]}],\r\n \"payload\" : { \"args\" : { \"a\" : 1 } , \"more\":1, \"uri\" : \"a\" } , \"meta\" : { \"uuid\" : \"" + id0 + "\", \"type\" : 1 , \"more\":null } } \r\n",
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a"), Args: []byte(`{ "a" : 1 }`)},
	},
	{ // keys with escapes
		`{"m\u0065ta":{"t\u0079pe":1},"\u0070ayload":{"ur\u0069":"a"}}`,
		frame.Frame{Type: frame.Call, URI: []byte("a")},
	},
	{ // keys in another case are other keys
		`{"META":{"type":2},"meta":{"type":1,"Type":2},"payload":{"uri":"a","URI":"b","Args":1}}`,
		frame.Frame{Type: frame.Call, URI: []byte("a")},
	},
	{ // of duplicates the last counts
		`{"meta":{"type":2,"type":1},"payload":{"uri":"a","args":1,"uri":"b","args":2}}`,
		frame.Frame{Type: frame.Call, URI: []byte("b"), Args: []byte("2")},
	},
	{ // but objects merge
		`{"meta":{"type":1},"payload":{"uri":"a","args":1},"meta":{"uuid":"` + id0 + `"},"payload":{"args":2},"meta":null,"payload":null}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a"), Args: []byte("2")},
	},
	{ // uuid absent, null or empty
		`{"meta":{"type":1},"payload":{"uri":"a"}}`,
		frame.Frame{Type: frame.Call, URI: []byte("a")},
	},
	{
		`{"meta":{"type":1,"uuid":null},"payload":{"uri":"a"}}`,
		frame.Frame{Type: frame.Call, URI: []byte("a")},
	},
	{
		`{"meta":{"type":1,"uuid":""},"payload":{"uri":"a"}}`,
		frame.Frame{Type: frame.Call, URI: []byte("a")},
	},
	{ // uuid in upper case, as a URN, with escapes
		`{"meta":{"type":1,"uuid":"13374918-84AC-47BC-B1F8-6A89A3A0CA0F"},"payload":{"uri":"a"}}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a")},
	},
	{
		`{"meta":{"type":1,"uuid":"urn:uuid:13374918-84AC-47bc-b1f8-6a89a3a0ca0f"},"payload":{"uri":"a"}}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a")},
	},
	{
		`{"meta":{"type":1,"uuid":"URN:UUID:` + id0 + `"},"payload":{"uri":"a"}}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a")},
	},
	{
		`{"meta":{"type":1,"uuid":"1337491\u0038\u002d84ac-47bc-b1f8-6a89a3a0ca0f"},"payload":{"uri":"a"}}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a")},
	},
	{ // uuid of any version, all zeros, all f
		`{"meta":{"type":1,"uuid":"00000000-0000-0000-0000-000000000000"},"payload":{"uri":"a"}}`,
		frame.Frame{Type: frame.Call, ID: []byte("00000000-0000-0000-0000-000000000000"), URI: []byte("a")},
	},
	{
		`{"meta":{"type":1,"uuid":"ffffffff-ffff-ffff-ffff-ffffffffffff"},"payload":{"uri":"a"}}`,
		frame.Frame{Type: frame.Call, ID: []byte("ffffffff-ffff-ffff-ffff-ffffffffffff"), URI: []byte("a")},
	},
	{ // timeout null, and cut to whole milliseconds
		call0 + `{"uri":"a","timeout":null}}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a")},
	},
	{
		call0 + `{"uri":"a","timeout":999999}}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a")},
	},
	{
		call0 + `{"uri":"a","timeout":-999999}}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a")},
	},
	{
		call0 + `{"uri":"a","timeout":-0}}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a")},
	},
	{
		call0 + `{"uri":"a","timeout":1999999}}`,
		frame.Frame{Type: frame.Call, ID: []byte(id0), URI: []byte("a"), Timeout: time.Millisecond},
	},
	{
		call0 + `{"uri":"a","timeout":9223372036854775807}}`,
		frame.Frame{
			Type: frame.Call, ID: []byte(id0), URI: []byte("a"),
			Timeout: time.Duration(math.MaxInt64).Truncate(time.Millisecond),
		},
	},
	{ // members that the type does not have are not looked at
		sub0 + `{"channel":"a","uri":1,"timeout":"x","args":1,"for":5,"code":"y"}}`,
		frame.Frame{Type: frame.Sub, ID: []byte(id0), Channel: []byte("a")},
	},
	{
		pub0 + `{"channel":"a","pattern":"x"}}`,
		frame.Frame{Type: frame.Pub, ID: []byte(id0), Channel: []byte("a")},
	},
	{
		unsb0 + `{"channel":"a","pattern":null}}`,
		frame.Frame{Type: frame.Unsb, ID: []byte(id0), Channel: []byte("a")},
	},
}

var acceptedRequests1 = []golden{
	{
		" {\n\t\"more\": {\"id\": \"x\"},\r\n \"args\" : [ 1 , 2 ] , \"uri\" : \"a\" , \"id\":\"1\",\"type\" : \"CALL\" } \n",
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("a"), Args: []byte("[ 1 , 2 ]")},
	},
	{
		`{"t\u0079pe":"C\u0041LL","\u0069d":"\u0031","uri":"\u00e9\ud83d\ude00\/\n"}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("é😀/\n")},
	},
	{
		`{"type":"CALL","id":"1","uri":"a","ID":"2","Uri":"b"}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("a")},
	},
	{
		`{"type":"SUB","type":"CALL","id":"1","id":"2","uri":1,"uri":"b"}`,
		frame.Frame{Type: frame.Call, ID: []byte("2"), URI: []byte("b")},
	},
	{ // a lone surrogate
		`{"type":"CALL","id":"1","uri":"\ud800"}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("\uFFFD")},
	},
	{ // args and headers stay as they are
		`{"type":"CALL","id":"1","uri":"a","args":"\u0041\/\ud800","headers":{ "\u0041" : "\/" }}`,
		frame.Frame{
			Type: frame.Call, ID: []byte("1"), URI: []byte("a"),
			Args: []byte(`"\u0041\/\ud800"`), Headers: []byte(`{ "\u0041" : "\/" }`),
		},
	},
	{ // null is absent, except as args
		`{"type":"CALL","id":"1","uri":"a","timeout":null,"headers":null,"args":null}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("a"), Args: []byte("null")},
	},
	{
		`{"type":"CALL","id":"1","uri":"a","headers":{},"timeout":0}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("a"), Headers: []byte("{}")},
	},
	{ // the longest time
		`{"type":"CALL","id":"1","uri":"a","timeout":9223372036854}`,
		frame.Frame{
			Type: frame.Call, ID: []byte("1"), URI: []byte("a"),
			Timeout: time.Duration(math.MaxInt64).Truncate(time.Millisecond),
		},
	},
	{ // the longest id
		`{"type":"PUB","id":"` + longID[1:] + `","channel":"a"}`,
		frame.Frame{Type: frame.Pub, ID: []byte(longID[1:]), Channel: []byte("a")},
	},
	{ // its length is that without escapes
		`{"type":"PUB","id":"` + strings.Repeat(`\u0041`, frame.MaxID) + `","channel":"a"}`,
		frame.Frame{Type: frame.Pub, ID: []byte(strings.Repeat("A", frame.MaxID)), Channel: []byte("a")},
	},
	{ // members that the type does not have are not looked at
		`{"type":"PUB","id":"1","channel":"a","pattern":7,"uri":7,"timeout":-1,"token":7,"error":7,"limits":7}`,
		frame.Frame{Type: frame.Pub, ID: []byte("1"), Channel: []byte("a")},
	},
	{
		`{"type":"CANCEL","for":"1","id":7,"args":1}`,
		frame.Frame{Type: frame.Cancel, For: []byte("1")},
	},
	{`{"type":"PONG","id":7}`, frame.Frame{Type: frame.Pong}},
	{
		`{"type":"CALL","id":"1","uri":"a","parts":null,"headers":{"a@":"@"}}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("a"), Headers: []byte(`{"a@":"@"}`)},
	},
	{ // only the headers of a CALL have reserved names
		`{"type":"PUB","id":"1","channel":"a","headers":{"@a":"1"},"parts":"x"}`,
		frame.Frame{Type: frame.Pub, ID: []byte("1"), Channel: []byte("a"), Headers: []byte(`{"@a":"1"}`)},
	},
	{
		`{"type":"CALL","id":"1","uri":"a","key":null,"since":null}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("a")},
	},
	{
		`{"type":"CANCEL","for":"1","stop":null}`,
		frame.Frame{Type: frame.Cancel, For: []byte("1")},
	},
	{ // only a SUB has last, and an UNSB has neither
		`{"type":"UNSB","id":"1","channel":"a","pattern":true,"since":{},"last":0,"key":""}`,
		frame.Frame{Type: frame.Unsb, ID: []byte("1"), Channel: []byte("a"), Pattern: true},
	},
	{
		`{"type":"SUB","id":"1","channel":"a","pattern":true,"since":null,"last":null}`,
		frame.Frame{Type: frame.Sub, ID: []byte("1"), Channel: []byte("a"), Pattern: true},
	},
	{
		`{"type":"SUB","id":"1","channel":"a","last":1000000}`,
		frame.Frame{Type: frame.Sub, ID: []byte("1"), Channel: []byte("a"), Last: frame.MaxLast},
	},
	{ // white space, escapes, duplicates, unknown members of a position
		`{"type":"SUB","id":"1","channel":"a","since": { "more":{"at":1}, "at":5, "t\u0061g" : "AAAAAAAAA\u0041E", "at" : 57 } }`,
		frame.Frame{
			Type: frame.Sub, ID: []byte("1"), Channel: []byte("a"),
			HasSince: true, Since: frame.Position{At: 57, Tag: 1},
		},
	},
	{`{"type":"PUB","id":"1","channel":"a","key":null,"again":7}`, frame.Frame{Type: frame.Pub, ID: []byte("1"), Channel: []byte("a")}},
	{ // the longest key
		`{"type":"PUB","id":"1","channel":"a","key":"` + strings.Repeat(`\u00e9`, 32) + `"}`,
		frame.Frame{Type: frame.Pub, ID: []byte("1"), Channel: []byte("a"), Key: []byte(strings.Repeat("é", 32))},
	},
}

var acceptedAnswers0 = []golden{
	{ // absent keys and unknown ones
		`{"meta":{"type":7},"payload":{"more":1}}`,
		frame.Frame{Type: frame.Nack},
	},
	{`{"meta":{"type":8}}`, frame.Frame{Type: frame.Ack}},
	{`{"meta":{"type":9,"uuid":null},"payload":null}`, frame.Frame{Type: frame.Res}},
	{
		`{"meta":{"type":10,"uuid":""},"payload":{"for":"","args":1}}`,
		frame.Frame{Type: frame.Evnt, Args: []byte("1")},
	},
	{
		`{"meta":{"type":8,"uuid":"13374918-84AC-47BC-B1F8-6A89A3A0CA0F"},"payload":{"for":"13374918-84AC-47BC-B1F8-6A89A3A0CA0F","for_type":0}}`,
		frame.Frame{Type: frame.Ack, UUID: uuid(id0), For: []byte(id0)},
	},
	{
		`{"meta":{"type":8},"payload":{"for_type":2,"channel":"\u003c"}}`,
		frame.Frame{Type: frame.Ack, ForType: frame.Pub, Channel: []byte("<")},
	},
}

var acceptedAnswers1 = []golden{
	{
		`{"more":[],"for":"1","type":"RES"}`,
		frame.Frame{Type: frame.Res, For: []byte("1")},
	},
	{
		`{"type":"RES","for":"1","error":null,"args":1}`,
		frame.Frame{Type: frame.Res, For: []byte("1"), Args: []byte("1")},
	},
	{ // the error counts
		`{"type":"RES","for":"1","args":1,"error":{"m\u0065ssage":"\u0041","more":{},"data":null,"code":-1}}`,
		frame.Frame{Type: frame.Res, For: []byte("1"), Err: frame.ErrorBody{
			Code: -1, Message: []byte("A"), Data: []byte("null"),
		}},
	},
	{ // a publication that came in juggler.0, and lower case
		`{"type":"EVNT","id":"` + strings.ToLower(aULID) + `","channel":"a"}`,
		frame.Frame{Type: frame.Evnt, Publication: ulid(aULID), Channel: []byte("a")},
	},
	{
		`{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","more":1,"limits":{"more":"x"}}`,
		frame.Frame{Type: frame.Hello, Hello: frame.HelloBody{Session: ulid(aULID), Node: ulid(aULID)}},
	},
	{
		`{"type":"HELLO","session":"` + aULID + `","node":"` + aULID + `","limits":null}`,
		frame.Frame{Type: frame.Hello, Hello: frame.HelloBody{Session: ulid(aULID), Node: ulid(aULID)}},
	},
	{`{"type":"GOAWAY"}`, frame.Frame{Type: frame.GoAway}},
	{ // positions of an unknown form are none
		`{"type":"EVNT","id":"` + aULID + `","channel":"a","at":57}`,
		frame.Frame{Type: frame.Evnt, Publication: ulid(aULID), Channel: []byte("a")},
	},
	{
		`{"type":"GAP","channel":"a","at":"57","tag":"AAAAAAAAAAE"}`,
		frame.Frame{Type: frame.Gap, Channel: []byte("a")},
	},
	{
		`{"type":"ACK","for":"1","at":57,"tag":"a longer tag of a later form","recovered":null,"keys":null}`,
		frame.Frame{Type: frame.Ack, For: []byte("1")},
	},
	{ // patterns have no positions
		`{"type":"EVNT","id":"` + aULID + `","channel":"a","pattern":"a*","at":57,"tag":"AAAAAAAAAAE"}`,
		frame.Frame{Type: frame.Evnt, Publication: ulid(aULID), Channel: []byte("a"), Matched: []byte("a*")},
	},
	{
		`{"type":"GAP","channel":"a*","pattern":true,"at":57,"tag":"AAAAAAAAAAE"}`,
		frame.Frame{Type: frame.Gap, Channel: []byte("a*"), Pattern: true},
	},
}

func TestAccepted(t *testing.T) {
	for _, table := range []struct {
		p        frame.Protocol
		messages []golden
	}{
		{frame.Juggler0, acceptedRequests0}, {frame.Juggler0, acceptedAnswers0},
		{frame.Juggler1, acceptedRequests1}, {frame.Juggler1, acceptedAnswers1},
	} {
		for _, m := range table.messages {
			got := frame.Frame{ID: []byte("of the last message"), Hello: frame.HelloBody{Ping: 1}}
			if err := decode(table.p, m.want.Type, []byte(m.text), &got); err != nil {
				t.Errorf("%v: %s\nrefused: %v", table.p, m.text, err)
			} else if !equal(&got, &m.want) {
				t.Errorf("%v: %s\ngot:  %+v\nwant: %+v", table.p, m.text, got, m.want)
			}
		}
	}
}

// A message may be nested as deep as MaxDepth says.
func TestDepth(t *testing.T) {
	text := `{"type":"PUB","id":"1","channel":"a","args":` +
		strings.Repeat(`[{"a":`, 255) + `[]` + strings.Repeat("}]", 255) + `}`
	var f frame.Frame
	if err := frame.Juggler1.DecodeRequest([]byte(text), &f); err != nil {
		t.Error(err)
	}
}

// equal reports whether two frames say the same: an empty string is an absent
// one.
func equal(a, b *frame.Frame) bool {
	x, y := *a, *b
	for _, f := range []*frame.Frame{&x, &y} {
		for _, s := range slicesOf(f) {
			if len(*s) == 0 {
				*s = nil
			}
		}
	}
	return reflect.DeepEqual(x, y)
}

// slicesOf returns the borrowed slices of f.
func slicesOf(f *frame.Frame) []*[]byte {
	return []*[]byte{
		&f.ID, &f.For, &f.URI, &f.Channel, &f.Matched, &f.Args, &f.Headers,
		&f.Token, &f.Key, &f.Message, &f.Err.Message, &f.Err.Data,
	}
}
