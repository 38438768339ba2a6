package calleekit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode"
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
		return f.members(membersOf(t))
	case token == json.Delim('{'):
		return f.entries(t.Elem())
	case token == json.Delim('['):
		return f.elements(t)
	}
	return nil // other values fit, as they could be decoded
}

// members reads the rest of an object whose members have these types.
func (f *fit) members(known map[string]reflect.Type) error {
	for f.decoder.More() {
		name, err := f.name()
		if err != nil {
			return err
		}
		t, ok := lookUp(known, name)
		if !ok {
			f.path = append(append(f.path, '.'), name...)
			return f.misfit("there is no such member")
		}
		if err := f.within("."+name, t); err != nil {
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

// lookUp finds a member as encoding/json does: by its name, else in any case of letters.
func lookUp(known map[string]reflect.Type, name string) (t reflect.Type, ok bool) {
	if t, ok = known[name]; ok {
		return t, true
	}
	for other, t := range known {
		if strings.EqualFold(other, name) {
			return t, true
		}
	}
	return nil, false
}

// A member is a field of a struct, by the name that it has in JSON.
type member struct {
	t         reflect.Type
	depth     int  // in embedded structs
	tagged    bool // it has its name from a tag
	ambiguous bool // there are several, so that it is none
}

var knownMembers sync.Map // reflect.Type to map[string]reflect.Type

// membersOf returns the members of a struct by the rules of encoding/json: those of embedded
// structs are of it, too; of one name the least deep counts, then one with a tag, and of
// several that are left none.
func membersOf(t reflect.Type) map[string]reflect.Type {
	if known, ok := knownMembers.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	found := map[string]member{}
	seen := map[reflect.Type]bool{}
	level := map[reflect.Type]int{t: 1} // how often each is embedded
	for depth := 0; len(level) > 0; depth++ {
		next := map[reflect.Type]int{}
		for t, times := range level {
			if seen[t] {
				continue
			}
			seen[t] = true
			for i := range t.NumField() {
				addField(found, next, t.Field(i), member{depth: depth, ambiguous: times > 1})
			}
		}
		level = next
	}
	known := map[string]reflect.Type{}
	for name, m := range found {
		if !m.ambiguous {
			known[name] = m.t
		}
	}
	knownMembers.Store(t, known)
	return known
}

// addField adds a field to those that were found, or, if it is an embedded struct, to those
// whose fields come next.
func addField(found map[string]member, next map[reflect.Type]int, field reflect.StructField, m member) {
	tag := field.Tag.Get("json")
	inner := field.Type
	if inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	embedded := field.Anonymous && inner.Kind() == reflect.Struct
	if tag == "-" || !field.IsExported() && !embedded {
		return
	}
	name, _, _ := strings.Cut(tag, ",")
	if m.tagged = isName(name); !m.tagged {
		name = field.Name
	}
	if embedded && !m.tagged {
		next[inner]++
		return
	}
	m.t = field.Type
	old, exists := found[name]
	switch {
	case !exists, old.depth == m.depth && !old.tagged && m.tagged:
		found[name] = m
	case old.depth == m.depth && old.tagged == m.tagged:
		old.ambiguous = true
		found[name] = old
	}
}

// isName reports whether encoding/json takes a name in a tag for that of the member.
func isName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r)
	})
}
