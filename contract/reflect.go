package contract

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/juggler-go/juggler/internal/members"
)

// A reflector makes schemas of Go types: of what encoding/json writes for their values.
// Types with a name become definitions, as they may contain themselves.
type reflector struct {
	named    []reflect.Type // in the order in which they were met
	defs     map[reflect.Type]*Schema
	refs     map[reflect.Type][]*Schema // that want the name of the definition
	where    []string                   // what is looked at
	problems []error
}

func newReflector() *reflector {
	return &reflector{defs: map[reflect.Type]*Schema{}, refs: map[reflect.Type][]*Schema{}}
}

// within calls f for a part of what is looked at.
func (r *reflector) within(part string, f func()) {
	r.where = append(r.where, part)
	f()
	r.where = r.where[:len(r.where)-1]
}

func (r *reflector) refuse(format string, a ...any) {
	r.problems = append(r.problems, fmt.Errorf("contract: %s: %s", strings.Join(r.where, ": "), fmt.Sprintf(format, a...)))
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	numberType      = reflect.TypeFor[json.Number]()
	describedType   = reflect.TypeFor[Described]()
	marshaler       = reflect.TypeFor[json.Marshaler]()
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// schema returns the schema of what is written for values of type t.
func (r *reflector) schema(t reflect.Type) *Schema {
	if s := r.filled(t); nilIsNull(t) {
		return orNull(s)
	} else {
		return s
	}
}

// nilIsNull reports whether null is written for nil of type t.
func nilIsNull(t reflect.Type) bool {
	k := t.Kind()
	return k == reflect.Pointer || (k == reflect.Slice || k == reflect.Map) && !isDescribed(t) && ofItself(t) == nil
}

// filled returns the schema of what is written for values of type t that are not nil.
func (r *reflector) filled(t reflect.Type) *Schema {
	if t.Kind() == reflect.Pointer {
		if reachesItself(t) {
			r.refuse("%v points to itself only", t)
			return &Schema{}
		}
		return r.schema(t.Elem())
	}
	if s := ofItself(t); s != nil {
		return s
	}
	described := isDescribed(t)
	if !described && (t.Name() == "" || !hasParts(t.Kind())) {
		return r.structure(t)
	}
	r.define(t, described)
	s := &Schema{Ref: refPrefix} // the rest of it is from names
	r.refs[t] = append(r.refs[t], s)
	return s
}

// reachesItself reports whether nothing but pointers come after t.
func reachesItself(t reflect.Type) bool {
	seen := map[reflect.Type]bool{}
	for ; t.Kind() == reflect.Pointer && !seen[t]; t = t.Elem() {
		seen[t] = true
	}
	return t.Kind() == reflect.Pointer
}

// ofItself returns the schema of a type for which its kind does not count, or nil.
func ofItself(t reflect.Type) *Schema {
	p := reflect.PointerTo(t)
	switch {
	case t == timeType:
		return &Schema{Type: Types{"string"}, Format: "date-time"}
	case t == numberType:
		return &Schema{Type: Types{"number"}}
	case isDescribed(t):
		return nil
	case t.Kind() == reflect.Interface, p.Implements(marshaler), p.Implements(unmarshaler):
		return &Schema{}
	case t.Implements(textMarshaler):
		return &Schema{Type: Types{"string"}}
	case t.Kind() != reflect.String && (p.Implements(textMarshaler) || p.Implements(textUnmarshaler)):
		return &Schema{} // a string only where encoding/json has an address
	}
	return nil
}

// isDescribed reports whether t itself is [Described], and does not only embed what is.
func isDescribed(t reflect.Type) bool {
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous && (f.Type.Implements(describedType) || reflect.PointerTo(f.Type).Implements(describedType)) {
				return false
			}
		}
	}
	return t.Name() != "" && t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(describedType)
}

func hasParts(k reflect.Kind) bool {
	return k == reflect.Struct || k == reflect.Map || k == reflect.Slice || k == reflect.Array
}

// define makes the definition of a type with a name, unless there is one.
func (r *reflector) define(t reflect.Type, described bool) {
	if r.defs[t] != nil {
		return
	}
	r.defs[t] = &Schema{} // which structure may meet
	r.named = append(r.named, t)
	if !described {
		*r.defs[t] = *r.structure(t)
		return
	}
	s := reflect.New(t).Interface().(Described).JSONSchema()
	if s == nil {
		s = &Schema{}
	}
	if err := s.each(func(s *Schema) error {
		if s.Ref != "" {
			return errors.New("it has a $ref")
		}
		return s.check()
	}); err != nil {
		r.refuse("JSONSchema of %v: %v", t, err)
	}
	r.defs[t] = s
}

func of(name string) *Schema { return &Schema{Type: Types{name}} }

// structure returns the schema of a type by its kind. That of a slice or map is without null.
func (r *reflector) structure(t reflect.Type) *Schema {
	switch k := t.Kind(); k {
	case reflect.Bool:
		return of("boolean")
	case reflect.String:
		return of("string")
	case reflect.Float32, reflect.Float64:
		return of("number")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integer(t.Bits(), true)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return integer(t.Bits(), false)
	case reflect.Struct:
		return r.object(t)
	case reflect.Map:
		return r.dictionary(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 && !encodesItself(t.Elem()) {
			return &Schema{Type: Types{"string"}, ContentEncoding: "base64"}
		}
		return &Schema{Type: Types{"array"}, Items: r.schema(t.Elem())}
	case reflect.Array:
		n := t.Len()
		return &Schema{Type: Types{"array"}, Items: r.schema(t.Elem()), MinItems: &n, MaxItems: &n}
	}
	r.refuse("%v has no form in JSON", t)
	return &Schema{}
}

func encodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(marshaler) || p.Implements(textMarshaler)
}

// integer returns the schema of integers of so many bits. Those of 64 have no bounds which
// JavaScript, and float64, could state.
func integer(bits int, signed bool) *Schema {
	s := of("integer")
	least, most := 0.0, float64(uint64(1)<<min(bits, 32)-1)
	if signed {
		most = float64(uint64(1)<<(min(bits, 32)-1) - 1)
		least = -most - 1
	}
	if bits < 64 {
		s.Minimum, s.Maximum = &least, &most
	} else if !signed {
		s.Minimum = &least
	}
	return s
}

func (r *reflector) dictionary(t reflect.Type) *Schema {
	switch k := t.Key().Kind(); {
	case k == reflect.String, k >= reflect.Int && k <= reflect.Uintptr, t.Key().Implements(textMarshaler):
	default:
		r.refuse("%v has no form in JSON", t)
	}
	return &Schema{Type: Types{"object"}, AdditionalProperties: r.schema(t.Elem())}
}

func (r *reflector) object(t reflect.Type) *Schema {
	s := of("object")
	for _, m := range members.Of(t).Members {
		r.within(strconv.Quote(m.Name), func() {
			if s.Properties == nil {
				s.Properties = map[string]*Schema{}
			}
			s.Properties[m.Name] = r.member(m)
		})
		if !m.Optional {
			s.Required = append(s.Required, m.Name)
		}
	}
	slices.Sort(s.Required)
	return s
}

func (r *reflector) member(m members.Member) *Schema {
	s := r.filled(m.Field.Type)
	if m.Quoted && !s.isAny() { // any: it encodes itself
		s = of("string")
	}
	if !m.NoNull && nilIsNull(m.Field.Type) {
		s = orNull(s)
	}
	s.Description = m.Field.Tag.Get("doc")
	return s
}

// names gives the definitions their names, and returns them by these: the name of the type,
// with that of its package where several have it.
func (r *reflector) names() map[string]*Schema {
	times := map[string]int{}
	for _, t := range r.named {
		times[defName(t.Name())]++
	}
	all := map[string]*Schema{}
	for _, t := range r.named {
		name := defName(t.Name())
		if times[name] > 1 {
			name = defName(path.Base(t.PkgPath())) + name
		}
		for free, n := name, 2; all[name] != nil; n++ {
			name = free + strconv.Itoa(n)
		}
		all[name] = r.defs[t]
		for _, ref := range r.refs[t] {
			ref.Ref = refPrefix + name
		}
	}
	return all
}

// defName makes the name of a Go type, which may have type arguments, one word.
func defName(name string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("[],*{}; ", r) }) {
		word = word[strings.LastIndexByte(word, '/')+1:] // the path of a package
		if i := strings.LastIndexByte(word, '.'); i >= 0 {
			word = word[i+1:]
		}
		word, _, _ = strings.Cut(word, "·") // of a type within a function
		for i, r := range word {
			switch {
			case i == 0:
				b.WriteRune(unicode.ToUpper(r))
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_':
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}
