package contract_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/contract"
)

func parse(t *testing.T, text string) *contract.Contract {
	t.Helper()
	c, err := contract.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

// lines returns changes as lines; what breaks clients begins with an exclamation mark.
func lines(changes []contract.Change) string {
	var b strings.Builder
	for _, c := range changes {
		if c.Breaks {
			b.WriteString("! ")
		}
		b.WriteString(c.String() + "\n")
	}
	return b.String()
}

const (
	neither = ""
	args    = "a" // it breaks clients that send it
	event   = "e" // it breaks clients that receive it
	both    = "ae"
)

// Each change of a schema is told, with what it breaks: as arguments, as events, and as
// events that clients publish, too, what either breaks.
func TestCompareSchemas(t *testing.T) {
	object := func(properties, required string) string {
		return `{"type":"object","properties":{` + properties + `},"required":[` + required + `]}`
	}
	for _, tt := range []struct{ from, to, want, breaks string }{
		{`{}`, `{}`, "", neither},
		{`{}`, `{"type":"string"}`, ": was any value, is string", args},
		{`{"type":["string","null"]}`, `{}`, ": was string or null, is any value", event},
		{`{"type":"string"}`, `{"type":"number"}`, ": was string, is number", both},
		{`{"type":"string"}`, `{"type":["string","null"]}`, ": may be null now", event},
		{`{"type":["string","null"]}`, `{"type":"string"}`, ": is null no more", args},
		{`{"type":"integer"}`, `{"type":"number"}`, ": was integer, is number", event},
		{`{"type":"number"}`, `{"type":"integer"}`, ": was number, is integer", args},
		{`{"type":["integer","null"]}`, `{"type":"number"}`, ": was integer or null, is number", both},
		{`{"type":"number"}`, `{"type":["number","integer"]}`, "", neither},
		{`{"type":"integer","maximum":9}`, `{"type":"integer","maximum":8}`, ": is at most 8 now", args},
		{`{"type":"integer","maximum":9}`, `{"type":"integer"}`, ": may be more than 9 now", event},
		{`{"type":"integer","minimum":1}`, `{"type":"integer","minimum":2}`, ": is at least 2 now", args},
		{`{"type":"integer","minimum":1}`, `{"type":"integer","minimum":0.5}`, ": may be less than 1 now", event},
		{`{"enum":["a","b"],"type":"string"}`, `{"enum":["b","a"],"type":"string"}`, "", neither},
		{`{"enum":["a","b"],"type":"string"}`, `{"enum":["a"],"type":"string"}`, ": is 'b' no more", args},
		{`{"enum":["a"],"type":"string"}`, `{"enum":["a","b"],"type":"string"}`, ": may be 'b' now", event},
		{`{"enum":["a"],"type":"string"}`, `{"type":"string"}`, ": was one of 'a', and may be anything now", event},
		{`{"type":"string"}`, `{"enum":["a"],"type":"string"}`, ": is one of 'a' now", args},
		{`{"enum":["a",1]}`, `{"enum":["a",1]}`, "", neither},
		{`{"enum":["a",1]}`, `{"enum":["a",2]}`, ": was one of 'a', 1, is one of 'a', 2", both},
		{`{"type":"string"}`, `{"type":"string","format":"date-time"}`, ": is of the format date-time now", args},
		{`{"type":"string","format":"date-time"}`, `{"type":"string"}`, ": is of the format date-time no more", event},
		{`{"type":"string","format":"date"}`, `{"type":"string","format":"time"}`, ": was of the format date, is of time", both},
		{`{"type":"string"}`, `{"type":"string","contentEncoding":"base64"}`, ": was text as it is, is encoded in base64", both},
		{`{"type":"array","items":{"type":"string"}}`, `{"type":"array","items":{"type":"number"}}`, "[]: was string, is number", both},
		{`{"type":"array"}`, `{"type":"array","items":{"type":"number"}}`, "[]: was any value, is number", args},
		{`{"type":"array","minItems":2}`, `{"type":"array","minItems":3}`, ": is at least 3 elements now", args},
		{`{"type":"array","maxItems":2}`, `{"type":"array","maxItems":3}`, ": may be more than 2 elements now", event},
		{`{"type":"object","additionalProperties":{"type":"string"}}`, `{"type":"object"}`, "[*]: was string, is any value", event},
		{`{"type":"object","additionalProperties":{"type":"string"}}`, `{"type":"object","additionalProperties":{"type":"string"},"properties":{"a":{}}}`, ".a: is new, and was a key like any other", both},
		{object(`"a":{}`, `"a"`), object(`"a":{},"b":{}`, `"a"`), ".b: is new", neither},
		{object(`"a":{}`, `"a"`), object(`"a":{},"b":{}`, `"a","b"`), ".b: is new and always there", args},
		{object(`"a":{},"b":{}`, `"a"`), object(`"a":{}`, `"a"`), ".b: is gone", both},
		{object(`"a":{}`, ``), object(`"a":{}`, `"a"`), ".a: is always there now", args},
		{object(`"a":{}`, `"a"`), object(`"a":{}`, ``), ".a: is not always there now", event},
		{object(`"a b":{"type":"string"}`, ``), object(`"a b":{"type":["string","null"]}`, ``), "['a b']: may be null now", event},
		{object(`"a":`+object(`"b":{}`, ``), ``), object(`"a":`+object(``, ``), ``), ".a.b: is gone", both},
		{`{"anyOf":[{"type":"string"},{"type":"null"}]}`, `{"type":["null","string"]}`, "", neither},
		{`{"anyOf":[` + object(`"a":{}`, ``) + `,` + object(`"b":{}`, ``) + `]}`, `{"anyOf":[` + object(`"b":{}`, ``) + `,` + object(`"a":{}`, ``) + `]}`, "", neither},
		{`{"anyOf":[` + object(`"a":{}`, ``) + `,` + object(`"b":{}`, ``) + `]}`, object(`"b":{}`, ``), ": is object no more", args},
		{`{"$ref":"#/$defs/List"}`, `{"$ref":"#/$defs/List"}`, "", neither},
		{`{"$ref":"#/$defs/List"}`, `{"$ref":"#/$defs/Other"}`, ".v: was string, is number", both},
		{`{"$ref":"#/$defs/List"}`, object(`"next":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/List"}]},"v":{"type":"string"}`, `"v"`), "", neither},
	} {
		whole := func(s string) *contract.Contract {
			return parse(t, `{"juggler":1,"calls":{"u":{"args":`+s+`,"result":{}},"v":{"result":`+s+`,"part":`+s+`}},"channels":{"c":{"event":`+s+`},"d":{"event":`+s+`,"fromClients":true}},"$defs":{
				"List":`+object(`"v":{"type":"string"},"next":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/List"}]}`, `"v"`)+`,
				"Other":`+object(`"v":{"type":"number"},"next":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/Other"}]}`, `"v"`)+`}}`)
		}
		got := lines(contract.Compare(whole(tt.from), whole(tt.to)))
		want := ""
		for _, where := range []struct{ name, breaks string }{
			{"call u: args", args}, {"call v: result", event}, {"call v: part", event}, {"channel c: event", event}, {"channel d: event", both},
		} {
			if tt.want == "" {
				continue
			}
			if strings.ContainsAny(tt.breaks, where.breaks) {
				want += "! "
			}
			what := tt.want
			switch where.breaks { // clients are told what is asked of them, and what they get
			case args:
				what = strings.NewReplacer("not always there", "optional", "always there", "required").Replace(what)
			case both:
				what = strings.NewReplacer("not always there", "not always there", "always there", "required").Replace(what)
			}
			want += where.name + what + "\n"
		}
		if got != want {
			t.Errorf("%s → %s:\n%swant\n%s", tt.from, tt.to, got, want)
		}
	}
}

// Each change of a call or channel is told, with whether it breaks clients.
func TestCompareCallsAndChannels(t *testing.T) {
	calls := func(body string) string { return `"calls":{` + body + `}` }
	channels := func(body string) string { return `"channels":{` + body + `}` }
	call := func(more string) string { return calls(`"u":{"result":{}` + more + `}`) }
	for _, tt := range []struct{ from, to, want string }{
		{call(``), calls(``), "! call u: is gone"},
		{calls(``), call(``), "call u: is new"},
		{channels(`"c":{"event":{}}`), channels(``), "! channel c: is gone"},
		{channels(``), channels(`"c":{"event":{}}`), "channel c: is new"},
		{call(``), call(`,"description":"Other."`), ""},
		{call(``), call(`,"deprecated":"use v"`), "call u: is deprecated: use v"},
		{call(`,"deprecated":"use v"`), call(``), "call u: is deprecated no more"},
		{call(``), call(`,"args":{},"argsOptional":true`), "call u: args: are new and optional"},
		{call(``), call(`,"args":{}`), "! call u: args: are new and required"},
		{call(`,"args":{},"argsOptional":true`), call(`,"args":{}`), "! call u: args: are required now"},
		{call(`,"args":{}`), call(`,"args":{},"argsOptional":true`), "call u: args: are optional now"},
		{call(`,"args":{}`), call(``), "! call u: args: are taken no more"},
		{call(`,"args":{}`), call(`,"args":{},"strictArgs":true`), "! call u: args: members that are not known are refused now"},
		{call(`,"args":{},"strictArgs":true`), call(`,"args":{}`), "call u: args: members that are not known are ignored now"},
		{call(``), call(`,"part":{}`), "call u: answers in parts, too"},
		{call(`,"part":{}`), call(``), "! call u: answers in parts no more"},
		{call(`,"errors":{"409":"sold out"}`), call(`,"errors":{"422":"too large"}`), "call u: fails with code 409 no more\ncall u: may fail with code 422: too large"},
		{channels(`"c.{a}":{"event":{}}`), channels(`"c.{b}":{"event":{}}`), ""},
		{channels(`"c.{b}":{"event":{}}`), channels(`"c.{a}":{"event":{"type":"null"}},"d":{"event":{}}`), "channel c.{a}: event: was any value, is null\nchannel d: is new"},
		{channels(`"c":{"event":{}}`), channels(`"c":{"event":{},"fromClients":true}`), "channel c: clients publish on it, too"},
		{channels(`"c":{"event":{},"fromClients":true}`), channels(`"c":{"event":{},"deprecated":"use d"}`), "channel c: is deprecated: use d\n! channel c: clients publish on it no more"},
	} {
		whole := func(body string) *contract.Contract { return parse(t, `{"juggler":1,`+body+`}`) }
		if got := lines(contract.Compare(whole(tt.from), whole(tt.to))); strings.TrimSuffix(got, "\n") != tt.want {
			t.Errorf("%s → %s:\n%swant\n%s", tt.from, tt.to, got, tt.want)
		}
	}
}

func ExampleCompare() {
	parse := func(text string) *contract.Contract {
		c, err := contract.Parse([]byte(text))
		if err != nil {
			panic(err)
		}
		return c
	}
	from := parse(`{"juggler": 1, "calls": {"math.add": {
		"args": {"type": "object", "properties": {"a": {"type": "number"}}},
		"result": {"type": "number"}
	}}}`)
	to := parse(`{"juggler": 1, "calls": {"math.add": {
		"args": {"type": "object", "properties": {"a": {"type": "number"}, "scale": {"type": "integer"}}, "required": ["scale"]},
		"result": {"type": ["number", "null"]}
	}}}`)
	for _, c := range contract.Compare(from, to) {
		fmt.Println(c.Breaks, c)
	}
	// Output:
	// true call math.add: args.scale: is new and required
	// true call math.add: result: may be null now
}
