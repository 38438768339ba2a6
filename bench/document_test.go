package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/bench/internal/load"
)

// measured is a report of one scenario, in which juggler did so much.
func measured(t *testing.T, name string, whole bool, messages int) *report {
	t.Helper()
	rep := newReport(settings{rounds: 1}, whole)
	for _, s := range scenarios {
		if s.name != name {
			continue
		}
		o := outcome{results: make([][]load.Result, len(s.contenders))}
		for i := range o.results {
			o.results[i] = []load.Result{{Messages: messages / (i + 1), Elapsed: 1e9}}
		}
		rep.add(s, o)
		return rep
	}
	t.Fatalf("no scenario %s", name)
	return nil
}

// What a part of the scenarios measured replaces what is there of them, and
// nothing else; a whole run replaces everything.
func TestWriteMerges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, []byte("# Title\n"+beginMarker+"\n"+endMarker+"\n## Findings\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	write := func(rep *report, last bool) string {
		if err := rep.write(file, last); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	count := func(text string, want map[string]int) {
		t.Helper()
		for part, n := range want {
			if got := strings.Count(text, part); got != n {
				t.Errorf("%q is there %d times, want %d, in:\n%s", part, got, n, text)
			}
		}
	}
	write(measured(t, "redis-100x1", false, 7_000_000), true)
	write(measured(t, "echo-100x1", false, 1_000_000), true)
	text := write(measured(t, "echo-100x1", false, 2_000_000), true)
	count(text, map[string]int{
		"# Title": 1, "## Findings": 1, "### Targets": 1, "### Echo of": 1, "### Calls through Redis": 1,
		"1,000,000": 1, "2,000,000": 1, "7,000,000": 1, // half of juggler's two million is gws's
		"| Echo of": 1, "| Calls through Redis": 4, "Measured apart": 2,
	})
	if strings.Index(text, "### Echo of") > strings.Index(text, "### Calls through Redis") {
		t.Error("the sections are not in the order of the scenarios")
	}
	count(write(measured(t, "echo-100x1", true, 3_000_000), false), map[string]int{"### Calls through Redis": 1})
	text = write(measured(t, "echo-100x1", true, 3_000_000), true)
	count(text, map[string]int{"### Targets": 1, "### Echo of": 1, "### Calls through Redis": 0, "Measured apart": 0, "3,000,000": 1})
	if again := write(measured(t, "echo-100x1", true, 3_000_000), true); again != text {
		t.Errorf("writing again changes the document:\n%s", again)
	}
}

// A contender that failed is a row of its table, and its goals are not taken
// for reached.
func TestFailuresAreShown(t *testing.T) {
	for _, s := range scenarios {
		for failing := range s.contenders {
			o := outcome{results: make([][]load.Result, len(s.contenders))}
			for i := range o.results {
				if i != failing {
					o.results[i] = []load.Result{{Messages: 10, Elapsed: 1e9, ServerCPU: 1e6, BytesEach: 100}}
				}
			}
			o.failed("%s failed", s.contenders[failing].name)
			rep := newReport(settings{rounds: 1}, false)
			text := rep.add(s, o)
			if s.series != nil {
				text = rep.growth()
			}
			if !strings.Contains(text, " failed |") || !strings.Contains(text, "**Failed:** "+s.contenders[failing].name) {
				t.Errorf("%s: the failure of %s is not in its table:\n%s", s.name, s.contenders[failing].name, text)
			}
			if strings.Contains(text+rep.verdicts().body, "NaN") {
				t.Errorf("%s: NaN is shown:\n%s%s", s.name, text, rep.verdicts().body)
			}
			for i, g := range s.goals {
				concerned := max(0, s.contender(g.who)) == failing || s.contender(g.peer) == failing
				if failed := strings.Contains(rep.goals[i], "**failed**"); failed != concerned {
					t.Errorf("%s: without %s the goal says %s", s.name, s.contenders[failing].name, rep.goals[i])
				}
			}
		}
	}
}
