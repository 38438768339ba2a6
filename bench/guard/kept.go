package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"text/tabwriter"
)

// kept is what guards.json holds.
type kept struct {
	Go     string // version that measured
	Arch   string // and for what: instructions of another are not compared
	Guards []guarded
}

// guarded is one hot path and what doing it once costs.
type guarded struct {
	What  string
	Costs map[unit]float64
}

// unit is what a cost is counted in.
type unit string

const (
	instructions unit = "instructions" // in user mode
	allocations  unit = "allocations"
	bytes        unit = "bytes"      // allocated
	held         unit = "bytes held" // by an idle session
	reads        unit = "reads"      // system calls that read, the server's
	writes       unit = "writes"
	goroutines   unit = "goroutines"
	sent         unit = "commands sent"  // to Redis; a script is one
	inner        unit = "inner commands" // of scripts
)

// units in the order of the table.
var units = []unit{instructions, allocations, bytes, held, reads, writes, goroutines, sent, inner}

// allowances say how far above the kept value a cost may be: a part of it,
// and something absolute, since nothing is measured to the last digit. They
// are what runs on a busy machine vary by, with room.
var allowances = map[unit]struct{ part, more float64 }{
	instructions: {0.12, 10}, // maps are seeded at random

	allocations: {0.05, 0.05},
	bytes:       {0.10, 8},
	held:        {0.20, 0},
	reads:       {0.25, 0.3},
	writes:      {0.25, 0.3},
	goroutines:  {0, 0.01},
	sent:        {0.05, 0.2},
	inner:       {0.05, 0.2},
}

// allowed returns what a cost may be at most.
func (u unit) allowed(kept float64) float64 {
	a := allowances[u]
	return kept*(1+a.part) + a.more
}

// A row compares one cost. A value that there is none of is NaN.
type row struct {
	what      string
	unit      unit
	kept, now float64
}

// What a row says, beside "": as before.
const (
	more       = "MORE"
	less       = "less"
	unkept     = "not kept"
	unmeasured = "not measured"
)

func (r row) state() string {
	switch {
	case math.IsNaN(r.kept):
		return unkept
	case math.IsNaN(r.now):
		return unmeasured
	case r.now > r.unit.allowed(r.kept):
		return more
	case r.kept > r.unit.allowed(r.now):
		return less
	}
	return ""
}

// compare returns a row for everything that was kept or is measured now.
func compare(was, now kept) (rows []row) {
	find := func(k kept, what string, u unit) float64 {
		for _, g := range k.Guards {
			if value, ok := g.Costs[u]; ok && g.What == what {
				return value
			}
		}
		return math.NaN()
	}
	add := func(g guarded) {
		for _, u := range units {
			if _, ok := g.Costs[u]; ok {
				rows = append(rows, row{g.What, u, find(was, g.What, u), find(now, g.What, u)})
			}
		}
	}
	for _, g := range now.Guards {
		add(g)
	}
	for _, g := range was.Guards {
		gone := guarded{What: g.What, Costs: make(map[unit]float64)}
		for u, value := range g.Costs {
			if math.IsNaN(find(now, g.What, u)) {
				gone.Costs[u] = value
			}
		}
		add(gone)
	}
	return rows
}

func printTable(w io.Writer, rows []row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tunit\tkept\tnow\tallowed\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.unit, number(r.kept), number(r.now), number(r.unit.allowed(r.kept)), r.state())
	}
	t.Flush()
}

func number(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return fmt.Sprintf("%.6g", math.Round(x*100)/100)
}

// advice says what to do when something moved.
const advice = `
A hot path does more than it did. If nobody meant that, find out what it is:
  go test -run '^$' -bench . -benchmem -count 10 ./... before and after, with benchstat,
  and -memprofile or -cpuprofile of the benchmark that moved.
If the cost is what a feature or a correction has to have, or another version of Go
moved it (kept with %s, this is %s), record it, and give the reason in the
commit:
  cd bench && go run ./guard -update
Never record to silence a figure that nobody can explain.
`

// judge returns an error if rows moved that must not, and writes what to do.
func judge(w io.Writer, was, now kept, rows []row) error {
	states := make(map[string]int)
	for _, r := range rows {
		if r.state() == unmeasured && r.unit == instructions && !(steppable && was.Arch == now.Arch) {
			continue
		}
		states[r.state()]++
	}
	if states[less] > 0 {
		fmt.Fprintf(w, "\n%d costs went down: keep that with \"cd bench && go run ./guard -update\".\n", states[less])
	}
	if states[more]+states[unkept]+states[unmeasured] == 0 {
		return nil
	}
	fmt.Fprintf(w, advice, was.Go, now.Go)
	return fmt.Errorf("%d costs went up, %d are not kept, %d are not measured any more: see the table",
		states[more], states[unkept], states[unmeasured])
}

// forgetInstructions removes them.
func (k *kept) forgetInstructions() {
	for _, g := range k.Guards {
		delete(g.Costs, instructions)
	}
}

func readKept(file string) (k kept, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return k, fmt.Errorf("%s: %w", file, err)
	}
	return k, nil
}

func (k kept) write(file string) error {
	for _, g := range k.Guards {
		for u, value := range g.Costs {
			g.Costs[u] = math.Round(value*100) / 100
		}
	}
	text, err := json.MarshalIndent(k, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
