package contract_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/contract"
)

var update = flag.Bool("update", false, "write testdata anew")

// newCallee returns a callee that is not started.
func newCallee(t *testing.T) *calleekit.Callee {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	c, err := calleekit.New(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type color string

func (color) JSONSchema() *contract.Schema { return contract.Enum[color]("red", "it's \"green\"") }

type base struct {
	ID string `json:"id" doc:"Names it for ever."`
}

type comment struct {
	Text    string    `json:"text"`
	Answers []comment `json:"answers"`
}

type order struct {
	base
	At      time.Time          `json:"at"`
	Size    [2]int             `json:"size"`
	Color   color              `json:"color"`
	Colors  map[string]color   `json:"colors,omitempty"`
	From    netip.Addr         `json:"from"`
	Picture []byte             `json:"picture"`
	Note    *string            `json:"note"`
	Tags    []string           `json:"tags,omitempty"`
	Comment *comment           `json:"comment,omitempty" doc:"What was said of it.\n\nIt ends with */ here."`
	Raw     json.RawMessage    `json:"raw"`
	Big     int64              `json:"big,string"`
	Weird   map[string]*[]uint `json:"weird name"`
}

type placed struct {
	Order order `json:"order"`
}

type page[T any] struct {
	Items []T  `json:"items"`
	Next  *int `json:"next,omitempty"`
}

type progress struct{ Done, Of int }

func nothing[In, Out any](context.Context, In) (out Out, err error) { return out, nil }

func shop(t *testing.T) []contract.Source {
	c := newCallee(t)
	c.Handle("orders.place", calleekit.Typed(nothing[order, placed]), calleekit.WithDoc("Places an order.\nIt is packed at once."),
		calleekit.WithErrorCode(422, "no such size"), calleekit.WithErrorCode(409, "sold out"), calleekit.WithStrictArgs(true))
	c.Handle("orders.list", calleekit.Typed(nothing[*struct {
		Limit int `json:"limit,omitempty"`
	}, page[order]]), calleekit.WithDeprecated("use orders.find"))
	c.Handle("time.now", calleekit.Typed(nothing[struct{}, time.Time]))
	c.Handle("ai.words", calleekit.Stream(func(context.Context, string) iter.Seq2[string, error] { return nil }))
	untyped := func(context.Context, *calleekit.Call) (any, error) { return nil, nil }
	c.Handle("report.make", untyped, calleekit.WithArgs[string](), calleekit.WithParts[progress](), calleekit.WithResult[map[int]bool]())
	c.Handle("it's `${any}` \\ \"\u2028\n", untyped)
	return []contract.Source{
		contract.Callee(c),
		contract.Channel[order]("orders.all", contract.Doc("Every order.")),
		contract.Channel[comment]("orders.{id}.comments", contract.FromClients()),
		contract.Channel[string]("user.{user}"),
		contract.Channel[progress]("user.{user}.`${progress}`", contract.Deprecated("see report.make")),
	}
}

// What is written for a shop is what testdata has: for JSON, and for TypeScript, which the
// tests of the TypeScript client compile.
func TestFiles(t *testing.T) {
	c, err := contract.New(shop(t)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"testdata/shop.json", "testdata/shop.ts"} {
		if *update {
			err = c.WriteFile(name)
		} else {
			err = c.CheckFile(name)
		}
		if err != nil {
			t.Error(err)
		}
	}
	read, err := contract.Parse(c.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if string(read.JSON()) != string(c.JSON()) {
		t.Errorf("read and written anew: %s", read.JSON())
	}
	if changes := contract.Compare(c, read); len(changes) > 0 {
		t.Errorf("it differs from itself: %v", changes)
	}
}

// A contract that others have written cannot write what it likes into the TypeScript, which
// the tests of the TypeScript client compile.
func TestHostileNames(t *testing.T) {
	text, err := os.ReadFile("testdata/hostile.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		err = c.WriteFile("testdata/hostile.ts")
	} else {
		err = c.CheckFile("testdata/hostile.ts")
	}
	if err != nil {
		t.Error(err)
	}
}

// CheckFile says what differs.
func TestCheckFile(t *testing.T) {
	c := newCallee(t)
	c.Handle("a", calleekit.Typed(nothing[string, int]))
	name := filepath.Join(t.TempDir(), "contract.json")
	made, err := contract.New(contract.Callee(c))
	if err != nil {
		t.Fatal(err)
	}
	if err := made.CheckFile(name); !os.IsNotExist(err) {
		t.Errorf("of a file that is not there: %v", err)
	}
	if err := made.WriteFile(name); err != nil {
		t.Fatal(err)
	}
	if err := made.CheckFile(name); err != nil {
		t.Error(err)
	}
	c.Handle("b", calleekit.Typed(nothing[string, int]))
	made, err = contract.New(contract.Callee(c))
	if err != nil {
		t.Fatal(err)
	}
	if err := made.CheckFile(name); err == nil || !strings.HasSuffix(err.Error(), "contract.json is not what the code says\ncall b: is new") {
		t.Errorf("got %v", err)
	}
}

type self *self

type twice struct {
	Func func() `json:"func"`
	Deep []map[[2]int]struct {
		Chan chan int
	}
}

type wrong struct{}

func (wrong) JSONSchema() *contract.Schema { return &contract.Schema{Type: contract.Types{"text"}} }

// New refuses what JSON cannot say, and what is there twice.
func TestNewRefuses(t *testing.T) {
	c := newCallee(t)
	c.Handle("a", calleekit.Typed(nothing[twice, complex64]))
	c.Handle("b", calleekit.Typed(nothing[*self, wrong]))
	_, err := contract.New(contract.Callee(c), contract.Callee(c), contract.Channel[int]("x.{a}"), contract.Channel[int]("x.{b}"))
	want := strings.Join([]string{
		`contract: call a: args: "func": func() has no form in JSON`,
		`contract: call a: args: "Deep": map[[2]int]struct { Chan chan int } has no form in JSON`,
		`contract: call a: args: "Deep": "Chan": chan int has no form in JSON`,
		`contract: call a: result: complex64 has no form in JSON`,
		`contract: call b: args: *contract_test.self points to itself only`,
		`contract: call b: result: JSONSchema of contract_test.wrong: "text" is no type of JSON`,
		`contract: call a: it is there twice`,
		`contract: call b: it is there twice`,
		`contract: channel x.{b}: it is there twice: x.{a} has the same names`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %v", err, want)
	}
}

// Parse refuses what it does not understand.
func TestParseRefuses(t *testing.T) {
	call := func(result string) string {
		return `{"juggler":1,"calls":{"a":{"result":` + result + `}},"channels":{}}`
	}
	for _, tt := range []struct{ text, want string }{
		{``, "EOF"},
		{`{"juggler":2,"calls":{},"channels":{},"new":1}`, `want "juggler": 1, got 2`},
		{`{"calls":{}}`, `want "juggler": 1, got 0`},
		{`{"juggler":1,"colls":{}}`, `unknown field "colls"`},
		{`{"juggler":1} 2`, "something after its end"},
		{`{"juggler":1,"calls":{"a":null}}`, "call a: result is missing"},
		{`{"juggler":1,"channels":{"a":{}}}`, "channel a: event is missing"},
		{`{"juggler":1,"channels":{"a{":{"event":{}}}}`, "channel a{: want braces only around a word"},
		{`{"juggler":1,"channels":{"{a}":{"event":{}},"{b}":{"event":{}}}}`, "channel {b}: it is there twice"},
		{`{"juggler":1,"$defs":{"A":{"$ref":"#/$defs/A"}}}`, "$defs: A: a $ref leads to itself"},
		{`{"juggler":1,"$defs":{"A":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/B"}]},"B":{"$ref":"#/$defs/A"}}}`, "$defs: A: a $ref leads to itself"},
		{call(`{"oneOf":[]}`), `unknown field "oneOf"`},
		{call(`{"type":"text"}`), `call a: result: "text" is no type of JSON`},
		{call(`{"type":["null","null"]}`), `type has "null" twice`},
		{call(`{"type":7}`), "cannot unmarshal number"},
		{call(`false`), "cannot unmarshal bool"},
		{call(`{"$ref":"#/$defs/A"}`), "there is no #/$defs/A"},
		{call(`{"$ref":"A"}`), "there is no A"},
		{call(`{"$ref":"A","type":"string"}`), "stand alone"},
		{call(`{"anyOf":[null]}`), "anyOf has null"},
		{call(`{"type":"object","properties":{"a":null}}`), `property "a" is null`},
		{call(`{"type":"object","required":["a"]}`), `"a" is required, and no property`},
		{call(`{"properties":{}}`), "properties is without the type object"},
		{call(`{"type":"array","items":{"minimum":1}}`), "minimum is without the type number"},
		{call(`{"enum":[[]]}`), "enum has []"},
		{call(`{"type":["string","null"],"enum":["a"]}`), "enum is with more than one type"},
	} {
		_, err := contract.Parse([]byte(tt.text))
		if err == nil || !strings.HasPrefix(err.Error(), "contract: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.text, err, tt.want)
		}
	}
	c, err := contract.Parse([]byte(call(`true`)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.TypeScript("my app"); err == nil {
		t.Error("a name that is none was taken")
	}
}

// References that fork again and again are followed once.
func TestForksOfReferences(t *testing.T) {
	var defs strings.Builder
	for i := range 64 {
		fmt.Fprintf(&defs, `"D%d":{"anyOf":[{"$ref":"#/$defs/D%d"},{"$ref":"#/$defs/D%d"}]},`, i, i+1, i+1)
	}
	text := func(last string) []byte {
		return []byte(`{"juggler":1,"channels":{"a":{"event":{"$ref":"#/$defs/D0"}}},"$defs":{` + defs.String() + `"D64":{"type":"` + last + `"}}}`)
	}
	from, err := contract.Parse(text("string"))
	if err != nil {
		t.Fatal(err)
	}
	to, err := contract.Parse(text("null"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(contract.Compare(from, to)); got != "[channel a: event: was string, is null]" {
		t.Error(got)
	}
}

// Events are published on the channels of their declaration.
func TestEvents(t *testing.T) {
	e := contract.Channel[progress]("user.{user}.report.{report}")
	if got := e.Name("ann", "7"); got != "user.ann.report.7" {
		t.Error(got)
	}
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	events := make(chan broker.Delivery, 1)
	sub, err := b.OpenSubscriber(t.Context(), func(all []broker.Delivery) { events <- all[0] })
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if err := sub.Subscribe(t.Context(), broker.Topic{Name: "user.ann.report.7"}); err != nil {
		t.Fatal(err)
	}
	if err := e.Publish(t.Context(), contract.OnBroker(b), progress{1, 2}, "ann", "7"); err != nil {
		t.Fatal(err)
	}
	if d := <-events; string(d.Event.Args) != `{"Done":1,"Of":2}` {
		t.Errorf("got %s", d.Event.Args)
	}
	for name, f := range map[string]func(){
		"too few values": func() { e.Name("ann") },
		"a lone brace":   func() { contract.Channel[int]("a{b") },
		"an empty name":  func() { contract.Channel[int]("") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
