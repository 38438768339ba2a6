// Package telemetry has the metrics of juggler in one table: what they are called,
// what they mean, and how they are read from the statistics of a handler, a callee or a
// broker. It needs no metrics system. Its modules telemetry/prometheus and telemetry/otel
// hand the table to two of them; for another one, range over it:
//
//	for _, m := range telemetry.Handler {
//		m.Each(&stats, func(value float64, labels ...string) { … })
//	}
package telemetry

import "strings"

// A Kind says how a metric may change, and whether it can be added up.
type Kind uint8

const (
	Counter       Kind = iota // only grows, from the start of the process
	UpDownCounter             // grows and shrinks; the sum over processes has a meaning
	Gauge                     // grows and shrinks; a sum has no meaning
)

// A Metric is one figure, or one for each combination of values of its labels that was
// seen so far, of a snapshot S.
type Metric[S any] struct {
	Name   string // in Prometheus, where the name ends with unit and kind
	Unit   string // by UCUM, as OpenTelemetry wants it: "By", "s", or in braces what is counted
	Help   string
	Kind   Kind
	Labels []string // the names

	otel string // the name in OpenTelemetry, where Name does not tell it
	each func(snapshot *S, yield func(value float64, labels ...string))
}

// Each calls yield with each value, and with those of the labels in the order of
// m.Labels. Their number is bounded, and no combination comes twice; labels may be
// what clients and callees sent, in valid UTF-8. The slice is only lent.
func (m *Metric[S]) Each(snapshot *S, yield func(value float64, labels ...string)) {
	m.each(snapshot, yield)
}

// OTelName returns the name in OpenTelemetry: without unit and kind, and with dots after
// the namespaces. From it an exporter for Prometheus makes Name again, so that the same
// dashboards and alerts serve both ways; but for juggler_calls_seconds_total, whose name in
// OpenTelemetry is taken.
func (m *Metric[S]) OTelName() string {
	if m.otel != "" {
		return m.otel
	}
	name := strings.TrimSuffix(m.Name, "_total")
	switch m.Unit {
	case "By":
		name = strings.TrimSuffix(name, "_bytes")
	case "s":
		name = strings.TrimSuffix(name, "_seconds")
	}
	for _, namespace := range []string{"juggler_redis_", "juggler_embedded_", "juggler_callee_", "juggler_"} {
		if rest, found := strings.CutPrefix(name, namespace); found {
			return strings.ReplaceAll(namespace, "_", ".") + rest
		}
	}
	return name
}

// number is what the statistics count with.
type number interface {
	~int | ~int64 | ~uint64
}

// counter is a metric without labels that only grows.
func counter[S any, N number](name, unit, help string, value func(*S) N) Metric[S] {
	return single(Counter, name, unit, help, value)
}

// upDown is a metric without labels that can be added up.
func upDown[S any, N number](name, unit, help string, value func(*S) N) Metric[S] {
	return single(UpDownCounter, name, unit, help, value)
}

func single[S any, N number](kind Kind, name, unit, help string, value func(*S) N) Metric[S] {
	return Metric[S]{Name: name, Unit: unit, Help: help, Kind: kind,
		each: func(s *S, yield func(float64, ...string)) { yield(float64(value(s))) }}
}
