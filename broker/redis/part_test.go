package redis

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
)

var testWindow = broker.Window{Parts: 0x20, Bytes: 0x10000}

const windowHex = "00000020" + "0000000000010000"

// The values in these tests are those of docs/redis.md.
func TestPartValue(t *testing.T) {
	callee := broker.ID{0xca, 15: 0xee}
	part := broker.Part{To: testAddress, N: 258, Args: []byte("[1]"), Window: testWindow}
	value := encodePart(&part, callee)
	if got, want := hex.EncodeToString(value), "50"+refHex+"ca0000000000000000000000000000ee"+"00000102"+windowHex+"5b315d"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	part.From = callee
	if got, err := decodePart(testAddress.Node, value); err != nil || !reflect.DeepEqual(got, part) {
		t.Errorf("decoded %+v, %v", got, err)
	}
	if got, err := decodePart(testAddress.Node, value[:partHead-1]); err == nil {
		t.Errorf("decoded %+v of a value that is too short", got)
	}
}

func TestGrantsValue(t *testing.T) {
	callee := broker.ID{7}
	grants := []broker.Grant{{To: testAddress, Callee: callee, Window: testWindow}, {To: broker.Address{}, Callee: callee}}
	var message []byte
	for i := range grants {
		message = appendGrant(message, &grants[i])
	}
	if got, want := hex.EncodeToString(message), "47"+nodeHex+refHex+windowHex+strings.Repeat("00", grantLength); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, err := decodeGrants(callee, string(message)); err != nil || !reflect.DeepEqual(got, grants) {
		t.Errorf("decoded %+v, %v", got, err)
	}
	for _, bad := range []string{"", "G", "G1", string(message[:len(message)-1]), "X" + string(message[1:])} {
		if got, err := decodeGrants(callee, bad); err == nil {
			t.Errorf("decoded %+v of %q", got, bad)
		}
	}
}

func TestPartedResultValue(t *testing.T) {
	for _, test := range []struct {
		result broker.Result
		want   string
	}{
		{broker.Result{To: testAddress, Args: []byte("3"), Parts: 5}, "53" + refHex + "00000005" + "00000000" + "00000000" + "33"},
		{broker.Result{To: testAddress, Args: []byte("3"), Parts: 5, Ran: 258 * time.Microsecond}, "53" + refHex + "00000005" + "00000102" + "00000000" + "33"},
		{broker.Result{To: testAddress, Err: &broker.Error{Code: 422, Message: "no"}, Parts: 5}, "53" + refHex + "00000005" + "00000000" + "000001a6" + "00000002" + "6e6f"},
	} {
		value := encodeResult(&test.result)
		if got := hex.EncodeToString(value); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
		got, err := decodeResult(testAddress.Node, value)
		if err != nil || got.Parts != 5 || !bytes.Equal(got.Args, test.result.Args) || got.Ran != test.result.Ran || !sameError(got.Err, test.result.Err) {
			t.Errorf("decoded %+v, %v", got, err)
		}
	}
}

// Callees that know no parts read one header more.
func TestWindowOnItsWay(t *testing.T) {
	for headers, want := range map[string]string{
		``:                               `{"@parts":"32,65536"}`,
		`{}`:                             `{"@parts":"32,65536" }`,
		` { }`:                           `{"@parts":"32,65536": { }`,
		`{"a":"b"}`:                      `{"@parts":"32,65536","a":"b"}`,
		`{ "a":"b"}`:                     `{"@parts":"32,65536", "a":"b"}`,
		`{"@parts":"9,9","a":"b"}`:       `{"@parts":"32,65536","@parts":"9,9","a":"b"}`,
		"no JSON":                        `{"@parts":"32,65536":no JSON`,
		`{"@parts":"32,65536":no JSON`:   `{"@parts":"32,65536","@parts":"32,65536":no JSON`,
		`{"@parts":"32,65536", "a":"b"}`: `{"@parts":"32,65536","@parts":"32,65536", "a":"b"}`,
	} {
		got := string(withWindow([]byte(headers), testWindow))
		if got != want || json.Valid([]byte(headers)) && headers[0] == '{' && !json.Valid([]byte(got)) {
			t.Errorf("%q became %q, want %q", headers, got, want)
		}
	}
	for headers, want := range map[string]string{
		"":                         "",
		`{"a":"b"}`:                `{"a":"b"}`,
		`{"b":"1","@parts":"9,9"}`: `{"b":"1","@parts":"9,9"}`,
		`{"@parts":"9,9"}`:         `{"@parts":"0,0","@parts":"9,9"}`,
	} {
		if got := string(withWindow([]byte(headers), broker.Window{})); got != want {
			t.Errorf("without a window %q became %q, want %q", headers, got, want)
		}
	}
}

// What a caller gives as headers is never taken for a window, and comes back as it was.
func FuzzWindow(f *testing.F) {
	for _, headers := range []string{
		"", "{", "{}", "{ }", `{"a":"b"}`, "no JSON", ":", windowHeader, windowHeader + `1,2"`, windowHeader + `1,2"}`, windowHeader + `1,2","a":"b"}`,
		windowHeader + `01,2"}`, windowHeader + `1,2":x`, windowHeader + `4294967296,18446744073709551616"}`, windowHeader + `1"}`, windowHeader + `,"}`,
	} {
		f.Add([]byte(headers), uint32(1), uint64(2))
		f.Add([]byte(headers), uint32(0), uint64(0))
		f.Add([]byte(headers), uint32(1<<32-1), uint64(1<<64-1))
	}
	f.Fuzz(func(t *testing.T, headers []byte, parts uint32, size uint64) {
		w := broker.Window{Parts: parts, Bytes: size}
		before := bytes.Clone(headers)
		on := withWindow(headers, w)
		back, found := cutWindow(on)
		if found != w || !bytes.Equal(back, headers) || !bytes.Equal(headers, before) {
			t.Errorf("%q with %v became %q, and %q with %v", before, w, on, back, found)
		}
		// Also what no process of now has written.
		if back, w := cutWindow(headers); w == (broker.Window{}) && len(back) > len(headers) {
			t.Errorf("%q became %q", headers, back)
		}
	})
}
