package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/juggler-go/juggler/bench/internal/load"
)

// perSeries groups the points that were measured, in the order of the series.
func (rep *report) perSeries() (groups [][]grown) {
	for _, g := range rep.grown {
		last := len(groups) - 1
		if last < 0 || groups[last][0].s.series != g.s.series {
			groups = append(groups, nil)
			last++
		}
		groups[last] = append(groups[last], g)
	}
	return groups
}

// growth returns the tables of all series.
func (rep *report) growth() string {
	var b strings.Builder
	for _, group := range rep.perSeries() {
		b.WriteString(growthSection(group, "").String())
		b.WriteString("\n")
	}
	return b.String()
}

// writeCharts writes the chart of each series that is complete into the
// directory performance beside the document, and returns the sections that
// link to them.
func (rep *report) writeCharts(docs string) (sections []section, err error) {
	for _, group := range rep.perSeries() {
		of := group[0].s.series
		points := 0
		for _, s := range scenarios {
			if s.series != nil && s.series.name == of.name {
				points++
			}
		}
		if len(group) < points {
			continue
		}
		name := ""
		if c := growthChart(group); len(c.lines) > 0 {
			name = filepath.Join("performance", of.name+".svg")
			if err := os.MkdirAll(filepath.Join(docs, "performance"), 0o755); err != nil {
				return nil, err
			}
			if err := os.WriteFile(filepath.Join(docs, name), []byte(c.svg()), 0o644); err != nil {
				return nil, err
			}
		}
		sections = append(sections, growthSection(group, name))
	}
	return sections, nil
}

// cpuEach is the cost that the series show, in microseconds.
func cpuEach(r load.Result) float64 { return float64(r.CPUEach()) / float64(time.Microsecond) }

func growthSection(group []grown, chartFile string) section {
	var b strings.Builder
	first := group[0].s
	if chartFile != "" {
		fmt.Fprintf(&b, "![%s](%s)\n\n", first.series.title, chartFile)
	}
	fmt.Fprintf(&b, "| %s |", first.series.axis)
	for _, c := range first.contenders {
		fmt.Fprintf(&b, " %s: CPU each | %s |", c.name, first.unit())
	}
	b.WriteString(" faults |\n|" + strings.Repeat(" --- |", 2+2*len(first.contenders)) + "\n")
	for _, g := range group {
		fmt.Fprintf(&b, "| %s |", count(float64(g.s.x)))
		wrong := 0
		for i, results := range g.o.results {
			wrong += faults(results)
			if len(results) == 0 {
				b.WriteString(" failed | – |")
				continue
			}
			fmt.Fprintf(&b, " %.2f µs | %s |", median(g.o.column(i, cpuEach)), count(median(g.o.column(i, load.Result.Rate))))
		}
		fmt.Fprintf(&b, " %d |\n", wrong)
	}
	b.WriteString(growthFactors(group))
	for _, g := range group {
		writeFailures(&b, g.o)
	}
	return section{first.series.title, b.String()}
}

// growthFactors says how much more one message costs at the last point of a
// series than at the first.
func growthFactors(group []grown) string {
	first, last := group[0], group[len(group)-1]
	var factors []string
	for i, c := range first.s.contenders {
		from, to := median(first.o.column(i, cpuEach)), median(last.o.column(i, cpuEach))
		if from > 0 && to > 0 {
			factors = append(factors, fmt.Sprintf("%s × %.2f", c.name, to/from))
		}
	}
	if len(factors) == 0 || first.s.x == last.s.x {
		return ""
	}
	return fmt.Sprintf("\nFrom %s to %s %s (× %s), CPU each grows: %s.\n", count(float64(first.s.x)), count(float64(last.s.x)),
		first.s.series.axis, count(float64(last.s.x)/float64(first.s.x)), strings.Join(factors, ", "))
}

func growthChart(group []grown) chart {
	first := group[0].s
	c := chart{title: first.series.title, xAxis: first.series.axis, yAxis: "server CPU, µs each"}
	for i, contender := range first.contenders {
		l := line{name: contender.name}
		for _, g := range group {
			if len(g.o.results[i]) == 0 {
				continue
			}
			if y := median(g.o.column(i, cpuEach)); y > 0 {
				l.points = append(l.points, point{float64(g.s.x), y})
			}
		}
		if len(l.points) > 0 {
			c.lines = append(c.lines, l)
		}
	}
	return c
}
