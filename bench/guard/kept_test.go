package main

import (
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

func only(what string, u unit, value float64) kept {
	return kept{Go: "go1.26.0", Arch: "amd64", Guards: []guarded{{what, map[unit]float64{u: value}}}}
}

func TestCompare(t *testing.T) {
	for _, test := range []struct {
		name     string
		was, now kept
		state    string
		fails    string // what the error says; empty: there is none
	}{
		{"the same", only("a", writes, 1), only("a", writes, 1), "", ""},
		{"within what is allowed", only("a", instructions, 1000), only("a", instructions, 1129), "", ""},
		{"more than that", only("a", instructions, 1000), only("a", instructions, 1131), "MORE", "1 costs went up"},
		{"an allocation more", only("a", allocations, 0), only("a", allocations, 1), "MORE", "1 costs went up"},
		{"less", only("a", allocations, 2), only("a", allocations, 1), "less", ""},
		{"new", kept{}, only("a", writes, 1), "not kept", "1 are not kept"},
		{"gone", only("a", writes, 1), kept{}, "not measured", "1 are not measured"},
	} {
		rows := compare(test.was, test.now)
		if len(rows) != 1 || rows[0].state() != test.state {
			t.Errorf("%s: got %v, want one row in the state %q", test.name, rows, test.state)
			continue
		}
		var said strings.Builder
		err := judge(&said, test.was, test.now, rows)
		switch {
		case (err != nil) != (test.fails != ""):
			t.Errorf("%s: got the error %v", test.name, err)
		case err != nil && !(strings.Contains(err.Error(), test.fails) && strings.Contains(said.String(), "-update")):
			t.Errorf("%s: the error does not say %q, or not what to do: %v\n%s", test.name, test.fails, err, said.String())
		}
	}
}

// Instructions of another architecture say nothing, and those that the system
// does not let us count are no fault of the code.
func TestInstructionsThatCannotBeCompared(t *testing.T) {
	was, now := only("a", instructions, 1000), kept{Arch: "arm64"}
	if err := judge(io.Discard, was, now, compare(was, now)); err != nil {
		t.Error(err)
	}
	if rows := compare(was, only("b", writes, 1)); len(rows) != 2 || !math.IsNaN(rows[0].kept) || !math.IsNaN(rows[1].now) {
		t.Errorf("got %v", rows)
	}
}

func TestKeptFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guards.json")
	if err := only("a", writes, 1.23456).write(file); err != nil {
		t.Fatal(err)
	}
	k, err := readKept(file)
	if err != nil || k.Guards[0].Costs[writes] != 1.23 || k.Arch != "amd64" {
		t.Errorf("read %v, %v", k, err)
	}
}

func TestFrameSize(t *testing.T) {
	long := append([]byte{0x81, 126, 1, 0}, make([]byte, 256)...)
	for _, test := range []struct {
		b    []byte
		want int
	}{
		{nil, 0}, {[]byte{0x81}, 0}, {[]byte{0x81, 2, 'a'}, 0}, {[]byte{0x81, 2, 'a', 'b', 'c'}, 4},
		{long[:3], 0}, {long[:259], 0}, {long, 260},
	} {
		if got := frameSize(test.b); got != test.want {
			t.Errorf("frameSize(% x…) = %d, want %d", test.b[:min(4, len(test.b))], got, test.want)
		}
	}
}
