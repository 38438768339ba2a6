// Package members knows which members encoding/json gives the JSON objects of a struct.
package members

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// A Member is a field of a struct, by the name that it has in JSON.
type Member struct {
	Name     string
	Field    reflect.StructField // Index is within the struct that the member is of
	Optional bool                // it may be left out of what is written
	NoNull   bool                // it is left out where it would be null
	Quoted   bool                // a string has it, by the option "string"

	tagged bool // it has its name from a tag
}

// A Struct has the members of a struct in the order in which they are written.
type Struct struct {
	Members []Member
	byName  map[string]int
}

var known sync.Map // reflect.Type to *Struct

// Of returns the members of t, which is a struct, by the rules of encoding/json: those of
// embedded structs are of it, too; of one name the least deep counts, then one with a tag,
// and of several that are left none.
func Of(t reflect.Type) *Struct {
	if s, ok := known.Load(t); ok {
		return s.(*Struct)
	}
	s := &Struct{Members: dominant(all(t)), byName: map[string]int{}}
	for i, m := range s.Members {
		s.byName[m.Name] = i
	}
	known.Store(t, s)
	return s
}

// Find finds a member as encoding/json does: by its name, else in any case of letters.
func (s *Struct) Find(name string) (m Member, ok bool) {
	i, ok := s.byName[name]
	if !ok {
		i = slices.IndexFunc(s.Members, func(m Member) bool { return strings.EqualFold(m.Name, name) })
	}
	if i < 0 {
		return m, false
	}
	return s.Members[i], true
}

// An embedded is a struct whose fields are those of another one, too.
type embedded struct {
	t        reflect.Type
	index    []int
	optional bool // by a pointer, which may be nil
}

// all returns all fields of t that may be members, those of embedded structs included.
func all(t reflect.Type) []Member {
	var found []Member
	seen := map[reflect.Type]bool{}
	level := []embedded{{t: t}}
	times := map[reflect.Type]int{t: 1} // how often each struct of the level is embedded
	for len(level) > 0 {
		var next []embedded
		nextTimes := map[reflect.Type]int{}
		for _, e := range level {
			if seen[e.t] {
				continue
			}
			seen[e.t] = true
			for i := range e.t.NumField() {
				m, inner := field(e, i)
				if inner != nil {
					nextTimes[inner.t]++
					next = append(next, *inner)
				} else if m.Name != "" {
					// Of what is embedded twice each field is there twice, and so it is none.
					found = append(found, slices.Repeat([]Member{m}, min(times[e.t], 2))...)
				}
			}
		}
		level, times = next, nextTimes
	}
	return found
}

// field returns the i-th field of a struct as a member, or the struct that it embeds, or
// neither if encoding/json passes it over.
func field(e embedded, i int) (m Member, inner *embedded) {
	f := e.t.Field(i)
	tag := f.Tag.Get("json")
	t, pointer := f.Type, false
	if t.Kind() == reflect.Pointer && t.Name() == "" {
		t, pointer = t.Elem(), true
	}
	embeds := f.Anonymous && t.Kind() == reflect.Struct
	if tag == "-" || !f.IsExported() && !embeds {
		return Member{}, nil
	}
	f.Index = append(slices.Clone(e.index), i)
	name, options, _ := strings.Cut(tag, ",")
	tagged := isName(name)
	if embeds && !tagged {
		return Member{}, &embedded{t: t, index: f.Index, optional: e.optional || pointer}
	}
	if !tagged {
		name = f.Name
	}
	has := strings.Split(options, ",")
	omitsEmpty := slices.Contains(has, "omitempty") && canBeEmpty(f.Type)
	omitsZero := slices.Contains(has, "omitzero")
	return Member{
		Name:     name,
		Field:    f,
		Optional: e.optional || omitsEmpty || omitsZero,
		NoNull:   omitsEmpty || omitsZero && nilIsZero(f.Type),
		Quoted:   slices.Contains(has, "string") && canBeQuoted(t.Kind()),
		tagged:   tagged,
	}, nil
}

// dominant returns what of fields of one name is the member, in the order of the fields.
func dominant(fields []Member) []Member {
	byName := map[string][]Member{}
	for _, m := range fields {
		byName[m.Name] = append(byName[m.Name], m)
	}
	var left []Member
	for _, same := range byName {
		slices.SortStableFunc(same, Member.compare)
		if len(same) == 1 || same[0].compare(same[1]) != 0 {
			left = append(left, same[0])
		}
	}
	slices.SortFunc(left, func(a, b Member) int { return slices.Compare(a.Field.Index, b.Field.Index) })
	return left
}

// compare says which of two fields of one name is the member: the lesser one.
func (m Member) compare(other Member) int {
	if c := cmp.Compare(len(m.Field.Index), len(other.Field.Index)); c != 0 || m.tagged == other.tagged {
		return c
	}
	if m.tagged {
		return -1
	}
	return 1
}

// canBeEmpty reports whether the option "omitempty" leaves some values out.
func canBeEmpty(t reflect.Type) bool {
	return t.Kind() != reflect.Struct && (t.Kind() != reflect.Array || t.Len() == 0)
}

var zeroer = reflect.TypeFor[interface{ IsZero() bool }]()

// nilIsZero reports whether the option "omitzero" leaves nil out: a type of one's own may
// say that it is not zero.
func nilIsZero(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface || !reflect.PointerTo(t).Implements(zeroer)
}

// canBeQuoted reports whether the option "string" has an effect.
func canBeQuoted(k reflect.Kind) bool {
	return k == reflect.String || k >= reflect.Bool && k <= reflect.Float64
}

// isName reports whether encoding/json takes a name in a tag for that of the member.
func isName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r)
	})
}
