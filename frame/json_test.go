package frame_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/juggler-go/juggler/frame"
)

// jsonTexts are texts on both sides of the border of JSON.
var jsonTexts = []string{
	`null`, `true`, `false`, ` 1 `, "\t\r\n1", `""`, `[]`, `{}`, `[ ]`, `{ }`,
	`nul`, `nulll`, `tru`, `truE`, `falsey`, `NaN`, `Infinity`, `undefined`, ``, ` `, "\v1", "\u00a01", "\uFEFF1",
	`0`, `-0`, `-`, `+1`, `00`, `01`, `-01`, `1.`, `.1`, `1.0`, `1.05`, `1e`, `1e5`, `1E+05`, `1e-`, `1e+`, `1.e1`, `1e1.5`,
	`--1`, `0x10`, `1_000`, `1 2`, `123456789012345678901234567890.5e-999`,
	`"a"`, `"a`, `a"`, `"a""`, `'a'`, `"\"`, `"\\"`, `"\""`, `"\/\b\f\n\r\t"`, `"\v"`, `"\'"`, `"\x41"`, `"\U0041"`,
	`"\u0041"`, `"\u004"`, `"\u004g"`, `"\uD83D\uDE00"`, `"\ud83d"`, `"\ude00\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\ud800\ud83d\ude00"`, `"\ud83d\n"`, `"\ud83d\ud`,
	"\"\x00\"", "\"\x1f\"", "\"\x7f\"", "\"\n\"", "\"\t\"", `"1234567"`, `"12345678"`, "\"12345678\x1f\"", "\"1234\x1f5678901234567890\"", `"123456789012345\`,
	`"é"`, `"日本語日本語日本語"`, "\"\u2028\"", `"😀"`,
	`[1,2]`, `[1,]`, `[,1]`, `[1 2]`, `[1`, `[`, `]`, `[1]]`, `[[]`, `[[],[]]`, `[}`, `[1}`,
	`{"a":1}`, `{"a":1,}`, `{,"a":1}`, `{"a" 1}`, `{"a":}`, `{"a"}`, `{a:1}`, `{1:1}`, `{"a":1`, `{"a":`, `{"a"`, `{`, `}`, `{]`, `{"a":1]`,
	`{"a":1,"a":2}`, `{ "a" : [ { "b" : { } } , [ ] ] }`, `{"":""}`, `{"a":1}{"a":1}`, `{"a":1} x`, `// 1`, `/* */1`, `1//`,
	strings.Repeat("[", 63) + strings.Repeat("]", 63),
	strings.Repeat("[", 64) + strings.Repeat("]", 64),
	strings.Repeat("[", 65) + strings.Repeat("]", 65),
	strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
	strings.Repeat(`{"a":[`, 65) + strings.Repeat("]}", 64) + "}]",
	strings.Repeat(`{"a":[`, 200) + strings.Repeat("]}", 200),
	strings.Repeat(`{"a":[`, 200) + strings.Repeat("]}", 199) + "]",
	strings.Repeat(`[[],`, 100) + "1" + strings.Repeat("]", 100),
}

// What is valid JSON is decided as encoding/json does, but for UTF-8.
func FuzzValidJSON(f *testing.F) {
	for _, text := range jsonTexts {
		f.Add([]byte(text))
	}
	f.Add([]byte("\"\xff\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		if mayBeDeep(text) {
			return
		}
		if got, want := frame.ValidJSON(text), json.Valid(text) && utf8.Valid(text); got != want {
			t.Errorf("ValidJSON(%q) = %v", text, got)
		}
	})
}

// mayBeDeep reports whether text may be nested too deep for a message, but not for
// encoding/json.
func mayBeDeep(text []byte) bool {
	return bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > frame.MaxDepth-3
}

func TestValidJSONDepth(t *testing.T) {
	nested := func(depth int) []byte {
		return []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
	}
	for _, c := range []struct {
		depth int
		valid bool
	}{{frame.MaxDepth - 2, true}, {frame.MaxDepth - 1, false}, {1 << 20, false}} {
		text := nested(c.depth)
		if frame.ValidJSON(text) != c.valid {
			t.Errorf("ValidJSON of %d arrays is %v", c.depth, !c.valid)
		}
		if !c.valid {
			continue
		}
		// What is valid can be decoded from a message of either protocol.
		for _, p := range []frame.Protocol{frame.Juggler0, frame.Juggler1} {
			var f frame.Frame
			b := p.Append(nil, &frame.Frame{Type: frame.Pub, ID: []byte(id0), Channel: []byte("a"), Args: text})
			if err := p.DecodeRequest(b, &f); err != nil {
				t.Errorf("%v: %d arrays: %v", p, c.depth, err)
			}
		}
	}
}

// Escapes are replaced as encoding/json does, in every string that is read.
func FuzzUnescape(f *testing.F) {
	for _, text := range jsonTexts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want string
		if !utf8.Valid(text) || json.Unmarshal(text, &want) != nil || want == "" {
			return
		}
		if string(text) == "null" {
			return
		}
		message := []byte(`{"type":"CALL","id":"1","uri":` + string(text) + `}`)
		var got frame.Frame
		if err := frame.Juggler1.DecodeRequest(message, &got); err != nil {
			t.Fatal(err)
		}
		if string(got.URI) != want {
			t.Errorf("%s is %q, want %q", text, got.URI, want)
		}
	})
}

// Strings are encoded as encoding/json does: exactly so in juggler.0, without
// the escapes for HTML in AppendString.
func FuzzString(f *testing.F) {
	for _, s := range []string{
		"", "a", "\"\\/", "<script>&amp;</script>", "\u2028\u2029\u202a\u2027", "\x00\x1f\x7f\b\f\n\r\t",
		"12345678>", "12345678&", "é日本😀", "\xff\xfe", "a\xe2\x80", "12345678<", "1234567\x00", "\uFFFD", "12345678\xe2\x80\xa8",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var plain strings.Builder
		e := json.NewEncoder(&plain)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		if got, want := string(frame.AppendString([]byte("x"), s)), "x"+strings.TrimSuffix(plain.String(), "\n"); got != want {
			t.Errorf("AppendString(%q) = %s, want %s", s, got, want)
		}

		html, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got := frame.Juggler0.Append(nil, &frame.Frame{Type: frame.Nack, Err: frame.ErrorBody{Message: []byte(s)}})
		want := `"code":0,"message":` + string(html) + "}}\n"
		if !strings.HasSuffix(string(got), want) {
			t.Errorf("the message %q is %s, want %s", s, got, want)
		}
	})
}

// Juggler.0 writes args as encoding/json writes a json.RawMessage; juggler.1
// writes them as they are.
func FuzzArgs(f *testing.F) {
	for _, text := range jsonTexts {
		f.Add([]byte(text))
	}
	for _, text := range []string{
		`{ "<" : "<script>&amp;\u003c</script>" , "é": [ "\u2028\/\ud800" ] }`,
		"[\"\u2028\",\n\t\"\u2029\", \"\u202a\u2027\u00e2\", \" a b \\\" c \"]",
		`" <12345678>12345678&"`,
		`[1, 1e400, -0, 0.10]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, args []byte) {
		if mayBeDeep(args) || !frame.ValidJSON(args) {
			return
		}
		res := frame.Frame{Type: frame.Res, For: []byte("1"), Args: args}
		if got, want := string(frame.Juggler1.Append(nil, &res)), `{"type":"RES","for":"1","args":`+string(args)+`}`; got != want {
			t.Errorf("juggler.1: %s\nwant: %s", got, want)
		}
		compact, err := json.Marshal(json.RawMessage(args))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"meta":{"type":9,"uuid":"00000000-0000-0000-0000-000000000000"},"payload":{"for":"1","args":` + string(compact) + "}}\n"
		if got := string(frame.Juggler0.Append(nil, &res)); got != want {
			t.Errorf("juggler.0: %s\nwant: %s", got, want)
		}
	})
}
