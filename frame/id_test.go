package frame_test

import (
	"strings"
	"testing"

	oklog "github.com/oklog/ulid/v2"

	"github.com/juggler-go/juggler/frame"
)

func TestULID(t *testing.T) {
	for _, c := range []struct {
		id   [16]byte
		text string
	}{
		{[16]byte{}, "00000000000000000000000000"},
		{[16]byte{15: 1}, "00000000000000000000000001"},
		{[16]byte{15: 32}, "00000000000000000000000010"},
		{[16]byte{7: 1}, "0000000000000G000000000000"},
		{uuid("ffffffff-ffff-ffff-ffff-ffffffffffff"), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"},
		{uuid("01563e3a-b5d3-d676-4c61-efb99302bd5b"), "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, // of the specification
	} {
		if got := string(frame.AppendULID([]byte("x"), c.id)); got != "x"+c.text {
			t.Errorf("%x: %s, want %s", c.id, got, c.text)
		}
		for _, text := range []string{c.text, strings.ToLower(c.text)} {
			if got, ok := frame.ParseULID([]byte(text)); !ok || got != c.id {
				t.Errorf("%s: %x, %v", text, got, ok)
			}
		}
	}
	for _, text := range []string{
		"", "0", "0000000000000000000000000", "000000000000000000000000000",
		"80000000000000000000000000", "ZZZZZZZZZZZZZZZZZZZZZZZZZZ", // more than 128 bits
		"0000000000000000000000000I", "0000000000000000000000000L", "0000000000000000000000000O",
		"0000000000000000000000000U", "0000000000000000000000000u", "0000000000000-000000000000",
		" 0000000000000000000000000", "/0000000000000000000000000", "000000000000000000000000\xc3\xa9",
	} {
		if id, ok := frame.ParseULID([]byte(text)); ok || id != ([16]byte{}) {
			t.Errorf("%q was read as %x", text, id)
		}
	}
}

// ULIDs are read and written as the usual package does.
func FuzzULID(f *testing.F) {
	f.Add("01ARZ3NDEKTSV4RRFFQ69G5FAV")
	f.Add("7zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("80000000000000000000000000")
	f.Fuzz(func(t *testing.T, text string) {
		want, err := oklog.ParseStrict(text)
		got, ok := frame.ParseULID([]byte(text))
		if ok != (err == nil) || ok && got != want {
			t.Fatalf("%q: %x, %v; want %x, %v", text, got, ok, want, err)
		}
		if !ok {
			return
		}
		if again := string(frame.AppendULID(nil, got)); again != strings.ToUpper(text) {
			t.Errorf("%q is written as %q", text, again)
		}
	})
}

func TestUUID(t *testing.T) {
	id := [16]byte{0x13, 0x37, 0x49, 0x18, 0x84, 0xac, 0x47, 0xbc, 0xb1, 0xf8, 0x6a, 0x89, 0xa3, 0xa0, 0xca, 0x0f}
	if got := string(frame.AppendUUID([]byte("x"), id)); got != "x"+id0 {
		t.Errorf("got %s", got)
	}
	for _, text := range []string{id0, strings.ToUpper(id0)} {
		if got, ok := frame.ParseUUID([]byte(text)); !ok || got != id {
			t.Errorf("%s: %x, %v", text, got, ok)
		}
	}
	for _, text := range []string{
		"", "1", id0[1:], id0 + "0", "{" + id0 + "}", "urn:uuid:" + id0, strings.ReplaceAll(id0, "-", ""),
		strings.Replace(id0, "-", "0", 1), strings.Replace(id0, "f", "g", 1), strings.Replace(id0, "1", "-", 1),
		"1337491884-ac-47bc-b1f8-6a89a3a0ca0f",
	} {
		if id, ok := frame.ParseUUID([]byte(text)); ok || id != ([16]byte{}) {
			t.Errorf("%q was read as %x", text, id)
		}
	}
}
