package calleekit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/calleekit"
)

type strictPoint [2]int

type strictBase struct {
	ID    int `json:"id"`
	Shade string
	Same  int
}

type strictOther struct{ Same int }

type strictPerson struct {
	strictBase
	*StrictOwn
	strictOther
	Shade  int                   `json:"shade2"`
	Name   string                `json:"name"`
	Nick   *string               `json:"nick"`
	At     strictPoint           `json:"at"`
	Path   []strictPoint         `json:"path"`
	Homes  map[string]strictHome `json:"homes"`
	Any    any                   `json:"any"`
	Raw    json.RawMessage       `json:"raw"`
	Born   time.Time             `json:"born"`
	Photo  []byte                `json:"photo"`
	Count  int                   `json:"count,string"`
	Friend *strictPerson         `json:"friend"`
	//lint:ignore SA5008 encoding/json does not take this name, but the field's
	Odd    int `json:"a\"b"`
	Hidden int `json:"-"`
	//lint:ignore SA5008 it is how encoding/json has a field of this name
	Dash int                    `json:"-,"`
	Deep map[string][]*[1]*bool `json:"deep"`
}

type StrictOwn struct{ Own int }

type strictHome struct {
	Street string `json:"street"`
}

// decodeStrictly decodes args into a value of type In.
func decodeStrictly[In any](args string) error { return calleekit.StrictCall(args).Decode(new(In)) }

func TestStrictArgs(t *testing.T) {
	for _, tt := range []struct {
		decode func(string) error
		args   string
		want   string // "": they fit
	}{
		{decodeStrictly[strictPerson], ``, ``},
		{decodeStrictly[strictPerson], ` null `, ``},
		{decodeStrictly[strictPerson], `{}`, ``},
		{decodeStrictly[strictPerson], `{"id":1,"NAME":"x","shade":"","Shade2":1,"-":1,"Odd":1,"count":"7"}`, ``},
		{decodeStrictly[strictPerson], `{"nick":null,"path":null,"homes":null,"any":null,"raw":null,"born":null,"photo":null,"friend":null}`, ``},
		{decodeStrictly[strictPerson], `{"any":{"x":[1]},"raw":{"x":1},"photo":"aGk=","homes":{"a":{"street":""}},"deep":{"a":[[null]]}}`, ``},
		{decodeStrictly[strictPerson], `{"nam":"x"}`, `args, "nam" at byte 6: there is no such member`},
		{decodeStrictly[strictPerson], `{"Hidden":1}`, `args, "Hidden" at byte 9: there is no such member`},
		{decodeStrictly[strictPerson], `{"Same":1}`, `args, "Same" at byte 7: there is no such member`},
		{decodeStrictly[strictPerson], `{"a\"b":1}`, `args, "a\"b" at byte 7: there is no such member`},
		{decodeStrictly[strictPerson], `{"friend":{"homes":{"a b":{"stret":1}}}}`, `args, "friend.homes.a b.stret" at byte 34: there is no such member`},
		{decodeStrictly[strictPerson], `{"at":[1]}`, `args, "at" at byte 9: want an array of 2, got one of 1`},
		{decodeStrictly[strictPerson], `{"path":[[1,2],[1,2,3]]}`, `args, "path[1]" at byte 22: want an array of 2, got one of 3`},
		{decodeStrictly[strictPerson], `{"path":[[1,null]]}`, `args, "path[0][1]" at byte 16: want an integer, got null`},
		{decodeStrictly[strictPerson], `{"name":null}`, `args, "name" at byte 12: want a string, got null`},
		{decodeStrictly[strictPerson], `{"homes":{"a":null}}`, `args, "homes.a" at byte 18: want an object, got null`},
		{decodeStrictly[strictPerson], `{"deep":{"a":[[]]}}`, `args, "deep.a[0]" at byte 16: want an array of 1, got one of 0`},
		{decodeStrictly[strictPerson], `{"name":1}`, `args, "name" at byte 9: want a string, got a number`},
		{decodeStrictly[strictPoint], `[1,2]`, ``},
		{decodeStrictly[strictPoint], `[1]`, `args: want an array of 2, got one of 1`},
		{decodeStrictly[strictPoint], `[1,2,{"x":3}]`, `args: want an array of 2, got one of 3`},
		{decodeStrictly[strictPoint], ``, `args: want an array, got null`},
		{decodeStrictly[strictPoint], `[null,2]`, `args, "[0]" at byte 5: want an integer, got null`},
		{decodeStrictly[int], ``, `args: want an integer, got null`},
		{decodeStrictly[*int], ``, ``},
		{decodeStrictly[[]int], `null`, ``},
		{decodeStrictly[any], ``, ``},
		{decodeStrictly[time.Time], `null`, ``},
		{decodeStrictly[struct{}], ``, ``},
		{decodeStrictly[struct{}], `{"x":1}`, `args, "x" at byte 4: there is no such member`},
	} {
		var own *calleekit.Error
		switch err := tt.decode(tt.args); {
		case err == nil && tt.want != "":
			t.Errorf("%s fit, want %s", tt.args, tt.want)
		case err != nil && (!errors.As(err, &own) || own.Code != 400 || own.Message != tt.want):
			t.Errorf("%s: got %v, want %s", tt.args, err, tt.want)
		}
	}
}

// One function may be an exception, either way.
func TestStrictArgsOfOneFunction(t *testing.T) {
	decode := calleekit.Typed(func(_ context.Context, in [1]int) (int, error) { return in[0], nil })
	for _, strict := range []bool{false, true} {
		s := newSystem(t)
		c := s.callee(nil, calleekit.WithStrictArgs(strict))
		c.Handle("same", decode)
		c.Handle("other", decode, calleekit.WithStrictArgs(!strict))
		s.start(c)
		for uri, refuses := range map[string]bool{"same": strict, "other": !strict} {
			if err := s.call(uri, `[1,2]`).wait().Err; (err != nil) != refuses {
				t.Errorf("strict %t, %s: got %v", strict, uri, err)
			}
		}
	}
}

// Which members there are is decided as encoding/json does.
func FuzzStrictArgs(f *testing.F) {
	for _, seed := range []string{`{"ID":1}`, `{"same":1}`, `{"Own":1}`, `{"SHADE":""}`, `{"friend":{"x":1}}`, `{"strictBase":{}}`, `{"-":0}`, `{"K\u212a":1}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, args string) {
		if args == "" || json.Unmarshal([]byte(args), new(strictPerson)) != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader([]byte(args)))
		d.DisallowUnknownFields()
		unknown := d.Decode(new(strictPerson)) != nil
		err := decodeStrictly[strictPerson](args)
		if says := err != nil && strings.Contains(err.Error(), "there is no such member"); says && !unknown || unknown && err == nil {
			t.Errorf("%s: unknown to encoding/json: %t, to us: %v", args, unknown, err)
		}
		var own *calleekit.Error
		if err != nil && !errors.As(err, &own) {
			t.Errorf("%s: %v", args, err)
		}
	})
}
