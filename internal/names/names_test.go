package names_test

import (
	"testing"

	"github.com/juggler-go/juggler/internal/names"
)

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		set, name string
		has       bool
	}{
		{"a.b", "a.b", true}, {"a.b", "a.bc", false}, {"a.b", "a", false},
		{"a.*", "a.b", true}, {"a.*", "a.", true}, {"a.*", "a", false}, {"*", "", true}, {"*", "x", true},
		{"*", "\x00a", false}, {"\x00*", "\x00a", true}, {"\x00a*", "\x00b", false}, {"*", "a\x00", true},
	} {
		s, ok := names.Parse(tt.set)
		if !ok || s.Has(tt.name) != tt.has {
			t.Errorf("%q has %q: %v, want %v", tt.set, tt.name, !tt.has, tt.has)
		}
	}
	for _, text := range []string{"", "a*b", "**", "*a"} {
		if _, ok := names.Parse(text); ok {
			t.Errorf("%q was taken", text)
		}
	}
	for _, tt := range []struct {
		s, t   string
		covers bool
	}{
		{"a*", "ab*", true}, {"a*", "ab", true}, {"a*", "a*", true}, {"a", "a", true}, {"*", "a", true},
		{"*", "\x00*", false}, {"*", "\x00a", false}, {"\x00*", "\x00a*", true}, {"\x00*", "*", false},
		{"ab*", "a*", false}, {"a", "a*", false}, {"a", "ab", false}, {"ab", "a*", false},
	} {
		set, _ := names.Parse(tt.s)
		other, _ := names.Parse(tt.t)
		if set.Covers(other) != tt.covers {
			t.Errorf("%q covers %q: %v", tt.s, tt.t, !tt.covers)
		}
	}
}
