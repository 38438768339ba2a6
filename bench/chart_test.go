package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestChartIsXML(t *testing.T) {
	svg := chart{title: "t", xAxis: "x", yAxis: "y", lines: []line{
		{"juggler", []point{{1, 0.5}, {10, 5}, {1000, 20}}},
		{"peer", []point{{1, 7}}},
	}}.svg()
	d := xml.NewDecoder(strings.NewReader(svg))
	circles := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if circles != 4 {
		t.Errorf("%d points are drawn, want 4", circles)
	}
}

func TestAxis(t *testing.T) {
	a := newAxis([]float64{2, 300}, 100, 400)
	for value, want := range map[float64]float64{1: 100, 10: 200, 1000: 400} {
		if got := a.at(value); got != want {
			t.Errorf("%v is at %v, want %v", value, got, want)
		}
	}
	for values, want := range map[[2]float64]int{
		{10, 10}:    4, // 10 and 100, 20 and 50
		{2, 40}:     7,
		{1, 10_000}: 5, // no room for more than the powers of ten
	} {
		if n := len(newAxis(values[:], 0, 1).ticks()); n != want {
			t.Errorf("%d ticks around %v, want %d", n, values, want)
		}
	}
}
