package members_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/members"
)

type inner struct {
	Same    int
	Shallow int
	Deep    struct{} `json:"renamed"`
}

type Other struct {
	Same int
	Tags []string
	*Last
}

type Last struct{ Last int }

type outer struct {
	First int `json:"z"`
	inner
	*Other
	Shallow string
	Tagged  inner `json:"Tags"`
	Named   int   `json:"A"`
	A       int
	Bad     int `json:"\""` //lint:ignore SA5008 it is no name
	Hidden  int `json:"-"`
	hidden  int //lint:ignore U1000 it is not looked at
	time.Duration
}

// The members are those that encoding/json writes, in its order.
func TestMembersAreThoseOfEncodingJSON(t *testing.T) {
	text, err := json.Marshal(outer{Other: &Other{Last: &Last{}}})
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	var want []string
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, name.(string))
		if err := d.Decode(new(any)); err != nil {
			t.Fatal(err)
		}
	}
	s := members.Of(reflect.TypeFor[outer]())
	var got, optional []string
	for _, m := range s.Members {
		got = append(got, m.Name)
		if m.Optional {
			optional = append(optional, m.Name)
		}
	}
	if !slices.Equal(got, want) || len(got) < 8 {
		t.Errorf("got %q, want %q", got, want)
	}
	if !slices.Equal(optional, []string{"Last"}) {
		t.Errorf("optional are %q", optional)
	}
	for name, want := range map[string]string{"a": "A", "TAGS": "Tags", "renamed": "renamed", "Same": "", "Hidden": ""} {
		if m, ok := s.Find(name); m.Name != want || ok != (want != "") {
			t.Errorf("Find(%q) is %q, %v", name, m.Name, ok)
		}
	}
}

type never []int

func (never) IsZero() bool { return false }

// What may be left out is optional, and it is never null if it is left out then.
func TestOptions(t *testing.T) {
	s := members.Of(reflect.TypeFor[struct {
		Plain     *int
		Empty     *int           `json:",omitempty"`
		Zero      []int          `json:",omitzero"`
		Never     never          `json:",omitzero"`
		NeverP    *never         `json:",omitzero"`
		Struct    struct{}       `json:",omitempty"`
		Array     [1]int         `json:",omitempty"`
		None      [0]int         `json:",omitempty"`
		Quoted    *int           `json:",string"`
		NotQuoted map[string]int `json:",string"` //lint:ignore SA5008 it has no effect
	}]())
	type flags struct{ optional, noNull, quoted bool }
	for name, want := range map[string]flags{
		"Plain": {}, "Empty": {true, true, false}, "Zero": {true, true, false}, "Never": {true, false, false},
		"NeverP": {true, true, false}, "Struct": {}, "Array": {}, "None": {true, true, false},
		"Quoted": {false, false, true}, "NotQuoted": {},
	} {
		m, ok := s.Find(name)
		if got := (flags{m.Optional, m.NoNull, m.Quoted}); !ok || got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
