package calleekit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"

	"github.com/juggler-go/juggler/internal/members"
)

// StrictArgs is the option that [WithStrictArgs] returns.
type StrictArgs bool

// WithStrictArgs says whether [Typed] functions and [Call.Decode] refuse, with code 400,
// arguments that encoding/json would let pass: unknown members of objects, arrays that have
// more or fewer elements than the Go array has, and null, or no arguments at all, where the
// Go type has nothing that means "none", as pointers, slices, maps and interfaces have; no
// arguments are an object without members. Members may be missing. What decodes itself, by
// UnmarshalJSON or UnmarshalText, is not looked into. It costs another pass over the
// arguments. Default: false.
//
// For [New] it is for all functions, for [Callee.Handle] for one.
func WithStrictArgs(on bool) StrictArgs { return StrictArgs(on) }

func (s StrictArgs) applyCallee(c *config) { c.strictArgs = bool(s) }
func (s StrictArgs) applyRoute(r *route)   { r.strictArgs = bool(s) }

// checkStrictly returns an error if args, which encoding/json has decoded into a value of
// type t, are not exactly what t is.
func checkStrictly(args []byte, t reflect.Type) error {
	if t.Kind() == reflect.Struct && bytes.Equal(bytes.TrimSpace(args), null) {
		return nil
	}
	f := fit{decoder: json.NewDecoder(bytes.NewReader(args))}
	return f.value(t)
}

// fit goes through arguments beside the type that they are to be of.
type fit struct {
	decoder *json.Decoder
	path    []byte
}

// misfit says what is wrong with what was read last.
func (f *fit) misfit(format string, a ...any) error {
	where := "args"
	if len(f.path) > 0 {
		where = fmt.Sprintf("args, %q at byte %d", bytes.TrimPrefix(f.path, []byte(".")), f.decoder.InputOffset())
	}
	return Errorf(CodeBadRequest, "%s: %s", where, fmt.Sprintf(format, a...))
}

// within calls value with the path that leads on by step.
func (f *fit) within(step string, t reflect.Type) error {
	length := len(f.path)
	f.path = append(f.path, step...)
	err := f.value(t)
	f.path = f.path[:length]
	return err
}

func (f *fit) skip() error {
	var value json.RawMessage
	return f.decoder.Decode(&value)
}

// value reads the next value, which is to be of type t.
func (f *fit) value(t reflect.Type) error {
	none := t.Kind() == reflect.Slice || t.Kind() == reflect.Map
	for ; !decodesItself(t) && t.Kind() == reflect.Pointer; t = t.Elem() {
		none = true
	}
	if decodesItself(t) {
		return f.skip()
	}
	token, err := f.decoder.Token()
	switch {
	case err != nil:
		return err
	case token == nil && !none:
		return f.misfit("want %s, got null", jsonName(t))
	case token == json.Delim('{') && t.Kind() == reflect.Struct:
		return f.members(members.Of(t))
	case token == json.Delim('{'):
		return f.entries(t.Elem())
	case token == json.Delim('['):
		return f.elements(t)
	}
	return nil // other values fit, as they could be decoded
}

// members reads the rest of an object that is to have these members.
func (f *fit) members(known *members.Struct) error {
	for f.decoder.More() {
		name, err := f.name()
		if err != nil {
			return err
		}
		m, ok := known.Find(name)
		if !ok {
			f.path = append(append(f.path, '.'), name...)
			return f.misfit("there is no such member")
		}
		if err := f.within("."+name, m.Field.Type); err != nil {
			return err
		}
	}
	return f.end()
}

// entries reads the rest of an object that is a map of values of type t.
func (f *fit) entries(t reflect.Type) error {
	for f.decoder.More() {
		name, err := f.name()
		if err != nil {
			return err
		}
		if err := f.within("."+name, t); err != nil {
			return err
		}
	}
	return f.end()
}

// elements reads the rest of an array that is to be of type t, a slice or an array.
func (f *fit) elements(t reflect.Type) error {
	n := 0
	for ; f.decoder.More(); n++ {
		err := error(nil)
		if t.Kind() == reflect.Array && n >= t.Len() {
			err = f.skip()
		} else {
			err = f.within("["+strconv.Itoa(n)+"]", t.Elem())
		}
		if err != nil {
			return err
		}
	}
	if err := f.end(); err != nil {
		return err
	}
	if t.Kind() == reflect.Array && n != t.Len() {
		return f.misfit("want an array of %d, got one of %d", t.Len(), n)
	}
	return nil
}

// name reads the name of a member.
func (f *fit) name() (string, error) {
	token, err := f.decoder.Token()
	name, _ := token.(string)
	return name, err
}

// end reads the end of an object or array.
func (f *fit) end() error {
	_, err := f.decoder.Token()
	return err
}

var selfType = reflect.TypeFor[json.Unmarshaler]()

// decodesItself reports whether it is not for us to say what a value of type t is.
func decodesItself(t reflect.Type) bool {
	if t.Kind() == reflect.Interface {
		return true
	}
	p := reflect.PointerTo(t)
	return p.Implements(selfType) || p.Implements(textType)
}
