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
		growthTable(&b, group, "")
	}
	return b.String()
}

// writeCharts writes the chart of each series into the directory performance
// beside the document, and returns the tables that link to them.
func (rep *report) writeCharts(docs string) (string, error) {
	var b strings.Builder
	for _, group := range rep.perSeries() {
		name := filepath.Join("performance", group[0].s.series.name+".svg")
		if err := os.MkdirAll(filepath.Join(docs, "performance"), 0o755); err != nil {
			return "", err
		}
		c := growthChart(group)
		if len(c.lines) == 0 {
			return "", fmt.Errorf("%s: nothing was measured", group[0].s.series.title)
		}
		if err := os.WriteFile(filepath.Join(docs, name), []byte(c.svg()), 0o644); err != nil {
			return "", err
		}
		growthTable(&b, group, name)
	}
	return b.String(), nil
}

// cpuEach is the cost that the series show, in microseconds.
func cpuEach(r load.Result) float64 { return float64(r.CPUEach()) / float64(time.Microsecond) }

func growthTable(b *strings.Builder, group []grown, chartFile string) {
	first := group[0].s
	fmt.Fprintf(b, "### %s\n\n", first.series.title)
	if chartFile != "" {
		fmt.Fprintf(b, "![%s](%s)\n\n", first.series.title, chartFile)
	}
	fmt.Fprintf(b, "| %s |", first.series.axis)
	for _, c := range first.contenders {
		fmt.Fprintf(b, " %s: CPU each | %s |", c.name, first.unit())
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", 1+2*len(first.contenders)) + "\n")
	for _, g := range group {
		fmt.Fprintf(b, "| %s |", count(float64(g.s.x)))
		for i := range g.s.contenders {
			fmt.Fprintf(b, " %.2f µs | %s |", median(g.o.column(i, cpuEach)), count(median(g.o.column(i, load.Result.Rate))))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

func growthChart(group []grown) chart {
	first := group[0].s
	c := chart{title: first.series.title, xAxis: first.series.axis, yAxis: "server CPU, µs each"}
	for i, contender := range first.contenders {
		l := line{name: contender.name}
		for _, g := range group {
			if y := median(g.o.column(i, cpuEach)); y > 0 { // something was measured
				l.points = append(l.points, point{float64(g.s.x), y})
			}
		}
		if len(l.points) > 0 {
			c.lines = append(c.lines, l)
		}
	}
	return c
}
