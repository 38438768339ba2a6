package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// A Schema says what a JSON value is: the part of JSON Schema 2020-12 that Go types need.
// One without any keyword allows every value. Objects may have members that it does not
// name.
type Schema struct {
	Ref         string `json:"$ref,omitempty"` // "#/$defs/NAME"
	Description string `json:"description,omitempty"`

	Type            Types  `json:"type,omitempty"`
	Format          string `json:"format,omitempty"`
	ContentEncoding string `json:"contentEncoding,omitempty"`
	Enum            []any  `json:"enum,omitempty"` // strings, numbers as float64, booleans

	Minimum *float64 `json:"minimum,omitempty"`
	Maximum *float64 `json:"maximum,omitempty"`

	Items    *Schema `json:"items,omitempty"`
	MinItems *int    `json:"minItems,omitempty"`
	MaxItems *int    `json:"maxItems,omitempty"`

	Properties           map[string]*Schema `json:"properties,omitempty"`
	Required             []string           `json:"required,omitempty"`
	AdditionalProperties *Schema            `json:"additionalProperties,omitempty"`

	AnyOf []*Schema `json:"anyOf,omitempty"`
}

// Types are the types of JSON that a value may have: "null", "boolean", "integer",
// "number", "string", "array", "object". In JSON a single one is a string.
type Types []string

// MarshalJSON implements [json.Marshaler].
func (t Types) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Types) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*t = Types{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(t))
}

var allTypes = Types{"null", "boolean", "integer", "number", "string", "array", "object"}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses keywords that Schema has no field
// for, as what they say would be lost.
func (s *Schema) UnmarshalJSON(text []byte) error {
	if string(text) == "true" {
		*s = Schema{}
		return nil
	}
	type plain Schema
	return unmarshalStrictly(text, (*plain)(s))
}

// Enum returns the schema of a value that is one of these.
func Enum[T ~string](values ...T) *Schema {
	s := &Schema{Type: Types{"string"}}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

// A Described type says itself what its JSON is, as one must whose MarshalJSON, or whose set
// of constants, says more than its Go type. JSONSchema is called on a zero value; what it
// returns must have no Ref.
type Described interface {
	JSONSchema() *Schema
}

// isAny reports whether s allows every value.
func (s *Schema) isAny() bool {
	return s.Ref == "" && len(s.Type) == 0 && len(s.Enum) == 0 && len(s.AnyOf) == 0
}

// orNull returns the schema of what s allows, and null.
func orNull(s *Schema) *Schema {
	null := Types{"null"}
	switch {
	case s.isAny() || slices.Contains(s.Type, "null"):
		return s
	case len(s.Type) > 0 && len(s.Enum) == 0:
		s.Type = append(s.Type, null...)
		return s
	case len(s.AnyOf) > 0:
		if !slices.ContainsFunc(s.AnyOf, func(one *Schema) bool { return slices.Equal(one.Type, null) }) {
			s.AnyOf = append(s.AnyOf, &Schema{Type: null})
		}
		return s
	}
	return &Schema{AnyOf: []*Schema{s, {Type: null}}}
}

// each calls f for s and all schemas in it, and stops at an error.
func (s *Schema) each(f func(*Schema) error) error {
	if s == nil {
		return nil
	}
	if err := f(s); err != nil {
		return err
	}
	for _, inner := range slices.Concat([]*Schema{s.Items, s.AdditionalProperties}, s.AnyOf) {
		if err := inner.each(f); err != nil {
			return err
		}
	}
	for _, name := range sorted(s.Properties) {
		if err := s.Properties[name].each(f); err != nil {
			return err
		}
	}
	return nil
}

// check says what of s itself, not of those in it, is not as it has to be.
func (s *Schema) check() error {
	for i, t := range s.Type {
		if !slices.Contains(allTypes, t) {
			return fmt.Errorf("%q is no type of JSON", t)
		}
		if slices.Contains(s.Type[:i], t) {
			return fmt.Errorf("type has %q twice", t)
		}
	}
	for _, v := range s.Enum {
		switch v.(type) {
		case string, float64, bool:
		default:
			return fmt.Errorf("enum has %v: want strings, numbers and booleans", v)
		}
	}
	if err := s.checkForm(); err != nil {
		return err
	}
	for _, inner := range s.AnyOf {
		if inner == nil {
			return errors.New("anyOf has null: want a schema")
		}
	}
	for name, inner := range s.Properties {
		if inner == nil {
			return fmt.Errorf("property %q is null: want a schema", name)
		}
	}
	for _, name := range s.Required {
		if s.Properties[name] == nil {
			return fmt.Errorf("%q is required, and no property", name)
		}
	}
	return nil
}

// checkForm says what keywords of s do not go together.
func (s *Schema) checkForm() error {
	typed := len(s.Type) > 0 || len(s.Enum) > 0
	needs := func(given bool, keyword string, types ...string) error {
		if given && !slices.ContainsFunc(types, func(t string) bool { return slices.Contains(s.Type, t) }) {
			return fmt.Errorf("%s is without the type %s", keyword, types[0])
		}
		return nil
	}
	switch {
	case s.Ref != "" && (typed || len(s.AnyOf) > 0), len(s.AnyOf) > 0 && typed:
		return errors.New("$ref and anyOf stand alone")
	case len(s.Enum) > 0 && len(s.Type) > 1:
		return errors.New("enum is with more than one type")
	}
	return errors.Join(
		needs(s.Format != "", "format", "string"), needs(s.ContentEncoding != "", "contentEncoding", "string"),
		needs(s.Minimum != nil, "minimum", "number", "integer"), needs(s.Maximum != nil, "maximum", "number", "integer"),
		needs(s.Items != nil, "items", "array"), needs(s.MinItems != nil, "minItems", "array"), needs(s.MaxItems != nil, "maxItems", "array"),
		needs(s.Properties != nil, "properties", "object"), needs(s.AdditionalProperties != nil, "additionalProperties", "object"),
	)
}
