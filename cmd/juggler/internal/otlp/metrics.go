package otlp

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

// Metrics sends the metrics of a process to a collector, every minute unless the environment
// says otherwise, and at its end.
type Metrics struct {
	provider *sdkmetric.MeterProvider
}

// openMetrics returns the export of metrics that the environment asks for, or nil if it asks
// for none. Nothing is sent before there is a metric.
func openMetrics(p Process) (*Metrics, error) {
	on, err := metrics.wanted()
	if err != nil || !on {
		return nil, err
	}
	if err := errors.Join(milliseconds("OTEL_METRIC_EXPORT_INTERVAL"), milliseconds("OTEL_METRIC_EXPORT_TIMEOUT")); err != nil {
		return nil, err
	}
	about, err := p.start()
	if err != nil {
		return nil, err
	}
	exporter, err := otlpmetrichttp.New(context.Background())
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_…: %w", err)
	}
	return &Metrics{sdkmetric.NewMeterProvider(sdkmetric.WithResource(about),
		sdkmetric.WithCardinalityLimit(0), // what has attributes is bounded where it is counted
		sdkmetric.WithReader(sdkmetric.NewPeriodicReader(&watchedMetrics{Exporter: exporter, log: p.Log})))}, nil
}

// Provider is where metrics are registered.
func (m *Metrics) Provider() metric.MeterProvider { return m.provider }

// close sends the last values, for two seconds at most.
func (m *Metrics) close() {
	if m != nil {
		shut(m.provider.Shutdown)
	}
}
