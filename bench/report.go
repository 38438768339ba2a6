package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/juggler-go/juggler/bench/internal/load"
)

// A report gathers what the scenarios measured, as Markdown.
type report struct {
	set    settings
	busy   string // load average before the first scenario
	tables []string
	goals  []string
	grown  []grown
}

// grown is a point of a series that was measured.
type grown struct {
	s scenario
	o outcome
}

func newReport(set settings) *report { return &report{set: set, busy: loadAverage()} }

// loadAverage is how busy the machine is with other things before a run.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// add returns the table of one scenario; nothing for a point of a series.
func (rep *report) add(s scenario, o outcome) string {
	if s.series != nil {
		rep.grown = append(rep.grown, grown{s, o})
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", s.title)
	if s.load.Kind == load.Idle {
		rep.idleTable(&b, s, o)
	} else {
		rep.loadTable(&b, s, o)
	}
	if s.contenders[0].redis {
		rep.redisTable(&b, s, o)
	}
	rep.tables = append(rep.tables, b.String())
	for _, g := range s.goals {
		rep.goals = append(rep.goals, s.verdict(g, o))
	}
	return b.String()
}

func (rep *report) loadTable(b *strings.Builder, s scenario, o outcome) {
	fmt.Fprintf(b, "| | %s | ± | CPU each | allocations each | p50 | p99 | the first is × (95 %%) | CPU × | faults |\n", s.unit())
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	cpu := func(r load.Result) float64 { return float64(r.CPUEach()) }
	for i, c := range s.contenders {
		results := o.results[i]
		rates := o.column(i, s.figure)
		fmt.Fprintf(b, "| %s | %s | %.0f %% | %s | %s | %s | %s | %s | %s | %d |\n", c.name,
			count(median(rates)), 100*spread(rates),
			micros(time.Duration(median(o.column(i, cpu)))),
			allocations(median(o.column(i, func(r load.Result) float64 { return float64(r.Mallocs) / max(1, float64(r.Messages)) }))),
			latency(median(o.column(i, func(r load.Result) float64 { return float64(r.P50) }))),
			latency(median(o.column(i, func(r load.Result) float64 { return float64(r.P99) }))),
			o.ratio(i, s.figure), o.ratio(i, cpu), faults(results))
	}
}

func (rep *report) redisTable(b *strings.Builder, s scenario, o outcome) {
	b.WriteString("\n| | CPU of Redis each | commands sent each, at most | commands that Redis counted each |\n| --- | --- | --- | --- |\n")
	for i, c := range s.contenders {
		each := func(figure func(load.Result) float64) float64 {
			return median(o.column(i, func(r load.Result) float64 { return figure(r) / max(1, float64(r.Messages)) }))
		}
		fmt.Fprintf(b, "| %s | %s | %.2f | %.2f |\n", c.name,
			micros(time.Duration(each(func(r load.Result) float64 { return float64(r.RedisCPU) }))),
			each(func(r load.Result) float64 { return float64(r.RedisSent) }),
			each(func(r load.Result) float64 { return float64(r.RedisCommands) }))
	}
}

func (rep *report) idleTable(b *strings.Builder, s scenario, o outcome) {
	b.WriteString("| | bytes of heap and stacks | resident bytes | goroutines | × the first |\n")
	b.WriteString("| --- | --- | --- | --- | --- |\n")
	for i, c := range s.contenders {
		ratio := "–"
		if i > 0 {
			ratio = fmt.Sprintf("%.1f", compare(o.column(i, s.figure), o.column(0, s.figure)).ratio)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %.2f | %s |\n", c.name,
			count(median(o.column(i, s.figure))),
			count(median(o.column(i, func(r load.Result) float64 { return r.RSSEach }))),
			median(o.column(i, func(r load.Result) float64 { return r.Goroutines })), ratio)
	}
}

// column returns one figure of contender i, round by round.
func (o outcome) column(i int, figure func(load.Result) float64) []float64 {
	column := make([]float64, len(o.results[i]))
	for round, r := range o.results[i] {
		column[round] = figure(r)
	}
	return column
}

// ratio writes what the first contender's figure is times that of contender i.
func (o outcome) ratio(i int, figure func(load.Result) float64) string {
	if i == 0 {
		return "–"
	}
	return compare(o.column(0, figure), o.column(i, figure)).String()
}

func faults(results []load.Result) (n int) {
	for _, r := range results {
		n += r.Faults()
	}
	return n
}

// verdict says whether g was reached.
func (s *scenario) verdict(g goal, o outcome) string {
	who := max(0, s.contender(g.who))
	figures := o.column(who, s.figure)
	if g.peer == "" {
		bytes := median(figures)
		return fmt.Sprintf("| %s | ≤ %s bytes | %s | %s |", s.title, count(g.atMost), count(bytes), reached(bytes <= g.atMost))
	}
	if g.p50 > 0 {
		return s.latencyVerdict(g, o)
	}
	r := compare(figures, o.column(s.contender(g.peer), s.figure))
	target := fmt.Sprintf("≥ %g × %s", g.atLeast, g.peer)
	if g.who != "" {
		target = g.who + " " + target
	}
	return fmt.Sprintf("| %s | %s | %s | %s |", s.title, target, r, r.verdict(g.atLeast))
}

// latencyVerdict says whether the first contender's median latency is at most
// g.p50 times its peer's, or 0.4 ms if that is more.
func (s *scenario) latencyVerdict(g goal, o outcome) string {
	p50 := func(r load.Result) float64 { return float64(r.P50) }
	got, bare := median(o.column(0, p50)), median(o.column(s.contender(g.peer), p50))
	limit := max(400e3, g.p50*bare)
	return fmt.Sprintf("| %s | p50 ≤ 0.4 ms or %g × %s: %s | %s | %s |",
		s.title, g.p50, g.peer, latency(limit), latency(got), reached(got <= limit))
}

// verdict says whether the ratio is at least goal, as far as its interval
// allows to say that.
func (i interval) verdict(goal float64) string {
	switch {
	case i.low >= goal:
		return "reached"
	case i.high < goal:
		return "**missed**"
	case i.ratio >= goal:
		return "reached, within the noise"
	}
	return "missed, within the noise"
}

func reached(yes bool) string {
	if yes {
		return "reached"
	}
	return "**missed**"
}

// verdicts returns the table of targets.
func (rep *report) verdicts() string {
	if len(rep.goals) == 0 {
		return ""
	}
	return "### Targets\n\n| load | target | measured | |\n| --- | --- | --- | --- |\n" + strings.Join(rep.goals, "\n") + "\n"
}

// The markers between which write puts the tables.
const (
	beginMarker = "<!-- bench: begin -->"
	endMarker   = "<!-- bench: end -->"
)

// write replaces what is between the markers of a Markdown file.
func (rep *report) write(file string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), beginMarker)
	_, after, closed := strings.Cut(rest, endMarker)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %q and %q to put the tables between", file, beginMarker, endMarker)
	}
	growth, err := rep.writeCharts(filepath.Dir(file))
	if err != nil {
		return err
	}
	body := strings.Join([]string{beginMarker, rep.preamble(), rep.verdicts(), strings.Join(rep.tables, "\n"), growth, endMarker}, "\n")
	return os.WriteFile(file, []byte(before+body+after), 0o644)
}

// preamble says how the figures came about.
func (rep *report) preamble() string {
	return fmt.Sprintf("Made by `go run . %s` in `bench/`, %d rounds of %v each, on %s with %d processors (client and server on it together) and a load average of %s before, %s. %s\n",
		strings.Join(os.Args[1:], " "), rep.set.rounds, rep.set.window, kernel(), runtime.NumCPU(), rep.busy, runtime.Version(), versions())
}

func kernel() string {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return runtime.GOOS
	}
	var release []byte
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	return "Linux " + string(release)
}

// versions lists what was compared.
func versions() string {
	list := []string{"juggler at " + revision()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return list[0]
	}
	peers := map[string]string{
		"github.com/centrifugal/centrifuge": "centrifuge",
		"github.com/lxzan/gws":              "gws",
		"github.com/gorilla/websocket":      "gorilla/websocket",
		"github.com/coder/websocket":        "coder/websocket",
		"github.com/nats-io/nats-server/v2": "nats-server",
		"github.com/nats-io/nats.go":        "nats.go",
	}
	for _, dep := range info.Deps {
		if name, ok := peers[dep.Path]; ok {
			list = append(list, name+" "+dep.Version)
		}
	}
	return "Versions: " + strings.Join(list, ", ") + "."
}

func revision() string {
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "an unknown revision"
	}
	return strings.TrimSpace(string(out))
}

// String returns e.g. "1.52 (1.48–1.57)".
func (i interval) String() string {
	if math.IsNaN(i.ratio) {
		return "–"
	}
	if math.IsInf(i.high, 1) {
		return fmt.Sprintf("%.2f", i.ratio)
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", i.ratio, i.low, i.high)
}

// count writes a number with separated thousands.
func count(x float64) string {
	digits := fmt.Sprintf("%.0f", x)
	negative := strings.HasPrefix(digits, "-")
	digits = strings.TrimPrefix(digits, "-")
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	if negative {
		return "-" + digits
	}
	return digits
}

func micros(d time.Duration) string { return fmt.Sprintf("%.2f µs", float64(d)/1000) }

// latency writes a time of a request; the histogram's buckets are an eighth
// wide, so two digits are all there is.
func latency(ns float64) string {
	if ns == 0 {
		return "–"
	}
	if ns >= 1e6 {
		return fmt.Sprintf("%.1f ms", ns/1e6)
	}
	return fmt.Sprintf("%.0f µs", ns/1e3)
}

func allocations(x float64) string { return fmt.Sprintf("%.2f", x) }
