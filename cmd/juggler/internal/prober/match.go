package prober

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Variables are what a case has read from the client: by name, JSON.
type variables map[string]json.RawMessage

var variable = regexp.MustCompile(`"\$[a-z0-9]+"`)

// fill puts the values of variables in their places.
func (v variables) fill(text []byte) []byte {
	return variable.ReplaceAllFunc(text, func(name []byte) []byte {
		if value, ok := v[string(name[2:len(name)-1])]; ok {
			return value
		}
		return name
	})
}

// match returns how JSON differs from a pattern, or "". In the pattern, "$any" stands for any
// value, "$absent" for a member that must not be there, and another "$name" for what is read
// at its first place. Members that the pattern does not name are not looked at, on the
// outermost level and in "error".
func (v variables) match(pattern, text []byte) string {
	want, err := parse(pattern)
	if err != nil {
		return "the case is broken: " + err.Error()
	}
	got, err := parse(text)
	if err != nil {
		return "it is no JSON: " + err.Error()
	}
	read := maps.Clone(v)
	if differs := read.differ("", want, got); differs != "" {
		return differs
	}
	maps.Copy(v, read)
	return ""
}

func parse(text []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err = d.Decode(&value); err == nil && d.More() {
		err = fmt.Errorf("more than one value")
	}
	return value, err
}

func (v variables) differ(path string, want, got any) string {
	if name, ok := want.(string); ok && strings.HasPrefix(name, "$") {
		return v.bind(path, name[1:], got)
	}
	switch want := want.(type) {
	case map[string]any:
		if got, ok := got.(map[string]any); ok {
			return v.differObject(path, want, got)
		}
	case []any:
		if got, ok := got.([]any); ok && len(got) == len(want) {
			for i := range want {
				if differs := v.differ(fmt.Sprintf("%s[%d]", path, i), want[i], got[i]); differs != "" {
					return differs
				}
			}
			return ""
		}
	case json.Number:
		if got, ok := got.(json.Number); ok && sameNumber(want, got) {
			return ""
		}
	default:
		if reflect.DeepEqual(want, got) {
			return ""
		}
	}
	return fmt.Sprintf("%s is %s; want %s", path, compact(got), compact(want))
}

// bind reads a value, or compares it with what was read before.
func (v variables) bind(path, name string, got any) string {
	value := json.RawMessage(compact(got))
	before, known := v[name]
	switch {
	case name == "any":
	case name == "absent":
		return fmt.Sprintf("%s is %s; want it absent", path, value)
	case !known:
		v[name] = value
	case !bytes.Equal(before, value):
		return fmt.Sprintf("%s is %s; want %s, as before", path, value, before)
	}
	return ""
}

func (v variables) differObject(path string, want, got map[string]any) string {
	names := slices.SortedFunc(maps.Keys(want), func(a, b string) int { // the type says most
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	for _, name := range names {
		value, ok := got[name]
		switch {
		case !ok && want[name] == "$absent":
		case !ok:
			return fmt.Sprintf("it has no %q; want %s", within(path, name), compact(want[name]))
		default:
			if differs := v.differ(within(path, name), want[name], value); differs != "" {
				return differs
			}
		}
	}
	if path == "" || path == "error" {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			return fmt.Sprintf("%s is not wanted", within(path, name))
		}
	}
	return ""
}

func rank(name string) int {
	if name == "type" {
		return 0
	}
	return 1
}

func within(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func sameNumber(a, b json.Number) bool {
	x, ok1 := new(big.Rat).SetString(a.String())
	y, ok2 := new(big.Rat).SetString(b.String())
	return ok1 && ok2 && x.Cmp(y) == 0
}

// compact returns a value as JSON without HTML's escapes.
func compact(value any) string {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.Encode(value) //nolint:errcheck // it came from JSON
	return strings.TrimSpace(text.String())
}
