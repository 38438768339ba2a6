package contract

import (
	"math"
	"slices"
	"strings"
)

// An alternative is one type of JSON that a schema allows, with what the schema says of
// values of that type. A type of "" is any value.
type alternative struct {
	kind   string
	schema *Schema
}

// alternatives returns what s allows. It has integers among numbers.
func (c *Contract) alternatives(s *Schema) []alternative {
	all := c.collect(nil, s, map[*Schema]bool{})
	if i := slices.IndexFunc(all, func(a alternative) bool { return a.kind == "" }); i >= 0 {
		return all[i : i+1]
	}
	if slices.ContainsFunc(all, func(a alternative) bool { return a.kind == "number" && a.isPlainNumber() }) {
		all = slices.DeleteFunc(all, func(a alternative) bool { return a.kind == "integer" })
	}
	return all
}

// collect appends what s allows, unless it is there already.
func (c *Contract) collect(all []alternative, s *Schema, seen map[*Schema]bool) []alternative {
	if s = c.resolve(s); seen[s] {
		return all
	}
	seen[s] = true
	for _, one := range s.AnyOf {
		all = c.collect(all, one, seen)
	}
	for _, t := range s.Type {
		all = append(all, alternative{t, s})
	}
	switch {
	case s.isAny():
		all = append(all, alternative{"", s})
	case len(s.Type) == 0 && len(s.Enum) > 0:
		all = append(all, alternative{"one of " + listed(s.Enum), s})
	}
	return all
}

func (a alternative) isPlainNumber() bool {
	return a.schema.Minimum == nil && a.schema.Maximum == nil && len(a.schema.Enum) == 0
}

// values compares what two schemas allow.
func (c *comparison) values(from, to *Schema) {
	was, is := c.from.alternatives(from), c.to.alternatives(to)
	switch anyWas, anyIs := was[0].kind == "", is[0].kind == ""; {
	case anyWas && anyIs:
		return
	case anyWas:
		c.changed(narrower, "was any value, is %s", kinds(is))
		return
	case anyIs:
		c.changed(wider, "was %s, is any value", kinds(was))
		return
	}
	was, is = c.pairs(was, is)
	switch {
	case len(was) == 1 && len(is) == 1 && was[0].kind == "integer" && is[0].kind == "number" && is[0].isPlainNumber():
		c.changed(wider, "was integer, is number")
	case len(was) == 1 && len(is) == 1 && was[0].kind == "number" && is[0].kind == "integer" && was[0].isPlainNumber():
		c.changed(narrower, "was number, is integer")
	case len(was) > 0 && len(is) > 0:
		c.changed(other, "was %s, is %s", kinds(was), kinds(is))
	case len(was) > 0:
		c.changed(narrower, "is %s no more", kinds(was))
	case len(is) > 0:
		c.changed(wider, "may be %s now", kinds(is))
	}
}

func kinds(all []alternative) string {
	var names []string
	for _, a := range all {
		if !slices.Contains(names, a.kind) {
			names = append(names, a.kind)
		}
	}
	return strings.Join(names, " or ")
}

// pairs compares alternatives of one type with each other and returns those that are left:
// what is the same makes a pair first, and then what is alone of its type.
func (c *comparison) pairs(was, is []alternative) (gone, added []alternative) {
	byKind := map[string][2][]alternative{}
	for _, a := range was {
		both := byKind[a.kind]
		both[0] = append(both[0], a)
		byKind[a.kind] = both
	}
	for _, a := range is {
		both := byKind[a.kind]
		both[1] = append(both[1], a)
		byKind[a.kind] = both
	}
	for _, kind := range sorted(byKind) {
		was, is := byKind[kind][0], byKind[kind][1]
		if len(was) > 1 || len(is) > 1 {
			was, is = c.differing(was, is)
		}
		if len(was) == 1 && len(is) == 1 {
			c.alternative(was[0], is[0])
			continue
		}
		gone, added = append(gone, was...), append(added, is...)
	}
	return gone, added
}

// differing returns what of two lists is not the same as something of the other one.
func (c *comparison) differing(was, is []alternative) (gone, added []alternative) {
	added = slices.Clone(is)
	for _, a := range was {
		i := slices.IndexFunc(added, func(b alternative) bool {
			trial := &comparison{from: c.from, to: c.to, seen: map[pair]bool{}}
			trial.alternative(a, b)
			return len(trial.changes) == 0
		})
		if i < 0 {
			gone = append(gone, a)
		} else {
			added = slices.Delete(added, i, i+1)
		}
	}
	return gone, added
}

// alternative compares what two schemas say of values of one type.
func (c *comparison) alternative(from, to alternative) {
	if c.seen[pair{from, to}] {
		return
	}
	c.seen[pair{from, to}] = true
	was, is := from.schema, to.schema
	switch from.kind {
	case "string":
		c.enum(was.Enum, is.Enum)
		c.format(was.Format, is.Format)
		if was.ContentEncoding != is.ContentEncoding {
			c.changed(other, "was %s, is %s", encoded(was), encoded(is))
		}
	case "number", "integer":
		c.enum(was.Enum, is.Enum)
		c.bounds("", was.Minimum, is.Minimum, was.Maximum, is.Maximum)
	case "boolean":
		c.enum(was.Enum, is.Enum)
	case "array":
		c.bounds(" elements", number(was.MinItems), number(is.MinItems), number(was.MaxItems), number(is.MaxItems))
		c.within("[]", func() { c.values(orAny(was.Items), orAny(is.Items)) })
	case "object":
		c.object(was, is)
	}
}

func orAny(s *Schema) *Schema {
	if s == nil {
		return &Schema{}
	}
	return s
}

func encoded(s *Schema) string {
	if s.ContentEncoding == "" {
		return "text as it is"
	}
	return "encoded in " + s.ContentEncoding
}

func (c *comparison) format(was, is string) {
	switch {
	case was == is:
	case was == "":
		c.changed(narrower, "is of the format %s now", is)
	case is == "":
		c.changed(wider, "is of the format %s no more", was)
	default:
		c.changed(other, "was of the format %s, is of %s", was, is)
	}
}

func (c *comparison) enum(was, is []any) {
	switch {
	case len(was) == 0 && len(is) == 0:
		return
	case len(was) == 0:
		c.changed(narrower, "is one of %s now", listed(is))
		return
	case len(is) == 0:
		c.changed(wider, "was one of %s, and may be anything now", listed(was))
		return
	}
	without := func(all, those []any) []any {
		return slices.DeleteFunc(slices.Clone(all), func(v any) bool { return slices.Contains(those, v) })
	}
	if gone := without(was, is); len(gone) > 0 {
		c.changed(narrower, "is %s no more", listed(gone))
	}
	if added := without(is, was); len(added) > 0 {
		c.changed(wider, "may be %s now", listed(added))
	}
}

func listed(values []any) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = literal(v)
	}
	return strings.Join(texts, ", ")
}

func number(n *int) *float64 {
	if n == nil {
		return nil
	}
	f := float64(*n)
	return &f
}

// bounds compares bounds; nil is none.
func (c *comparison) bounds(unit string, wasLeast, isLeast, wasMost, isMost *float64) {
	or := func(f *float64, none float64) float64 {
		if f == nil {
			return none
		}
		return *f
	}
	bound := func(f float64) string { return literal(f) + unit }
	was, is := or(wasLeast, math.Inf(-1)), or(isLeast, math.Inf(-1))
	switch {
	case is > was:
		c.changed(narrower, "is at least %s now", bound(is))
	case is < was:
		c.changed(wider, "may be less than %s now", bound(was))
	}
	was, is = or(wasMost, math.Inf(1)), or(isMost, math.Inf(1))
	switch {
	case is < was:
		c.changed(narrower, "is at most %s now", bound(is))
	case is > was:
		c.changed(wider, "may be more than %s now", bound(was))
	}
}

func (c *comparison) object(was, is *Schema) {
	for _, name := range either(was.Properties, is.Properties) {
		step := "." + name
		if !identifier.MatchString(name) {
			step = "[" + quote(name) + "]"
		}
		c.within(step, func() { c.property(was, is, name) })
	}
	switch a, b := was.AdditionalProperties, is.AdditionalProperties; {
	case a == nil && b == nil:
	default:
		c.within("[*]", func() { c.values(orAny(a), orAny(b)) })
	}
}

func (c *comparison) property(was, is *Schema, name string) {
	from, to := was.Properties[name], is.Properties[name]
	wanted, wants := slices.Contains(was.Required, name), slices.Contains(is.Required, name)
	switch {
	case to == nil:
		c.changed(other, "is gone")
	case from == nil && was.AdditionalProperties != nil:
		c.changed(other, "is new, and was a key like any other")
	case from == nil && wants:
		c.changed(narrower, "is new and %s", always(c.by))
	case from == nil:
		c.changed(harmless, "is new")
	default:
		switch {
		case wants && !wanted:
			c.changed(narrower, "is %s now", always(c.by))
		case wanted && !wants:
			c.changed(wider, "is %s now", map[bool]string{true: "optional", false: "not always there"}[c.by == sent])
		}
		c.values(from, to)
	}
}

// always says of a member, by who sends it, that it is not optional.
func always(by direction) string {
	if by == received {
		return "always there"
	}
	return "required"
}
