package frame_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/juggler-go/juggler/frame"
)

func TestHeaderSeq(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want [][2]string
	}{
		{``, nil},
		{`{}`, nil},
		{`{ "a" : "b" , "" : "" }`, [][2]string{{"a", "b"}, {"", ""}}},
		{`{"\u0061":"\"\n","A":"é"}`, [][2]string{{"a", "\"\n"}, {"A", "é"}}},
		{`{"a":"1","a":"2"}`, [][2]string{{"a", "1"}, {"a", "2"}}},
		// What no decoder lets through ends the sequence.
		{`{"a":"1","b":2,"c":"3"}`, [][2]string{{"a", "1"}}},
		{`{"a":"1","b"`, [][2]string{{"a", "1"}}},
		{`{"a":"1","b":`, [][2]string{{"a", "1"}}},
		{`["a"]`, nil},
		{`{`, nil},
	} {
		raw := []byte(c.raw)
		var got [][2]string
		for name, value := range frame.HeaderSeq(raw) {
			got = append(got, [2]string{name, value})
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %q", c.raw, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %q, want %q", c.raw, got, c.want)
			}
		}
		if string(raw) != c.raw {
			t.Errorf("%s was changed to %s", c.raw, raw)
		}
	}
}

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		raw, name, want string
		ok              bool
	}{
		{``, "a", "", false},
		{`{"b":"1"}`, "a", "", false},
		{`{"A":"1"}`, "a", "", false},
		{`{"a":"1","b":"2"}`, "a", "1", true},
		{`{"a":""}`, "a", "", true},
		{`{"a":"1","b":"2","\u0061":"\n"}`, "a", "\n", true},
		{`{"a":"1","b":2,"a":"3"}`, "a", "1", true},
	} {
		if got, ok := frame.Header([]byte(c.raw), c.name); got != c.want || ok != c.ok {
			t.Errorf("%s: %q is %q, %v, want %q", c.raw, c.name, got, ok, c.want)
		}
	}
	raw := []byte(`{"traceparent":"00-1-2-03","tenant":"a"}`)
	if n := testing.AllocsPerRun(100, func() { frame.Header(raw, "user") }); n > 0 {
		t.Errorf("%v allocations for a header that is not there", n)
	}
}

func TestHeaderSeqEndsEarly(t *testing.T) {
	for name := range frame.HeaderSeq([]byte(`{"a":"1","b":"2"}`)) {
		if name != "a" {
			t.Errorf("got %s after the end", name)
		}
		break
	}
}

func TestSetAndDeleteHeader(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{``, `{"user":"7"}`},
		{`{}`, `{"user":"7"}`},
		{`{"a":"b"}`, `{"a":"b","user":"7"}`},
		{`{ "a" : "\u0062" , "\u0063":"" }`, `{"a":"\u0062","\u0063":"","user":"7"}`},
		{`{"user":"1"}`, `{"user":"7"}`},
		{`{"user":"1","a":"b","user":"2"}`, `{"a":"b","user":"7"}`},
		{`{"us\u0065r":"1","a":"b","\u0075\u0073\u0065\u0072":"2"}`, `{"a":"b","user":"7"}`},
		{`{"User":"1","user ":"2","USER":"3"}`, `{"user ":"2","user":"7"}`},
		{`{"u\u017fer":"1","us\u00e9r":"2"}`, `{"us\u00e9r":"2","user":"7"}`}, // the long s folds to s
	} {
		if got := string(frame.SetHeader([]byte("x"), []byte(c.raw), "user", "7")); got != "x"+c.want {
			t.Errorf("%s: %s, want %s", c.raw, got, c.want)
		}
	}
	for raw, want := range map[string]string{
		``: ``, `{}`: ``, `{"user":"1"}`: ``, `{"a":"b","USER":"1","c":""}`: `{"a":"b","c":""}`, `{"a":"b","user":"1"}`: `{"a":"b"}`,
	} {
		if got := string(frame.DeleteHeader([]byte("x"), []byte(raw), "user")); got != "x"+want {
			t.Errorf("%s without user: %s, want %s", raw, got, want)
		}
	}
	if got, want := string(frame.SetHeader(nil, nil, "\"", "\n")), `{"\"":"\n"}`; got != want {
		t.Errorf("escapes: %s, want %s", got, want)
	}
}

func TestAppendHeaders(t *testing.T) {
	for _, c := range []struct {
		headers map[string]string
		want    string
	}{
		{nil, `x`},
		{map[string]string{}, `x`},
		{map[string]string{"b": "2", "a": "1", "": "\""}, `x{"":"\"","a":"1","b":"2"}`},
	} {
		if got := string(frame.AppendHeaders([]byte("x"), c.headers)); got != c.want {
			t.Errorf("%v: %s, want %s", c.headers, got, c.want)
		}
	}
}

// ValidHeaders, HeaderSeq and SetHeader agree with encoding/json on what is in
// any bytes.
func FuzzHeaders(f *testing.F) {
	for _, text := range jsonTexts {
		f.Add([]byte(text), "a", "b")
	}
	f.Add([]byte(`{"a":"1","\u0061":"2","b":"\ud83d\ude00"}`), "a", "\xff")
	f.Add([]byte(` {"a":"1","b":null}`), "\u2028", "<")
	f.Fuzz(func(t *testing.T, raw []byte, name, value string) {
		got := maps.Collect(frame.HeaderSeq(raw)) // must not panic
		frame.SetHeader(nil, raw, name, value)
		if mayBeDeep(raw) {
			return
		}
		want, ok := stringMembers(raw)
		if frame.ValidHeaders(raw) != ok {
			t.Fatalf("ValidHeaders(%q) is %v", raw, !ok)
		}
		if !ok {
			return
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
		name, value = string([]rune(name)), string([]rune(value)) // as UTF-8
		maps.DeleteFunc(want, func(other, _ string) bool { return strings.EqualFold(other, name) })
		if got, ok := stringMembers(frame.DeleteHeader(nil, raw, name)); !maps.Equal(got, want) || ok == (len(want) == 0) {
			t.Errorf("%s without %q: %q, want %q", raw, name, got, want)
		}
		want[name] = value
		set := frame.SetHeader(nil, raw, name, value)
		if got, ok := stringMembers(set); !ok || !maps.Equal(got, want) {
			t.Errorf("%s with %q: %q: %s, want %q", raw, name, value, set, want)
		}
		if got, ok := stringMembers(frame.AppendHeaders(nil, want)); !ok || !maps.Equal(got, want) {
			t.Errorf("AppendHeaders(%q) says %q", want, got)
		}
	})
}

// stringMembers reads an object of strings with encoding/json.
func stringMembers(raw []byte) (map[string]string, bool) {
	var members map[string]*string
	if !utf8.Valid(raw) || json.Unmarshal(raw, &members) != nil || members == nil {
		return nil, false
	}
	headers := map[string]string{}
	for name, value := range members {
		if value == nil {
			return nil, false // null
		}
		headers[name] = *value
	}
	return headers, true
}
