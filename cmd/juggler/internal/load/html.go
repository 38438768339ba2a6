package load

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Parse(page))

// WriteHTML writes the report as one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer, title string) error {
	return pageTemplate.Execute(w, struct {
		*Report
		Title                              string
		Latencies                          []namedLatency
		Throughput, OverTime, ByPercentile chart
	}{r, title, r.latencies(), r.throughput(), r.overTime(), r.byPercentile()})
}

type namedLatency struct {
	Name  string
	Count uint64
	Rate  float64
	Latency
}

func (r *Report) latencies() []namedLatency {
	rows := []namedLatency{{"calls", r.Calls, r.CallRate, r.CallLatency}}
	if r.Pubs > 0 {
		rows = append(rows, namedLatency{"publications", r.Pubs, r.PubRate, r.PubLatency})
	}
	if r.Events > 0 {
		rows = append(rows, namedLatency{"events", r.Events, r.EventRate, r.EventLatency})
	}
	if r.Recovered > 0 {
		rows = append(rows, namedLatency{"recoveries", r.Recovered, float64(r.Recovered) / r.Duration, r.RecoveryLatency})
	}
	return rows
}

// A chart is lines in a frame, as SVG.
type chart struct {
	Title        string
	Lines        []line
	XTicks       []tick
	YTicks       []tick
	Width, Right int
	Top, Bottom  int
	Left         int
	XName, YName string
}

type line struct {
	Name, Class, Points string
	LegendX             int
}

type tick struct {
	At   float64
	Text string
}

// The frame of every chart, in pixels.
const (
	chartWidth, chartLeft, chartRight = 790, 70, 740
	chartTop, chartBottom             = 40, 240
)

type series struct {
	name string
	xs   []float64
	ys   []float64
}

// newChart draws series. x maps values to 0…1; y runs from 0.
func newChart(title, xName, yName string, all []series, x func(float64) float64, xTicks []tick) chart {
	c := chart{Title: title, XName: xName, YName: yName, Width: chartWidth, Left: chartLeft, Right: chartRight, Top: chartTop, Bottom: chartBottom}
	most := 0.0
	for _, s := range all {
		for _, y := range s.ys {
			most = math.Max(most, y)
		}
	}
	step := niceStep(most / 4)
	top := step * math.Max(1, math.Ceil(most/step))
	yAt := func(v float64) float64 { return chartBottom - v/top*(chartBottom-chartTop) }
	for v := 0.0; v <= top+step/2; v += step {
		c.YTicks = append(c.YTicks, tick{yAt(v), fmt.Sprintf("%.4g", v)})
	}
	for _, t := range xTicks {
		c.XTicks = append(c.XTicks, tick{chartLeft + x(t.At)*(chartRight-chartLeft), t.Text})
	}
	for i, s := range all {
		var points strings.Builder
		for j := range s.xs {
			fmt.Fprintf(&points, "%.1f,%.1f ", chartLeft+x(s.xs[j])*(chartRight-chartLeft), yAt(s.ys[j]))
		}
		c.Lines = append(c.Lines, line{s.name, fmt.Sprintf("s%d", i+1), points.String(), chartLeft + i*110})
	}
	return c
}

// niceStep is the least of 1, 2 and 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= v {
			return f * power
		}
	}
	return 10 * power
}

// column returns one figure of all seconds.
func (r *Report) column(name string, value func(Second) float64) series {
	s := series{name: name}
	for _, second := range r.Seconds {
		s.xs = append(s.xs, second.At)
		s.ys = append(s.ys, value(second))
	}
	return s
}

// timeline returns the axis of the charts over time.
func (r *Report) timeline() (x func(float64) float64, ticks []tick) {
	end := math.Max(r.Duration, 1)
	step := niceStep(end / 10)
	for v := 0.0; v <= end; v += step {
		ticks = append(ticks, tick{v, fmt.Sprintf("%.4g", v)})
	}
	return func(v float64) float64 { return math.Min(v/end, 1) }, ticks
}

func (r *Report) throughput() chart {
	x, ticks := r.timeline()
	all := []series{r.column("calls", func(s Second) float64 { return s.Calls })}
	if r.Pubs > 0 {
		all = append(all, r.column("publications", func(s Second) float64 { return s.Pubs }))
	}
	if r.Events > 0 {
		all = append(all, r.column("events", func(s Second) float64 { return s.Events }))
	}
	if r.Parts > 0 {
		all = append(all, r.column("parts", func(s Second) float64 { return s.Parts }))
	}
	return newChart("Throughput", "seconds", "a second", all, x, ticks)
}

func (r *Report) overTime() chart {
	x, ticks := r.timeline()
	return newChart("Latency over time", "seconds", "ms", []series{
		r.column("p50", func(s Second) float64 { return s.P50 }),
		r.column("p99", func(s Second) float64 { return s.P99 }),
		r.column("max", func(s Second) float64 { return s.Max }),
	}, x, ticks)
}

// byPercentile is the usual plot of a histogram: each nine takes as much room.
func (r *Report) byPercentile() chart {
	const nines = 4.0
	x := func(p float64) float64 { return math.Min(-math.Log10(1-p/100)/nines, 1) }
	var ticks []tick
	for _, t := range []string{"0", "50", "90", "99", "99.9", "99.99"} {
		var p float64
		fmt.Sscan(t, &p) //nolint:errcheck // numbers, above
		ticks = append(ticks, tick{p, t + " %"})
	}
	var all []series
	add := func(name string, c *series, value func(float64) int64) {
		for exponent := 0.0; exponent <= nines; exponent += 0.05 {
			p := 100 * (1 - math.Pow(10, -exponent))
			c.xs = append(c.xs, p)
			c.ys = append(c.ys, ms(value(p)))
		}
		c.name = name
		all = append(all, *c)
	}
	if r.Calls > 0 {
		add("calls", &series{}, r.total.calls.ValueAtPercentile)
	}
	if r.Pubs > 0 {
		add("publications", &series{}, r.total.pubs.ValueAtPercentile)
	}
	if r.Events > 0 {
		add("events", &series{}, r.total.events.ValueAtPercentile)
	}
	return newChart("Latency by percentile", "", "ms", all, x, ticks)
}
