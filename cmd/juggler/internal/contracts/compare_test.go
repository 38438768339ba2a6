package contracts

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/juggler-go/juggler/contract"
)

// A maker makes schemas, changes of them, and values that they allow.
type maker struct{ *rand.Rand }

func pick[T any](m maker, values ...T) T { return values[m.IntN(len(values))] }

func (m maker) schema(depth int) *contract.Schema {
	if depth == 0 {
		return m.scalar()
	}
	switch m.IntN(10) {
	case 0:
		return &contract.Schema{}
	case 1, 2, 3:
		return m.object(depth)
	case 4:
		s := &contract.Schema{Type: m.types("array"), Items: m.schema(depth - 1)}
		if n := m.IntN(3); m.IntN(2) == 0 {
			most := n + m.IntN(2)
			s.MinItems, s.MaxItems = &n, &most
		}
		return s
	case 5:
		return &contract.Schema{Type: m.types("object"), AdditionalProperties: m.schema(depth - 1)}
	case 6:
		return &contract.Schema{AnyOf: []*contract.Schema{m.schema(depth - 1), m.schema(depth - 1)}}
	case 7:
		return &contract.Schema{Ref: "#/$defs/" + pick(m, "A", "B")}
	}
	return m.scalar()
}

func (m maker) types(one string) contract.Types {
	if m.IntN(3) == 0 {
		return contract.Types{one, "null"}
	}
	return contract.Types{one}
}

func (m maker) scalar() *contract.Schema {
	switch m.IntN(6) {
	case 0:
		return contract.Enum([]string{"a", "b", "c"}[:1+m.IntN(3)]...)
	case 1:
		least, most := float64(m.IntN(3)), float64(3+m.IntN(3))
		return &contract.Schema{Type: m.types(pick(m, "integer", "number")), Minimum: pick(m, nil, &least), Maximum: pick(m, nil, &most)}
	case 2:
		return &contract.Schema{Type: contract.Types{"integer", "string"}}
	}
	return &contract.Schema{Type: m.types(pick(m, "boolean", "integer", "number", "string"))}
}

func (m maker) object(depth int) *contract.Schema {
	s := &contract.Schema{Type: m.types("object")}
	for _, name := range []string{"a", "b", "c"} {
		if m.IntN(2) == 0 {
			continue
		}
		if s.Properties == nil {
			s.Properties = map[string]*contract.Schema{}
		}
		s.Properties[name] = m.schema(depth - 1)
		if m.IntN(2) == 0 {
			s.Required = append(s.Required, name)
		}
	}
	return s
}

// contract returns one whose call and channel have the same schema.
func (m maker) contract() *contract.Contract {
	s := m.schema(4)
	return &contract.Contract{
		Version:  1,
		Calls:    map[string]*contract.CallDoc{"x": {Args: s, Result: &contract.Schema{}}},
		Channels: map[string]*contract.ChannelDoc{"x": {Event: s}},
		Defs:     map[string]*contract.Schema{"A": m.object(2), "B": m.object(2)},
	}
}

// copyOf copies a contract by its JSON; its call and channel have schemas of their own then.
func copyOf(t *testing.T, c *contract.Contract) *contract.Contract {
	t.Helper()
	again, err := contract.Parse(c.JSON())
	if err != nil {
		t.Fatalf("%v\n%s", err, c.JSON())
	}
	again.Channels["x"].Event = again.Calls["x"].Args
	return again
}

// reached returns the schemas that say something of what s allows.
func reached(c *contract.Contract, s *contract.Schema, seen map[*contract.Schema]bool) (all []*contract.Schema) {
	if s == nil || seen[s] {
		return nil
	}
	seen[s] = true
	all = append(all, s)
	if s.Ref != "" {
		all = append(all, reached(c, c.Defs[s.Ref[len("#/$defs/"):]], seen)...)
	}
	for _, inner := range slices.Concat([]*contract.Schema{s.Items, s.AdditionalProperties}, s.AnyOf) {
		all = append(all, reached(c, inner, seen)...)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		all = append(all, reached(c, s.Properties[name], seen)...)
	}
	return all
}

// change changes a contract somewhere, somehow.
func (m maker) change(c *contract.Contract) {
	root := c.Calls["x"].Args
	s := pick(m, reached(c, root, map[*contract.Schema]bool{})...)
	switch {
	case m.IntN(4) == 0 && s.Ref == "" && len(s.AnyOf) == 0:
		*s = *m.schema(2)
		if s == c.Defs["A"] || s == c.Defs["B"] { // or they would lead to each other
			*s = *m.object(2)
		}
	case s.Properties != nil:
		name := pick(m, "a", "b", "c")
		required := slices.Index(s.Required, name)
		switch {
		case s.Properties[name] == nil:
			s.Properties[name] = m.schema(1)
		case m.IntN(3) == 0:
			delete(s.Properties, name)
			if required >= 0 {
				s.Required = slices.Delete(s.Required, required, required+1)
			}
		case required >= 0:
			s.Required = slices.Delete(s.Required, required, required+1)
		default:
			s.Required = append(s.Required, name)
		}
	case len(s.Enum) > 0:
		s.Enum = []any{"a", "b", "c"}[m.IntN(2) : 2+m.IntN(2)]
	case len(s.Type) > 0:
		old := *s
		*s = *m.scalar()
		if m.IntN(2) == 0 && !slices.Contains(old.Type, "boolean") {
			old.Type = append(slices.Clone(old.Type), "boolean")
			*s = old
		}
	}
}

// value returns a value that s allows, of members that it names; ok is false if it finds
// none that is not too deep.
func (m maker) value(c *contract.Contract, s *contract.Schema, depth int) (v any, ok bool) {
	switch {
	case depth == 0:
		return nil, false
	case s.Ref != "":
		return m.value(c, c.Defs[s.Ref[len("#/$defs/"):]], depth-1)
	case len(s.AnyOf) > 0:
		return m.value(c, pick(m, s.AnyOf...), depth-1)
	case len(s.Enum) > 0:
		return pick(m, s.Enum...), true
	case len(s.Type) == 0:
		return pick[any](m, nil, true, 1, "any", []any{1}, map[string]any{"a": "any"}), true
	}
	switch t := pick(m, s.Type...); t {
	case "null":
		return nil, true
	case "boolean":
		return m.IntN(2) == 0, true
	case "string":
		return pick(m, "", "a", "b", "z"), true
	case "integer", "number":
		least, most := -10.0, 10.0
		if s.Minimum != nil {
			least = *s.Minimum
		}
		if s.Maximum != nil {
			most = *s.Maximum
		}
		if t == "number" {
			return least + m.Float64()*(most-least), true
		}
		return int(least) + m.IntN(int(most-least)+1), true
	case "array":
		return m.array(c, s, depth)
	}
	return m.members(c, s, depth)
}

func (m maker) array(c *contract.Contract, s *contract.Schema, depth int) (any, bool) {
	least, most := 0, 2
	if s.MinItems != nil {
		least, most = *s.MinItems, *s.MaxItems
	}
	all := []any{}
	for range least + m.IntN(most-least+1) {
		v, ok := m.value(c, s.Items, depth-1)
		if !ok {
			return all, len(all) >= least
		}
		all = append(all, v)
	}
	return all, true
}

func (m maker) members(c *contract.Contract, s *contract.Schema, depth int) (any, bool) {
	all := map[string]any{}
	for _, name := range []string{"a", "b", "c"} {
		property, required := s.Properties[name], slices.Contains(s.Required, name)
		if property == nil {
			property = s.AdditionalProperties
		}
		if property == nil || !required && m.IntN(2) == 0 {
			continue
		}
		v, ok := m.value(c, property, depth-1)
		if ok {
			all[name] = v
		} else if required {
			return nil, false
		}
	}
	return all, true
}

// breaks tells whether changes of arguments, and of events, break clients.
func breaks(changes []contract.Change) (args, events bool) {
	for _, c := range changes {
		args = args || c.Breaks && c.Where[:4] == "call"
		events = events || c.Breaks && c.Where[:4] == "chan"
	}
	return args, events
}

// A contract does not differ from itself, and what Compare does not call a break is none:
// arguments that were right before are so after the change, and events after it are what
// they could be before.
func TestCompareIsRight(t *testing.T) {
	checked, broke := 0, 0
	for seed := range uint64(1000) {
		m := maker{rand.New(rand.NewPCG(seed, 1))}
		from := copyOf(t, m.contract())
		if changes := contract.Compare(from, copyOf(t, from)); len(changes) > 0 {
			t.Fatalf("seed %d: it differs from itself: %v\n%s", seed, changes, from.JSON())
		}
		to := copyOf(t, from)
		for range 1 + m.IntN(2) {
			m.change(to)
		}
		to = copyOf(t, to)
		changes := contract.Compare(from, to)
		args, events := breaks(changes)
		if args && events {
			broke++
			continue
		}
		if !args {
			checked += allowed(t, m, seed, from, to, changes)
		}
		if !events {
			checked += allowed(t, m, seed, to, from, changes)
		}
	}
	if checked < 1000 || broke < 100 {
		t.Errorf("it looked at %d values, and %d changes broke both ways: the test is worth nothing", checked, broke)
	}
}

// allowed checks that what one contract allows the other one does, and returns how many
// values it looked at.
func allowed(t *testing.T, m maker, seed uint64, one, other *contract.Contract, changes []contract.Change) (n int) {
	t.Helper()
	if len(changes) == 0 {
		return 0
	}
	s := compile(t, other.JSON(), "x")
	for range 10 {
		v, ok := m.value(one, one.Channels["x"].Event, 12)
		if !ok {
			continue
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, s, text); err != nil {
			t.Fatalf("seed %d: %s was right\n%v\nall changes: %v\n%s%s", seed, text, err, fmt.Sprint(changes), one.JSON(), other.JSON())
		}
		n++
	}
	return n
}
