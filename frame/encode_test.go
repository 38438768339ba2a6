package frame_test

import (
	"testing"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// What the golden messages do not show of the encoders.
func TestAppend(t *testing.T) {
	const meta9 = `{"meta":{"type":9,"uuid":"00000000-0000-0000-0000-000000000000"},"payload":`
	for _, c := range []struct {
		p    frame.Protocol
		f    frame.Frame
		want string
	}{
		// A callee's error in juggler.0.
		{
			frame.Juggler0,
			frame.Frame{
				Type: frame.Res, For: []byte("1"), URI: []byte("a"), Args: []byte("1"),
				Err: frame.ErrorBody{Code: 422, Message: []byte(`<no> "number"`), Data: []byte("2")},
			},
			meta9 + `{"for":"1","uri":"a","args":{"error":{"message":"\u003cno\u003e \"number\""}}}}` + "\n",
		},
		// Without args.
		{frame.Juggler0, frame.Frame{Type: frame.Res}, meta9 + `{"for":"","args":null}}` + "\n"},
		{frame.Juggler1, frame.Frame{Type: frame.Res, For: []byte("1")}, `{"type":"RES","for":"1","args":null}`},
		// Empty keys that are always present, or never.
		{
			frame.Juggler0, frame.Frame{Type: frame.Nack},
			`{"meta":{"type":7,"uuid":"00000000-0000-0000-0000-000000000000"},"payload":{"for":"","for_type":0,"code":0,"message":""}}` + "\n",
		},
		{
			frame.Juggler0, frame.Frame{Type: frame.Evnt},
			`{"meta":{"type":10,"uuid":"00000000-0000-0000-0000-000000000000"},"payload":{"for":"","args":null}}` + "\n",
		},
		{
			frame.Juggler0, frame.Frame{Type: frame.Sub},
			`{"meta":{"type":3,"uuid":""},"payload":{"channel":"","pattern":false}}` + "\n",
		},
		// Args that are not JSON are the application's mistake and break the
		// message, nothing else.
		{frame.Juggler0, frame.Frame{Type: frame.Res, Args: []byte("\"a <\xe2\x80")}, meta9 + "{\"for\":\"\",\"args\":\"a \\u003c\xe2\x80}}\n"},

		// Times are rounded up to milliseconds, negative ones are none.
		{frame.Juggler1, frame.Frame{Type: frame.Call, Timeout: 1}, `{"type":"CALL","id":"","uri":"","timeout":1}`},
		{frame.Juggler1, frame.Frame{Type: frame.Call, Timeout: time.Millisecond + 1}, `{"type":"CALL","id":"","uri":"","timeout":2}`},
		{frame.Juggler1, frame.Frame{Type: frame.Call, Timeout: 1<<63 - 1}, `{"type":"CALL","id":"","uri":"","timeout":9223372036854}`},
		{
			frame.Juggler0, frame.Frame{Type: frame.Call, Timeout: 1<<63 - 1},
			`{"meta":{"type":1,"uuid":""},"payload":{"uri":"","timeout":9223372036854000000,"args":null}}` + "\n",
		},
		{frame.Juggler1, frame.Frame{Type: frame.Call, Timeout: -time.Hour}, `{"type":"CALL","id":"","uri":""}`},
		{frame.Juggler1, frame.Frame{Type: frame.GoAway, After: -1}, `{"type":"GOAWAY","after":0}`},
		{
			frame.Juggler0, frame.Frame{Type: frame.Call, Timeout: 1},
			`{"meta":{"type":1,"uuid":""},"payload":{"uri":"","timeout":1000000,"args":null}}` + "\n",
		},
		{
			frame.Juggler0, frame.Frame{Type: frame.Call, Timeout: -time.Hour},
			`{"meta":{"type":1,"uuid":""},"payload":{"uri":"","timeout":0,"args":null}}` + "\n",
		},

		// What cannot be a position is none.
		{frame.Juggler1, frame.Frame{Type: frame.Gap, Channel: []byte("a"), Pos: frame.Position{Tag: 1}}, `{"type":"GAP","channel":"a"}`},
		{frame.Juggler1, frame.Frame{Type: frame.Gap, Channel: []byte("a"), Pos: frame.Position{At: 1 << 53}}, `{"type":"GAP","channel":"a"}`},
		{
			frame.Juggler1, frame.Frame{Type: frame.Sub, Channel: []byte("a"), HasSince: true, Since: frame.Position{At: 1 << 63}},
			`{"type":"SUB","id":"","channel":"a","since":{}}`,
		},

		// Types that the protocol does not have.
		{frame.Juggler0, frame.Frame{Type: frame.Cancel, For: []byte("1")}, ""},
		{frame.Juggler0, frame.Frame{Type: frame.Auth}, ""},
		{frame.Juggler0, frame.Frame{Type: frame.Pong}, ""},
		{frame.Juggler0, frame.Frame{Type: frame.Hello}, ""},
		{frame.Juggler0, frame.Frame{Type: frame.Gap}, ""},
		{frame.Juggler0, frame.Frame{Type: frame.Ping}, ""},
		{frame.Juggler0, frame.Frame{Type: frame.GoAway}, ""},
		{frame.Juggler0, frame.Frame{}, ""},
		{frame.Juggler1, frame.Frame{}, ""},
		{frame.Juggler0, frame.Frame{Type: frame.GoAway + 1}, ""},
		{frame.Juggler1, frame.Frame{Type: frame.GoAway + 1}, ""},
	} {
		if got := string(c.p.Append([]byte("x"), &c.f)); got != "x"+c.want {
			t.Errorf("%v %v:\n%q, want\n%q", c.p, c.f.Type, got, "x"+c.want)
		}
	}
}

// The names of types are those on the wire.
func TestTypeString(t *testing.T) {
	for _, g := range golden1 {
		if name := `{"type":"` + g.want.Type.String() + `"`; g.text[:len(name)] != name {
			t.Errorf("%s: Type.String is %v", g.text, g.want.Type)
		}
	}
	for _, typ := range []frame.Type{frame.Invalid, frame.GoAway + 1} {
		if got := typ.String(); got != "invalid" {
			t.Errorf("Type(%d) is %s", typ, got)
		}
	}
}

func TestProtocolString(t *testing.T) {
	if frame.Juggler0.String() != "juggler.0" || frame.Juggler1.String() != "juggler.1" || frame.Protocol(2).String() != "invalid" {
		t.Error(frame.Juggler0, frame.Juggler1, frame.Protocol(2))
	}
}
