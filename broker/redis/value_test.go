package redis

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

var testAddress = broker.Address{
	Node: broker.ID{0x01, 0x02, 15: 0x0f},
	Ref:  [16]byte{0xa0, 15: 0xaf},
}

// The values in this table are those of docs/redis.md.
const (
	nodeHex = "0102000000000000000000000000000f"
	refHex  = "a00000000000000000000000000000af"
)

func TestCallValue(t *testing.T) {
	call := broker.Call{ReplyTo: testAddress, Timeout: 1500 * time.Millisecond, Headers: []byte(`{"a":"b"}`), Args: []byte("[1,2]")}
	want := nodeHex + refHex + "000005dc" + "00000009" + hex.EncodeToString([]byte(`{"a":"b"}[1,2]`))
	tail := encodeCall(&call)
	if got := hex.EncodeToString(tail); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// What push.lua makes of it, and how much is left when it is taken.
	got, err := decodeCall([]byte("C1700000001500"+string(tail)), 1700000000500)
	if err != nil || got.ReplyTo != testAddress || got.Timeout != time.Second || string(got.Headers) != `{"a":"b"}` || string(got.Args) != "[1,2]" {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestResultValue(t *testing.T) {
	for _, test := range []struct {
		result broker.Result
		want   string
		back   *broker.Error
	}{
		{broker.Result{To: testAddress, Args: []byte("3")}, "52" + refHex + "00000000" + "33", nil},
		{broker.Result{To: testAddress}, "52" + refHex + "00000000", nil},
		{broker.Result{To: testAddress, Args: []byte("3"), Ran: 258 * time.Microsecond}, "54" + refHex + "00000102" + "00000000" + "33", nil},
		{broker.Result{To: testAddress, Err: &broker.Error{Code: 422, Message: "no", Data: []byte("{}")}}, "52" + refHex + "000001a6" + "00000002" + "6e6f" + "7b7d", &broker.Error{Code: 422, Message: "no", Data: []byte("{}")}},
		{broker.Result{To: testAddress, Err: &broker.Error{Code: 429, RetryAfter: 1500 * time.Microsecond}}, "52" + refHex + "800001ad" + "00000002" + "00000000", &broker.Error{Code: 429, RetryAfter: 2 * time.Millisecond}},
		{broker.Result{To: testAddress, Err: &broker.Error{}}, "52" + refHex + "000001f4" + "00000000", &broker.Error{Code: 500}},
	} {
		value := encodeResult(&test.result)
		if got := hex.EncodeToString(value); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
		got, err := decodeResult(testAddress.Node, value)
		if err != nil || got.To != testAddress || !bytes.Equal(got.Args, test.result.Args) || got.Ran != test.result.Ran || !sameError(got.Err, test.back) {
			t.Errorf("decoded %+v, %v", got, err)
		}
	}
}

func sameError(a, b *broker.Error) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Code == b.Code && a.RetryAfter == b.RetryAfter && a.Message == b.Message && bytes.Equal(a.Data, b.Data)
}

func TestEventValue(t *testing.T) {
	event := broker.Event{ID: testAddress.Node, Headers: []byte("{}"), Args: []byte("null")}
	value := encodeEvent(&event)
	if got, want := hex.EncodeToString(value), "45"+nodeHex+"00000002"+"7b7d"+"6e756c6c"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got, err := decodeEvent(value)
	if err != nil || got.ID != event.ID || string(got.Headers) != "{}" || string(got.Args) != "null" {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestKeptValue(t *testing.T) {
	kept := keptValue{
		pos:    broker.Position{At: 0x1122334455667, Tag: 0x8899aabbccddeeff},
		before: 0x0102030405060708,
		event:  broker.Event{ID: testAddress.Node, Args: []byte("null")},
	}
	value := encodeKept(&kept)
	if got, want := hex.EncodeToString(value), "4b"+"0001122334455667"+"8899aabbccddeeff"+"0102030405060708"+"45"+nodeHex+"00000000"+"6e756c6c"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, err := decodeMessage(string(value)); err != nil || got.pos != kept.pos || got.before != kept.before || string(got.event.Args) != "null" {
		t.Errorf("decoded %+v, %v", got, err)
	}
	for _, p := range []broker.Position{{At: 1}, {Tag: 1}, {At: 1 << 53, Tag: 1}} {
		if got, err := decodeKept(encodeKept(&keptValue{pos: p})); err == nil {
			t.Errorf("decoded the position %+v", got.pos)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]uint32{
		1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Hour: 3_600_000, 1000 * time.Hour * 24: 1<<32 - 1, -1: 1,
	} {
		if got := milliseconds(d); got != want {
			t.Errorf("%v is %d ms, want %d", d, got, want)
		}
	}
}

// Whatever lies in a list, decoding returns an error or a value, and what was
// encoded comes back.
func FuzzValues(f *testing.F) {
	f.Add("C1700000001500" + string(encodeCall(&broker.Call{ReplyTo: testAddress, Timeout: time.Second, Args: []byte("x")})))
	f.Add(string(encodeResult(&broker.Result{To: testAddress, Err: broker.ErrCalleeLost})))
	f.Add(string(encodeResult(&broker.Result{To: testAddress, Err: &broker.Error{Code: 503, RetryAfter: time.Second}})))
	f.Add("R0000000000000000\x80\x00\x01\xf4\x00\x00\x00\x00\x00\x00\x00\x00")
	f.Add(string(encodeResult(&broker.Result{To: testAddress, Args: []byte("1"), Ran: time.Second})))
	f.Add(string(encodeResult(&broker.Result{To: testAddress, Args: []byte("1"), Parts: 3})))
	f.Add(string(encodePart(&broker.Part{To: testAddress, N: 2, Args: []byte("1")}, testAddress.Node)))
	f.Add(string(appendGrant(nil, &broker.Grant{To: testAddress, Window: broker.Window{Parts: 1}})))
	f.Add(string(encodeEvent(&broker.Event{ID: testAddress.Node, Headers: []byte("{}")})))
	f.Add(string(encodeKept(&keptValue{pos: broker.Position{At: 1<<53 - 1, Tag: 7}, before: 9, event: broker.Event{Args: []byte("1")}})))
	f.Add(string(encodeKept(&keptValue{})))
	f.Add("")
	f.Add("C" + strings.Repeat("9", 60))
	f.Add("R" + strings.Repeat("\xff", 40))
	f.Fuzz(func(t *testing.T, value string) {
		if c, err := decodeCall([]byte(value), 1); err == nil {
			if c.Timeout < time.Millisecond {
				t.Errorf("a call has %v left", c.Timeout)
			}
			tail := string(encodeCall(&c))
			if strings.Contains(value, windowHeader) {
				// See FuzzWindow: it may be written in more than one way.
			} else if !strings.HasSuffix(value, tail[addressLength+4:]) || value[headLength:headLength+addressLength] != tail[:addressLength] {
				t.Errorf("%x became %x", value, tail)
			}
		} else if !errors.Is(err, errCorrupt) {
			t.Errorf("unexpected error %v", err)
		}
		if r, err := decodeResult(testAddress.Node, []byte(value)); err == nil && string(encodeResult(&r)) != value && (value[0] != formatTimed || r.Ran > 0) {
			t.Errorf("%x became %x", value, encodeResult(&r))
		}
		if e, err := decodeEvent([]byte(value)); err == nil && string(encodeEvent(&e)) != value {
			t.Errorf("%x became %x", value, encodeEvent(&e))
		}
		if p, err := decodePart(testAddress.Node, []byte(value)); err == nil && string(encodePart(&p, p.From)) != value {
			t.Errorf("%x became %x", value, encodePart(&p, p.From))
		}
		if grants, err := decodeGrants(testAddress.Node, value); err == nil {
			var back []byte
			for i := range grants {
				back = appendGrant(back, &grants[i])
			}
			if string(back) != value {
				t.Errorf("%x became %x", value, back)
			}
		}
		if k, err := decodeKept([]byte(value)); err == nil && string(encodeKept(&k)) != value {
			t.Errorf("%x became %x", value, encodeKept(&k))
		}
	})
}

// What was read of a log is not copied once more for the page.
func TestPagesAreNotCopied(t *testing.T) {
	entries := make([]resp.Reply, 300)
	for i := range entries {
		at := uint64(i + 2)
		entries[i].Text = encodeKept(&keptValue{
			pos: broker.Position{At: at, Tag: at}, before: at - 1, event: broker.Event{Headers: []byte("{}"), Args: []byte("null")},
		})
	}
	r := keptRead{Read: broker.Read{After: broker.Position{At: 1, Tag: 1}}}
	allocs := testing.AllocsPerRun(10, func() {
		if events, proven := r.prove(broker.Position{At: 301, Tag: 301}, false, entries); !proven || len(events) != len(entries) {
			t.Errorf("%d events, proven: %v", len(events), proven)
		}
	})
	if allocs > 1 {
		t.Errorf("%v allocations for %d events", allocs, len(entries))
	}
}
