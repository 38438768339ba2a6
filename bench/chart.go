package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A chart shows how a cost grows: lines over logarithmic axes, as SVG.
type chart struct {
	title, xAxis, yAxis string
	lines               []line
}

// A line is one contender's.
type line struct {
	name   string
	points []point
}

type point struct{ x, y float64 }

// The drawing's size, and the margins around the plot.
const (
	chartWidth, chartHeight                    = 720, 400
	marginLeft, marginRight, marginTop, bottom = 70, 190, 50, 50
)

// Colours that are told apart without red and green.
var lineColours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"}

// axis maps values to positions, by the logarithm.
type axis struct {
	low, high int     // powers of ten around the values
	from, to  float64 // positions of low and high
}

// newAxis returns an axis for values, all of them above 0.
func newAxis(values []float64, from, to float64) axis {
	low := int(math.Floor(math.Log10(slices.Min(values))))
	high := int(math.Ceil(math.Log10(slices.Max(values))))
	return axis{low, max(high, low+1), from, to}
}

func (a axis) at(value float64) float64 {
	return a.from + (a.to-a.from)*(math.Log10(value)-float64(a.low))/float64(a.high-a.low)
}

// ticks are the powers of ten, and between them, where there is room for it,
// twice and five times that.
func (a axis) ticks() (values []float64) {
	for exponent := a.low; exponent <= a.high; exponent++ {
		values = append(values, math.Pow10(exponent))
		if exponent < a.high && a.high-a.low <= 2 {
			values = append(values, 2*math.Pow10(exponent), 5*math.Pow10(exponent))
		}
	}
	return values
}

// tickLabel writes 0.05 as well as 10,000.
func tickLabel(v float64) string {
	if v < 1 {
		return fmt.Sprintf("%g", v)
	}
	return count(v)
}

// svg draws the chart.
func (c chart) svg() string {
	var xs, ys []float64
	for _, l := range c.lines {
		for _, p := range l.points {
			xs, ys = append(xs, p.x), append(ys, p.y)
		}
	}
	x := newAxis(xs, marginLeft, chartWidth-marginRight)
	y := newAxis(ys, chartHeight-bottom, marginTop)

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", chartWidth, chartHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", chartWidth, chartHeight)
	text := func(x, y float64, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="%s" fill="#222">%s</text>`+"\n", x, y, anchor, s)
	}
	rule := func(x1, y1, x2, y2 float64) {
		fmt.Fprintf(&b, `<path d="M%.1f %.1fL%.1f %.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
	}
	text(8, 20, "start", c.title)
	for _, v := range x.ticks() {
		rule(x.at(v), y.from, x.at(v), y.to)
		text(x.at(v), y.from+18, "middle", tickLabel(v))
	}
	for _, v := range y.ticks() {
		rule(x.from, y.at(v), x.to, y.at(v))
		text(x.from-8, y.at(v)+4, "end", tickLabel(v))
	}
	text((x.from+x.to)/2, chartHeight-12, "middle", c.xAxis)
	text(8, marginTop-10, "start", c.yAxis+" (both axes are logarithmic)")
	for i, l := range c.lines {
		colour := lineColours[i%len(lineColours)]
		path := ""
		for j, p := range l.points {
			path += fmt.Sprintf("%c%.1f %.1f", "ML"[min(j, 1)], x.at(p.x), y.at(p.y))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x.at(p.x), y.at(p.y), colour)
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path, colour)
		legend := float64(marginTop + 20*i)
		fmt.Fprintf(&b, `<path d="M%.0f %.0fh24" stroke="%s" stroke-width="2"/>`+"\n", x.to+14, legend-4, colour)
		text(x.to+44, legend, "start", l.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
