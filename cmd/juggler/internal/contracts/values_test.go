// Package contracts tests the library's package contract with a validator of JSON Schema,
// which the library shall not require for it. It is random, by seeds that a failure names.
package contracts

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/juggler-go/juggler/contract"
)

// compile returns the validator of what a contract says of the events of a channel.
func compile(t *testing.T, contractJSON []byte, channel string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(contractJSON))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	if err := c.AddResource("contract.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("contract.json#/channels/" + channel + "/event")
	if err != nil {
		t.Fatalf("%v\n%s", err, contractJSON)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s.Validate(v)
}

type (
	named       []string
	counts      map[int8]uint16
	tree        struct{ Kids []tree }
	list        []list
	nest        map[string]nest
	chain       struct{ Next *chain }
	byText      struct{ X int }
	textOfAddr  struct{ X int }
	byJSON      struct{ X int }
	readsItself struct{ X int }
	textKey     struct{ x byte }
	octet       byte
	jsonInt     int
	stringText  string
)

func (byText) MarshalText() ([]byte, error)           { return []byte("text"), nil }
func (*textOfAddr) MarshalText() ([]byte, error)      { return []byte("text"), nil }
func (byJSON) MarshalJSON() ([]byte, error)           { return []byte(`[1]`), nil }
func (*readsItself) UnmarshalJSON([]byte) error       { return nil }
func (k textKey) MarshalText() ([]byte, error)        { return []byte{'a' + k.x%26}, nil }
func (jsonInt) MarshalJSON() ([]byte, error)          { return []byte("{}"), nil }
func (octet) MarshalText() ([]byte, error)            { return []byte("8"), nil }
func (s *stringText) UnmarshalText(text []byte) error { *s = stringText(text); return nil }
func (l level) JSONSchema() *contract.Schema          { return contract.Enum[level]("low", "high") }
func (l level) MarshalText() ([]byte, error)          { return []byte([]string{"low", "high"}[len(l)%2]), nil }

type level string

type Exported struct {
	Same  int
	Other string `json:"other,omitempty"`
}

type Second struct {
	Same int
	Deep *int `json:"deep"`
}

type embeds struct {
	Exported
	*Second
	Own  bool
	Name string `json:"Deeper"`
}

type withTime struct {
	time.Time
	More int
}

type tagged struct {
	Exported `json:"exported"`
	Second   `json:"second"`
}

type scalars struct {
	Bool   bool
	Int    int
	Int8   int8
	Uint8  uint8
	Int16  int16
	Uint32 uint32
	Int64  int64
	Uint64 uint64
	Ptr    uintptr
	F32    float32
	F64    float64
	String string
	Number json.Number
	Raw    json.RawMessage
	Any    any
	When   time.Time
	Took   time.Duration
	Addr   netip.Addr
	Bytes  []byte
	Octets []octet
	Fixed  [3]byte
	None   [0]int
	Level  level
	Text   stringText
	ByText byText
	OfAddr textOfAddr
	ByJSON byJSON
	Reads  readsItself
	//lint:ignore SA5008 it is how encoding/json has a field of this name
	Dash int    `json:"-,"`
	Not  int    `json:"-"`
	Func func() `json:"-"`
	//lint:ignore U1000 it is not looked at
	private func()
}

type pointers struct {
	Int     *int
	Deep    **string
	Slice   *[]int
	Map     *map[string]*bool
	When    *time.Time
	Raw     *json.RawMessage
	Text    *byText
	OfAddr  *textOfAddr
	JSON    *byJSON
	Struct  *scalars
	Array   *[2]*int
	Level   *level
	Pointer *struct{ In *chain }
}

type omits struct {
	Bool   bool            `json:",omitempty"`
	Int    int             `json:"int,omitempty"`
	Slice  []int           `json:"slice,omitempty"`
	Named  named           `json:"named,omitempty"`
	Map    map[string]int  `json:"map,omitempty"`
	Ptr    *int            `json:"ptr,omitempty"`
	Deep   **int           `json:"deep,omitempty"`
	ToMap  *map[string]int `json:"tomap,omitempty"`
	Any    any             `json:"any,omitempty"`
	Struct Second          `json:"struct,omitempty"`
	Array  [2]int          `json:"array,omitempty"`
	Empty  [0]int          `json:"empty,omitempty"`
	When   time.Time       `json:"when,omitempty"`
	Text   byText          `json:"text,omitempty"`
}

type omitsZero struct {
	Bool   bool      `json:",omitzero"`
	Slice  []int     `json:"slice,omitzero"`
	Map    counts    `json:"map,omitzero"`
	Ptr    *int      `json:"ptr,omitzero"`
	Deep   **int     `json:"deep,omitzero"`
	Struct Second    `json:"struct,omitzero"`
	Array  [2]int    `json:"array,omitzero"`
	When   time.Time `json:"when,omitzero"`
	Never  neverZero `json:"never,omitzero"`
}

type neverZero []int

func (neverZero) IsZero() bool { return false }

type quoted struct {
	Int    int         `json:"int,string"`
	Ptr    *int        `json:"ptr,string"`
	Omit   *uint8      `json:"omit,string,omitempty"`
	Bool   bool        `json:",string"`
	Float  float64     `json:"float,string"`
	String string      `json:"string,string"`
	Number json.Number `json:"number,string"`
	//lint:ignore SA5008 it has no effect here
	Slice []int `json:"slice,string"`
	//lint:ignore SA5008 it has no effect here
	Text byText `json:"text,string"`
	//lint:ignore SA5008 it has no effect here
	Deep **int   `json:"deep,string"`
	Enum level   `json:"enum,string"`
	JSON jsonInt `json:"json,string"`
}

type collections struct {
	Named   named
	Counts  counts
	Tree    tree
	List    list
	Nest    nest
	Chain   chain
	Chains  map[string][]*chain
	Keys    map[textKey]int
	Matrix  [2][3]float32
	Anon    struct{ X, Y *int }
	Anons   []struct{ Z any }
	Pages   page[page[named]]
	Bytes   [][]byte
	Levels  map[level]level
	Strings []stringText
}

type page[T any] struct {
	Items []T `json:"items"`
	More  *T  `json:"more"`
	Self  *page[T]
}

// What encoding/json writes for values fits the schema of their type, whether it has the
// addresses of them or not.
func TestValuesFit(t *testing.T) {
	fits[scalars](t)
	fits[pointers](t)
	fits[omits](t)
	fits[omitsZero](t)
	fits[quoted](t)
	fits[collections](t)
	fits[embeds](t)
	fits[withTime](t)
	fits[tagged](t)
	fits[named](t)
	fits[tree](t)
	fits[*list](t)
	fits[[]any](t)
	fits[**int](t)
	fits[struct{}](t)
	fits[json.RawMessage](t)
	fits[uint64](t)
	fits[level](t)
	fits[map[netip.Addr]time.Time](t)
}

func fits[T any](t *testing.T) {
	name := reflect.TypeFor[T]().String()
	c, err := contract.New(contract.Channel[T]("x"))
	if err != nil {
		t.Fatal(err)
	}
	s := compile(t, c.JSON(), "x")
	for seed := range uint64(150) {
		f := filler{rand.New(rand.NewPCG(seed, 0))}
		v := new(T)
		if seed > 0 { // the first is zero
			f.fill(reflect.ValueOf(v).Elem(), 4)
		}
		for _, v := range []any{*v, v} {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatalf("%s, seed %d: %v", name, seed, err)
			}
			if err := valid(t, s, text); err != nil {
				t.Fatalf("%s, seed %d: %s\n%v\n%s", name, seed, text, err, c.JSON())
			}
		}
	}
}

// A filler makes values.
type filler struct{ *rand.Rand }

func (f filler) fill(v reflect.Value, depth int) {
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(f.Int64N(1e9), f.Int64N(2))))
		return
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{byte(f.IntN(256)), 1, 2, 3})))
		return
	case reflect.TypeFor[json.Number]():
		v.SetString([]string{"", "1", "-2.5e3"}[f.IntN(3)])
		return
	case reflect.TypeFor[json.RawMessage]():
		v.SetBytes([][]byte{nil, []byte(`{"a":[1]}`), []byte("null")}[f.IntN(3)])
		return
	}
	empty := depth == 0 || f.IntN(4) == 0
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.Uint64()) >> f.IntN(64))
		if f.IntN(3) == 0 {
			v.SetInt(-1 << (v.Type().Bits() - 1))
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		v.SetUint(f.Uint64() >> f.IntN(64))
		if f.IntN(3) == 0 {
			v.SetUint(1<<v.Type().Bits() - 1)
		}
	case reflect.Float32, reflect.Float64:
		v.SetFloat(f.NormFloat64() * 1e6)
	case reflect.String:
		v.SetString([]string{"", "a", "low", "\x00\xff\"\u2028"}[f.IntN(4)])
	case reflect.Interface:
		v.Set(reflect.ValueOf([]any{1, "x", []int(nil), map[string]any{"a": nil}, (*int)(nil)}[f.IntN(5)]))
	case reflect.Pointer:
		if !empty {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), depth-1)
		}
	case reflect.Slice:
		if !empty {
			v.Set(reflect.MakeSlice(v.Type(), f.IntN(3), 3))
			f.elements(v, depth-1)
		}
	case reflect.Array:
		f.elements(v, depth-1)
	case reflect.Map:
		if !empty {
			v.Set(reflect.MakeMap(v.Type()))
			for range f.IntN(3) {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				f.fill(key, depth-1)
				f.fill(value, depth-1)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() || v.Type().Field(i).Anonymous {
				f.fill(v.Field(i), max(depth-1, 0))
			}
		}
	}
}

func (f filler) elements(v reflect.Value, depth int) {
	for i := range v.Len() {
		f.fill(v.Index(i), max(depth, 0))
	}
}

// A schema refuses what its type is not.
func TestOthersDoNotFit(t *testing.T) {
	refuses[scalars](t, `{}`, `[]`, `null`, `"x"`)
	refuses[int8](t, `128`, `-129`, `1.5`, `"1"`, `null`)
	refuses[uint](t, `-1`)
	refuses[[2]int](t, `[1]`, `[1,2,3]`, `null`)
	refuses[[]int](t, `["1"]`, `{}`)
	refuses[[]byte](t, `"!"`, `[1]`)
	refuses[time.Time](t, `"now"`, `7`)
	refuses[map[string]bool](t, `{"a":1}`, `[]`)
	refuses[chain](t, `{"Next":{}}`, `{"Next":{"Next":{"Next":7}}}`)
	refuses[level](t, `"middle"`, `1`)
	refuses[omits](t, `{}`, `{"struct":{"Same":1,"deep":null},"array":[1,2],"when":"2000-01-01T00:00:00Z","text":"","slice":null}`)
	refuses[quoted](t, `{"int":1}`)
}

func refuses[T any](t *testing.T, texts ...string) {
	c, err := contract.New(contract.Channel[T]("x"))
	if err != nil {
		t.Fatal(err)
	}
	s := compile(t, c.JSON(), "x")
	for _, text := range texts {
		if valid(t, s, []byte(text)) == nil {
			t.Errorf("%T: %s is allowed by %s", *new(T), strconv.Quote(text), c.JSON())
		}
	}
}
