package calleekit_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
)

type address struct {
	Street string `json:"street"`
	Number uint   `json:"number"`
}

type person struct {
	address
	Name   string            `json:"name"`
	Home   *address          `json:"home"`
	Tags   []string          `json:"tags"`
	Extra  map[string]bool   `json:"extra"`
	Age    int8              `json:"age"`
	Weight float64           `json:"weight"`
	Photo  []byte            `json:"photo"`
	Born   time.Time         `json:"born"`
	Color  color             `json:"color"`
	Any    map[string]person `json:"any"`
	Pair   [2]int            `json:"pair"`
	Fn     func()            `json:"fn"`
	Peer   *netip.Addr       `json:"peer"`
	Sum    json.Number       `json:"sum"`
}

// color decodes from two words only, and says so.
type color string

func (c *color) UnmarshalJSON(b []byte) error {
	if string(b) != `"red"` && string(b) != `"blue"` {
		return calleekit.Errorf(422, "color is red or blue")
	}
	return json.Unmarshal(b, (*string)(c))
}

func TestDecodeErrors(t *testing.T) {
	for _, tt := range []struct {
		args string
		code frame.Code
		want string
	}{
		{`7`, 400, `args: want an object, got a number`},
		{`"x"`, 400, `args: want an object, got a string`},
		{`[]`, 400, `args: want an object, got an array`},
		{`true`, 400, `args: want an object, got a boolean`},
		{`{"name":1}`, 400, `args, "name" at byte 9: want a string, got a number`},
		{`{"name":{}}`, 400, `args, "name" at byte 9: want a string, got an object`},
		{`{"home":{"street":1}}`, 400, `args, "street" at byte 19: want a string, got a number`},
		{`{"street":1}`, 400, `args, "street" at byte 11: want a string, got a number`},
		{`{"number":-1}`, 400, `args, "number" at byte 12: -1 is not an integer of 0 or more in range`},
		{`{"age":300}`, 400, `args, "age" at byte 10: 300 is not an integer in range`},
		{`{"age":1.5}`, 400, `args, "age" at byte 10: 1.5 is not an integer in range`},
		{`{"age":` + strings.Repeat("1", 1000) + `}`, 400, `args, "age" at byte 1007: ` + strings.Repeat("1", 32) + `… is not an integer in range`},
		{`{"weight":"1"}`, 400, `args, "weight" at byte 13: want a number, got a string`},
		{`{"tags":"x"}`, 400, `args, "tags" at byte 11: want an array, got a string`},
		{`{"pair":1}`, 400, `args, "pair" at byte 9: want an array, got a number`},
		{`{"extra":{"a":1}}`, 400, `args, "extra" at byte 15: want a boolean, got a number`},
		{`{"photo":1}`, 400, `args, "photo" at byte 10: want a base64 string, got a number`},
		{`{"photo":"!"}`, 400, `args are not of the form that is expected here`},
		{`{"born":"yesterday"}`, 400, `args are not of the form that is expected here`},
		{`{"fn":1}`, 400, `args, "fn" at byte 7: want another value, got a number`},
		{`{"peer":{}}`, 400, `args, "peer" at byte 9: want a string, got an object`},
		{`{"peer":1}`, 400, `args, "peer" at byte 9: want a string, got a number`},
		{`{"sum":true}`, 400, `args, "sum" at byte 11: want a number, got a boolean`},
		{`{"color":"green"}`, 422, `color is red or blue`},
		{`{"name"`, 400, `args are not valid JSON, at byte 7`},
	} {
		c := &calleekit.Call{Args: json.RawMessage(tt.args)}
		var own *calleekit.Error
		err := c.Decode(new(person))
		if !errors.As(err, &own) || own.Code != tt.code || own.Message != tt.want {
			t.Errorf("Decode(%s) = %#v, want %d %s", tt.args, err, tt.code, tt.want)
			continue
		}
		for _, leak := range []string{"json:", "Go ", "address", "person", "calleekit", "time."} {
			if strings.Contains(own.Message, leak) {
				t.Errorf("Decode(%s): the message %q has %q in it", tt.args, own.Message, leak)
			}
		}
	}
}

// Whatever the arguments are, an error is one for the caller to read.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`null`, `{"age":300}`, `{"home":{"number":-1}}`, `{"any":{"a":{"any":{"b":1}}}}`, `{"photo":"!"}`, `{"born":"x"}`, `[`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, args string) {
		err := (&calleekit.Call{Args: json.RawMessage(args)}).Decode(new(person))
		if err == nil {
			return
		}
		var own *calleekit.Error
		if !errors.As(err, &own) || own.Code != 400 && own.Code != 422 {
			t.Fatalf("error is %#v", err)
		}
		if m := own.Message; len(m) > 120 || !utf8.ValidString(m) || strings.Contains(m, "Go ") || strings.Contains(m, "calleekit") {
			t.Errorf("message %q", m)
		}
	})
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{`{"name":"Ada","unknown":1}`, "Ada"},
		{`null`, "before"},
		{``, "before"},
	} {
		c := &calleekit.Call{Args: json.RawMessage(tt.args)}
		p := person{Name: "before"}
		if err := c.Decode(&p); err != nil || p.Name != tt.want {
			t.Errorf("Decode(%s): name %q, error %v; want %q", tt.args, p.Name, err, tt.want)
		}
	}
}

func TestTyped(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil)
	c.Handle("len", calleekit.Typed(func(_ context.Context, in []int) (int, error) { return len(in), nil }))
	c.Handle("fail", calleekit.Typed(func(context.Context, any) (*int, error) { return nil, calleekit.Errorf(409, "no") }))
	c.Handle("raw", calleekit.Typed(func(_ context.Context, in json.RawMessage) (json.RawMessage, error) { return in, nil }))
	c.Handle("uri", calleekit.Typed(func(ctx context.Context, _ struct{}) (string, error) { return calleekit.CallFrom(ctx).URI, nil }))
	s.start(c)
	s.call("len", "[1,2,3]").want("3")
	s.call("len", "null").want("0")
	s.call("len", `["x"]`).wantError(400, "args: want an integer, got a string")
	s.call("fail", "1").wantError(409, "no")
	s.call("raw", `{ "a":1 }`).want(`{ "a":1 }`)
	s.call("uri", "").want(`"uri"`)
}
