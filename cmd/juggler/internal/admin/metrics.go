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
		ch <- prometheus.MustNewConstMetric(m[i].desc(), kind, m[i].Value())
	}
}

func (m *Metric) desc() *prometheus.Desc {
	return prometheus.NewDesc("juggler_"+m.Name, m.Help, nil, m.Labels)
}
