package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
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
	whole  bool   // every scenario is run, none of them shortened
	date   string // of the first scenario
	busy   string // load average before it
	tables []section
	goals  []string
	grown  []grown
	faults int // in all loads
}

// grown is a point of a series that was measured.
type grown struct {
	s scenario
	o outcome
}

func newReport(set settings, whole bool) *report {
	return &report{set: set, whole: whole, date: time.Now().Format(time.DateOnly), busy: loadAverage()}
}

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
	for _, results := range o.results {
		rep.faults += faults(results)
	}
	if s.series != nil {
		rep.grown = append(rep.grown, grown{s, o})
		return ""
	}
	var b strings.Builder
	switch {
	case s.load.Kind == load.Idle && s.contenders[0].redis:
		rep.redisConnectionsTable(&b, s, o)
	case s.load.Kind == load.Idle:
		rep.idleTable(&b, s, o)
	default:
		rep.loadTable(&b, s, o)
		if s.contenders[0].redis {
			rep.redisTable(&b, s, o)
		}
		if s.contenders[0].deflate {
			rep.wireTable(&b, s, o)
		}
	}
	writeFailures(&b, o)
	table := section{s.title, b.String()}
	rep.tables = append(rep.tables, table)
	for _, g := range s.goals {
		rep.goals = append(rep.goals, s.verdict(g, o))
	}
	return table.String()
}

func writeFailures(b *strings.Builder, o outcome) {
	for _, failure := range o.failures {
		fmt.Fprintf(b, "\n**Failed:** %s\n", failure)
	}
}

func (rep *report) loadTable(b *strings.Builder, s scenario, o outcome) {
	fmt.Fprintf(b, "| | %s | ± | CPU each | allocations each | reads + writes each | p50 | p99 | the first is × (95 %%) | CPU × | faults |\n", s.unit())
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	cpu := func(r load.Result) float64 { return float64(r.CPUEach()) }
	for i, c := range s.contenders {
		results := o.results[i]
		rates := o.column(i, s.figure)
		if len(results) == 0 {
			fmt.Fprintf(b, "| %s | failed |%s\n", c.name, strings.Repeat(" – |", 9))
			continue
		}
		each := func(figure func(load.Result) int) float64 {
			return median(o.column(i, func(r load.Result) float64 { return float64(figure(r)) / max(1, float64(r.Messages)) }))
		}
		fmt.Fprintf(b, "| %s | %s | %.0f %% | %s | %.2f | %.2f + %.2f | %s | %s | %s | %s | %d |\n", c.name,
			count(median(rates)), 100*spread(rates),
			micros(time.Duration(median(o.column(i, cpu)))),
			each(func(r load.Result) int { return int(r.Mallocs) }),
			each(func(r load.Result) int { return r.Reads }),
			each(func(r load.Result) int { return r.Writes }),
			latency(median(o.column(i, func(r load.Result) float64 { return float64(r.P50) }))),
			latency(median(o.column(i, func(r load.Result) float64 { return float64(r.P99) }))),
			o.ratio(i, s.figure), o.ratio(i, cpu), faults(results))
	}
}

// wireTable says what the messages of compressing contenders are on the wire.
func (rep *report) wireTable(b *strings.Builder, s scenario, o outcome) {
	b.WriteString("\n| | bytes received each |\n| --- | --- |\n")
	for i, c := range s.contenders {
		if len(o.results[i]) == 0 {
			fmt.Fprintf(b, "| %s | failed |\n", c.name)
			continue
		}
		each := median(o.column(i, func(r load.Result) float64 { return float64(r.Received) / max(1, float64(r.Messages)) }))
		fmt.Fprintf(b, "| %s | %.0f |\n", c.name, each)
	}
}

func (rep *report) redisTable(b *strings.Builder, s scenario, o outcome) {
	b.WriteString("\n| | CPU of Redis each | commands sent each, at most | commands that Redis counted each |\n| --- | --- | --- | --- |\n")
	for i, c := range s.contenders {
		if len(o.results[i]) == 0 {
			fmt.Fprintf(b, "| %s | failed | – | – |\n", c.name)
			continue
		}
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
		if len(o.results[i]) == 0 {
			fmt.Fprintf(b, "| %s | failed | – | – | – |\n", c.name)
			continue
		}
		if i > 0 && len(o.results[0]) > 0 {
			ratio = fmt.Sprintf("%.1f", compare(o.column(i, s.figure), o.column(0, s.figure)).ratio)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %.2f | %s |\n", c.name,
			count(median(o.column(i, s.figure))),
			count(median(o.column(i, func(r load.Result) float64 { return r.RSSEach }))),
			median(o.column(i, func(r load.Result) float64 { return r.Goroutines })), ratio)
	}
}

// redisConnectionsTable shows how many connections a node and a callee keep.
func (rep *report) redisConnectionsTable(b *strings.Builder, s scenario, o outcome) {
	b.WriteString("| | connections to Redis |\n| --- | --- |\n")
	for i, c := range s.contenders {
		if len(o.results[i]) == 0 {
			fmt.Fprintf(b, "| %s | failed |\n", c.name)
			continue
		}
		fmt.Fprintf(b, "| %s | %.0f |\n", c.name, median(o.column(i, redisConnections)))
	}
}

func redisConnections(r load.Result) float64 { return float64(r.RedisConnections) }

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
	target, measured, state := s.judge(g, o)
	if g.who != "" {
		target = g.who + ": " + target
	}
	return fmt.Sprintf("| %s | %s | %s | %s |", s.title, target, measured, state)
}

func (s *scenario) judge(g goal, o outcome) (target, measured, state string) {
	who, peer := max(0, s.contender(g.who)), s.contender(g.peer)
	target = g.target()
	if len(o.results[who]) == 0 || (peer >= 0 && len(o.results[peer]) == 0) {
		return target, "–", "**failed**"
	}
	middle := func(i int, figure func(load.Result) float64) float64 { return median(o.column(i, figure)) }
	switch g.kind {
	case idleBytes:
		bytes := middle(who, s.figure)
		return target, count(bytes), reached(bytes <= g.limit)
	case latencyTimes:
		p50 := func(r load.Result) float64 { return float64(r.P50) }
		limit := max(400e3, g.limit*middle(peer, p50))
		return target, fmt.Sprintf("%s of %s", latency(middle(who, p50)), latency(limit)), reached(middle(who, p50) <= limit)
	case cpuMicros:
		cpu := middle(who, func(r load.Result) float64 {
			return float64(r.ServerCPU+r.RedisCPU) / float64(time.Microsecond) / max(1, float64(r.Messages))
		})
		return target, fmt.Sprintf("%.1f µs", cpu), reached(cpu <= g.limit)
	case commandsSent:
		each := middle(who, func(r load.Result) float64 { return float64(r.RedisSent) / max(1, float64(r.Messages)) })
		return target, fmt.Sprintf("%.2f", each), reached(each < g.limit)
	case keptReads:
		reads := middle(who, func(r load.Result) float64 { return float64(r.RedisReads) })
		return target, count(reads), reached(reads <= g.limit)
	case redisCPUTimes:
		redisCPU := func(r load.Result) float64 { return float64(r.RedisCPU) / max(1, float64(r.Messages)) }
		times := compare(o.column(who, redisCPU), o.column(peer, redisCPU))
		return target, times.String(), reached(times.ratio <= g.limit)
	case sameConnections:
		many, few := middle(who, redisConnections), middle(peer, redisConnections)
		return target, fmt.Sprintf("%.0f and %.0f", many, few), reached(many == few)
	}
	r := compare(o.column(who, s.figure), o.column(peer, s.figure))
	measured = r.String()
	if cpu := compare(o.column(who, cpuEach), o.column(peer, cpuEach)); !math.IsNaN(cpu.ratio) {
		measured += "; CPU × " + cpu.String()
	}
	return target, measured, r.verdict(g.limit)
}

// target says what g wants.
func (g goal) target() string {
	switch g.kind {
	case idleBytes:
		return fmt.Sprintf("≤ %s bytes", count(g.limit))
	case latencyTimes:
		return fmt.Sprintf("p50 ≤ 0.4 ms or %g × %s, whichever is larger", g.limit, g.peer)
	case cpuMicros:
		return fmt.Sprintf("≤ %g µs of CPU each, Redis included (a tenth of the first implementation's, on another day)", g.limit)
	case commandsSent:
		return fmt.Sprintf("< %g commands sent each", g.limit)
	case keptReads:
		return fmt.Sprintf("≤ %g reads of kept events", g.limit)
	case redisCPUTimes:
		return fmt.Sprintf("≤ %g × CPU of Redis of %s", g.limit, g.peer)
	case sameConnections:
		return "as many connections to Redis as with " + g.peer
	}
	return fmt.Sprintf("≥ %g × %s", g.limit, g.peer)
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

// verdicts returns the section of targets.
func (rep *report) verdicts() section {
	rows := append([]string{"| load | target | measured | |", "| --- | --- | --- | --- |"}, rep.goals...)
	if rep.whole {
		rows = append(rows, fmt.Sprintf("| All loads | 0 messages lost, twice or out of order | %d | %s |", rep.faults, reached(rep.faults == 0)))
	}
	return section{targetsTitle, strings.Join(rows, "\n") + "\n"}
}

// preamble says how the figures came about.
func (rep *report) preamble() string {
	return fmt.Sprintf("Measured %s, on %s with %d processors (client and server on it together), %s. Scenarios without a target have 3 rounds at most, points of a series 2. %s\n",
		rep.circumstances(), kernel(), runtime.NumCPU(), runtime.Version(), versions())
}

// circumstances are what differs from run to run.
func (rep *report) circumstances() string {
	return fmt.Sprintf("on %s by `%s` in `bench/`: %d rounds of %v, a load average of %s before, juggler at %s",
		rep.date, strings.Join(append([]string{"go run ."}, os.Args[1:]...), " "), rep.set.rounds, rep.set.window, rep.busy, revision())
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
	var list []string
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
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
	return "Peers: " + strings.Join(list, ", ") + "."
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
