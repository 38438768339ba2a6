package contract

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
)

// version is that of the form of contracts.
const version = 1

const refPrefix = "#/$defs/"

// A Contract says what a server offers: which calls it answers, and what the events of its
// channels are. Make one with [New], or read one with [Parse].
type Contract struct {
	Version  int                    `json:"juggler"`
	Calls    map[string]*CallDoc    `json:"calls"`
	Channels map[string]*ChannelDoc `json:"channels"`
	Defs     map[string]*Schema     `json:"$defs,omitempty"`
}

// A CallDoc says what is called by a URI.
type CallDoc struct {
	Description string `json:"description,omitempty"`
	Deprecated  string `json:"deprecated,omitempty"` // why, and what to use; empty: it is not

	Args         *Schema `json:"args,omitempty"`         // nil: it takes none
	ArgsOptional bool    `json:"argsOptional,omitempty"` // they may be left out
	StrictArgs   bool    `json:"strictArgs,omitempty"`   // members that Args does not name are refused

	Result *Schema               `json:"result"`
	Part   *Schema               `json:"part,omitempty"` // nil: the answer has no parts
	Errors map[frame.Code]string `json:"errors,omitempty"`
}

// A ChannelDoc says what channels of a name carry. In the name, {word} stands for what differs.
type ChannelDoc struct {
	Description string  `json:"description,omitempty"`
	Deprecated  string  `json:"deprecated,omitempty"`
	Event       *Schema `json:"event"`                 // the args of its events
	FromClients bool    `json:"fromClients,omitempty"` // they may publish on it
}

// A Source is something that New makes a contract of.
type Source interface {
	addTo(*builder)
}

type builder struct {
	*reflector
	contract *Contract
}

// New returns the contract of callees and declared channels: [Callee] and [Channel] make
// sources of these. Its error tells of all types that have no form in JSON and of what is
// there twice.
func New(sources ...Source) (*Contract, error) {
	b := builder{newReflector(), &Contract{Version: version, Calls: map[string]*CallDoc{}, Channels: map[string]*ChannelDoc{}}}
	for _, s := range sources {
		s.addTo(&b)
	}
	b.contract.Defs = b.names()
	if err := errors.Join(b.problems...); err != nil {
		return nil, err
	}
	return b.contract, nil
}

type calleeSource struct{ callee *calleekit.Callee }

// Callee is the source of the calls that were registered at c until [New]. A function whose
// types c does not know takes anything and returns anything.
func Callee(c *calleekit.Callee) Source { return calleeSource{c} }

func (s calleeSource) addTo(b *builder) {
	for _, f := range s.callee.Functions() {
		b.within("call "+f.URI, func() { b.addCall(f) })
	}
}

func (b *builder) addCall(f calleekit.Function) {
	if b.contract.Calls[f.URI] != nil {
		b.refuse("it is there twice")
		return
	}
	call := &CallDoc{Description: f.Doc, Deprecated: f.Deprecated, StrictArgs: f.StrictArgs, Errors: f.Errors}
	b.contract.Calls[f.URI] = call
	if !takesNone(f.Args) {
		call.Args = b.part("args", f.Args)
		call.ArgsOptional = call.Args.isAny() || slices.Contains(call.Args.Type, "null") || slices.ContainsFunc(call.Args.AnyOf, isNull)
	}
	if call.Result = b.part("result", f.Result); f.Null {
		call.Result = of("null")
	}
	if f.Part != nil {
		call.Part = b.part("part", f.Part)
	}
}

// takesNone reports whether arguments of this type say nothing.
func takesNone(t reflect.Type) bool {
	return t != nil && t.Kind() == reflect.Struct && t.NumField() == 0 && ofItself(t) == nil && !isDescribed(t)
}

// part returns the schema of a part of a call, that of any value if its type is not known.
func (b *builder) part(name string, t reflect.Type) (s *Schema) {
	if t == nil {
		return &Schema{}
	}
	b.within(name, func() { s = b.schema(t) })
	return s
}

// JSON returns the contract as it stands in a file: the same for the same code.
func (c *Contract) JSON() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(c); err != nil {
		panic(err) // it has nothing in it that JSON cannot say
	}
	return b.Bytes()
}

// Parse reads a contract. It refuses what this version does not know, as nothing can be
// said of that.
func Parse(text []byte) (*Contract, error) {
	var form struct {
		Version int `json:"juggler"`
	}
	if json.Unmarshal(text, &form) == nil && form.Version != version {
		return nil, fmt.Errorf("contract: want \"juggler\": %d, got %d", version, form.Version)
	}
	c := &Contract{}
	if err := unmarshalStrictly(text, c); err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	others := &Contract{Channels: map[string]*ChannelDoc{}}
	for _, name := range sorted(c.Channels) {
		if err := others.checkChannel(name); err != nil {
			return nil, fmt.Errorf("contract: channel %s: %w", name, err)
		}
		others.Channels[name] = c.Channels[name]
	}
	for name, s := range c.schemas() {
		if s == nil {
			return nil, fmt.Errorf("contract: %s is missing", name)
		}
		if err := s.each(func(s *Schema) error { return errors.Join(s.check(), c.checkRef(s)) }); err != nil {
			return nil, fmt.Errorf("contract: %s: %w", name, err)
		}
	}
	return c, nil
}

// schemas iterates over the schemas that the contract must have, in the order of their names.
func (c *Contract) schemas() func(yield func(string, *Schema) bool) {
	all := map[string]*Schema{}
	for uri, call := range c.Calls {
		if call == nil {
			call = &CallDoc{}
		}
		all["call "+uri+": result"] = call.Result
		if call.Args != nil {
			all["call "+uri+": args"] = call.Args
		}
		if call.Part != nil {
			all["call "+uri+": part"] = call.Part
		}
	}
	for name, channel := range c.Channels {
		if channel == nil {
			channel = &ChannelDoc{}
		}
		all["channel "+name+": event"] = channel.Event
	}
	for name, s := range c.Defs {
		all["$defs: "+name] = s
	}
	return func(yield func(string, *Schema) bool) {
		for _, name := range sorted(all) {
			if !yield(name, all[name]) {
				return
			}
		}
	}
}

// checkRef says what is wrong with the reference of s: it must lead to a definition, and not
// over references alone back to itself.
func (c *Contract) checkRef(s *Schema) error {
	const open, closed = 1, 2
	state := map[*Schema]int{}
	var follow func(s *Schema) error
	follow = func(s *Schema) error {
		switch {
		case s == nil || state[s] == closed:
			return nil
		case state[s] == open:
			return errors.New("a $ref leads to itself")
		}
		state[s] = open
		next := s.AnyOf
		if s.Ref != "" {
			to := c.Defs[strings.TrimPrefix(s.Ref, refPrefix)]
			if to == nil || !strings.HasPrefix(s.Ref, refPrefix) {
				return fmt.Errorf("there is no %s", s.Ref)
			}
			next = []*Schema{to}
		}
		for _, one := range next {
			if err := follow(one); err != nil {
				return err
			}
		}
		state[s] = closed
		return nil
	}
	return follow(s)
}

// resolve follows references.
func (c *Contract) resolve(s *Schema) *Schema {
	for s.Ref != "" {
		s = c.Defs[strings.TrimPrefix(s.Ref, refPrefix)]
	}
	return s
}

func isNull(s *Schema) bool { return slices.Equal(s.Type, Types{"null"}) }

// unmarshalStrictly refuses members that v has not, and what comes after the value.
func unmarshalStrictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is something after its end")
	}
	return nil
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
