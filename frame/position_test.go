package frame_test

import (
	"testing"

	"github.com/juggler-go/juggler/frame"
)

func TestPositionText(t *testing.T) {
	for text, want := range map[string]frame.Position{
		"57:AQIDBAUGBwg":               {At: 57, Tag: 0x0102030405060708},
		"1:AAAAAAAAAAA":                {At: 1},
		"9007199254740991:__________8": {At: 1<<53 - 1, Tag: 1<<64 - 1},
	} {
		if got, ok := frame.ParsePosition(text); !ok || got != want || want.String() != text {
			t.Errorf("%s: %+v, %v; %s", text, got, ok, want)
		}
	}
}

// A SUB whose since is none that this server gives out is answered with recovered:false,
// so it is none here, and no error.
func TestUnknownPositions(t *testing.T) {
	for _, since := range []string{
		`1`, `"57:AAAAAAAAAAA"`, `[]`, `true`, `{}`,
		`{"at":57}`, `{"tag":"AAAAAAAAAAA"}`, `{"AT":57,"tag":"AAAAAAAAAAA"}`,
		`{"at":0,"tag":"AAAAAAAAAAA"}`, `{"at":-57,"tag":"AAAAAAAAAAA"}`, `{"at":null,"tag":"AAAAAAAAAAA"}`,
		`{"at":57.0,"tag":"AAAAAAAAAAA"}`, `{"at":5e1,"tag":"AAAAAAAAAAA"}`, `{"at":"57","tag":"AAAAAAAAAAA"}`,
		`{"at":9007199254740992,"tag":"AAAAAAAAAAA"}`, `{"at":18446744073709551673,"tag":"AAAAAAAAAAA"}`,
		`{"at":57,"tag":null}`, `{"at":57,"tag":7}`, `{"at":57,"tag":""}`,
		`{"at":57,"tag":"AAAAAAAAAA"}`, `{"at":57,"tag":"AAAAAAAAAAAA"}`, `{"at":57,"tag":"AAAAAAAAAA="}`,
		`{"at":57,"tag":"AAAAAAAAAAB"}`, // bits beyond the 64
		`{"at":57,"tag":"AAAAA+AAAAA"}`, `{"at":57,"tag":"AAAA/AAAAAA"}`, `{"at":57,"tag":"AAAAAAAAAé"}`,
		`{"at":57,"tag":"AAAAAAA\r\nAA"}`,
	} {
		text := `{"type":"SUB","id":"1","channel":"a","since":` + since + `}`
		var f frame.Frame
		err := frame.Juggler1.DecodeRequest([]byte(text), &f)
		if err != nil || !f.HasSince || !f.Since.IsZero() {
			t.Errorf("%s: %v, %v, %v", text, f.HasSince, f.Since, err)
		}
	}
	for _, text := range []string{
		"", ":", "57", "57:", ":AAAAAAAAAAA", "0:AAAAAAAAAAA", "057:AAAAAAAAAAA", "-57:AAAAAAAAAAA", "+57:AAAAAAAAAAA",
		" 57:AAAAAAAAAAA", "57:AAAAAAAAAAA ", "57:AAAAAAAAAAB", "n:AAAAAAAAAAA", "9007199254740992:AAAAAAAAAAA",
	} {
		if p, ok := frame.ParsePosition(text); ok || !p.IsZero() {
			t.Errorf("%q was read as %v", text, p)
		}
	}
}
