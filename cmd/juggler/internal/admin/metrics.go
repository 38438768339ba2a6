package admin

import (
	"github.com/prometheus/client_golang/prometheus"
)

// A Metric is one figure of a process, read when it is asked for.
type Metric struct {
	Name, Help string
	Labels     prometheus.Labels // constant, or nil
	Total      bool              // it only grows: a counter
	Value      func() float64

	// In place of Labels and Value: a figure for each combination of values of these labels
	// that there is so far.
	By     []string
	Values func() []Labelled
}

// Labelled is a figure with the values of its labels.
type Labelled struct {
	Labels []string
	Value  float64
}

// Metrics collects figures.
type Metrics []Metric

// Describe implements prometheus.Collector.
func (m Metrics) Describe(ch chan<- *prometheus.Desc) {
	for i := range m {
		ch <- m[i].desc()
	}
}

// Collect implements prometheus.Collector.
func (m Metrics) Collect(ch chan<- prometheus.Metric) {
	for i := range m {
		kind := prometheus.GaugeValue
		if m[i].Total {
			kind = prometheus.CounterValue
		}
		if m[i].By == nil {
			ch <- prometheus.MustNewConstMetric(m[i].desc(), kind, m[i].Value())
			continue
		}
		for _, v := range m[i].Values() {
			ch <- prometheus.MustNewConstMetric(m[i].desc(), kind, v.Value, v.Labels...)
		}
	}
}

func (m *Metric) desc() *prometheus.Desc {
	return prometheus.NewDesc("juggler_"+m.Name, m.Help, m.By, m.Labels)
}
