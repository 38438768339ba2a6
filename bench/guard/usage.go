package main

import (
	"fmt"
	"runtime"

	"github.com/juggler-go/juggler/bench/internal/control"
)

// usage is what this process has used so far.
type usage struct {
	allocations, bytes uint64
	reads, writes      int
}

func readUsage() (u usage) {
	u.reads, u.writes = control.SystemCalls()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.allocations, u.bytes = m.Mallocs, m.TotalAlloc
	return u
}

// A trial is something that is done often.
type trial struct {
	what  string
	times int // a round does it so often
	do    func() error
	calls *clientCalls // whose system calls are not the server's; nil: none are counted
}

// rounds is how often a trial is measured. The least of each cost counts: on a
// busy machine what could leave together does not always do so.
const rounds = 7

// measure returns what doing it once costs.
func (t trial) measure() (guarded, error) {
	g := guarded{What: t.what, Costs: make(map[unit]float64)}
	for range max(t.times/5, 20) { // what is kept for reuse is made
		if err := t.do(); err != nil {
			return g, fmt.Errorf("%s: %w", t.what, err)
		}
	}
	for round := range rounds {
		costs, err := t.round()
		if err != nil {
			return g, fmt.Errorf("%s: %w", t.what, err)
		}
		for u, value := range costs {
			if round == 0 || value < g.Costs[u] {
				g.Costs[u] = value
			}
		}
	}
	return g, nil
}

func (t trial) round() (map[unit]float64, error) {
	var clients clientCalls
	if t.calls != nil {
		clients = *t.calls
	}
	before := readUsage()
	for range t.times {
		if err := t.do(); err != nil {
			return nil, err
		}
	}
	after := readUsage()
	each := func(n int) float64 { return float64(n) / float64(t.times) }
	costs := map[unit]float64{
		allocations: each(int(after.allocations - before.allocations)),
		bytes:       each(int(after.bytes - before.bytes)),
	}
	if t.calls != nil {
		costs[reads] = each(after.reads - before.reads - (t.calls.reads - clients.reads))
		costs[writes] = each(after.writes - before.writes - (t.calls.writes - clients.writes))
	}
	return costs, nil
}
