package jugglerotel

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/telemetry"
)

// A MetricOption sets what metrics need.
type MetricOption func(*metricConfig)

type metricConfig struct {
	provider   metric.MeterProvider
	attributes []attribute.KeyValue
}

// WithMeterProvider sets where metrics go. Default: otel.GetMeterProvider().
func WithMeterProvider(p metric.MeterProvider) MetricOption {
	return func(c *metricConfig) { c.provider = p }
}

// WithAttributes adds attributes to all values, such as those that tell two brokers of
// one process apart.
func WithAttributes(attributes ...attribute.KeyValue) MetricOption {
	return func(c *metricConfig) { c.attributes = append(c.attributes, attributes...) }
}

func newMetricConfig(options []MetricOption) *metricConfig {
	c := &metricConfig{}
	for _, o := range options {
		o(c)
	}
	if c.provider == nil {
		c.provider = otel.GetMeterProvider()
	}
	return c
}

func (c *metricConfig) meter() metric.Meter { return c.provider.Meter(scope) }

// ObserveHandler has the metrics of a node collected, as package telemetry lists them:
// of a [juggler.Handler], or of what adds to its statistics. It takes one snapshot a
// collection and costs nothing in between. stop ends that; it may be called
// several times. Of handlers that share a provider each needs attributes of its own.
func ObserveHandler(h interface{ Stats() juggler.Stats }, options ...MetricOption) (stop func(), err error) {
	return observe(telemetry.Handler, h.Stats, options)
}

// ObserveCallee has the metrics of a [calleekit.Callee] collected, as [ObserveHandler] does.
func ObserveCallee(c interface{ Stats() calleekit.Stats }, options ...MetricOption) (stop func(), err error) {
	return observe(telemetry.Callee, c.Stats, options)
}

// ObserveMemory has the metrics of an embedded broker collected, as [ObserveHandler] does.
func ObserveMemory(b *memory.Broker, options ...MetricOption) (stop func(), err error) {
	return observe(telemetry.Memory, b.Stats, options)
}

// ObserveRedis has the metrics of a broker on Redis collected, as [ObserveHandler] does.
func ObserveRedis(b *redis.Broker, options ...MetricOption) (stop func(), err error) {
	return observe(telemetry.Redis, func() telemetry.RedisState {
		return telemetry.RedisState{Stats: b.Stats(), Health: b.Health()}
	}, options)
}

// observe has a table's metrics collected from one snapshot at a time.
func observe[S any](metrics []telemetry.Metric[S], snapshot func() S, options []MetricOption) (stop func(), err error) {
	c := newMetricConfig(options)
	meter := c.meter()
	instruments := make([]metric.Float64Observable, len(metrics))
	for i := range metrics {
		if instruments[i], err = instrument(meter, &metrics[i]); err != nil {
			return nil, fmt.Errorf("jugglerotel: metric %s: %w", metrics[i].OTelName(), err)
		}
	}
	callback := func(_ context.Context, o metric.Observer) error {
		s := snapshot()
		for i := range metrics {
			metrics[i].Each(&s, func(value float64, labels ...string) {
				o.ObserveFloat64(instruments[i], value, metric.WithAttributeSet(c.set(metrics[i].Labels, labels)))
			})
		}
		return nil
	}
	all := make([]metric.Observable, len(instruments))
	for i := range instruments {
		all[i] = instruments[i]
	}
	registration, err := meter.RegisterCallback(callback, all...)
	if err != nil {
		return nil, fmt.Errorf("jugglerotel: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil // it has no error that a caller could act upon
}

// instrument makes the instrument of a metric.
func instrument[S any](meter metric.Meter, m *telemetry.Metric[S]) (metric.Float64Observable, error) {
	name, help, unit := m.OTelName(), metric.WithDescription(m.Help), metric.WithUnit(m.Unit)
	switch m.Kind {
	case telemetry.Counter:
		return meter.Float64ObservableCounter(name, help, unit)
	case telemetry.UpDownCounter:
		return meter.Float64ObservableUpDownCounter(name, help, unit)
	case telemetry.Gauge:
		return meter.Float64ObservableGauge(name, help, unit)
	}
	return nil, errors.New("unknown kind")
}

// set returns the attributes of a value.
func (c *metricConfig) set(names, values []string) attribute.Set {
	if len(names) == 0 {
		return attribute.NewSet(c.attributes...)
	}
	all := append(make([]attribute.KeyValue, 0, len(c.attributes)+len(names)), c.attributes...)
	for i, name := range names {
		all = append(all, attribute.String(name, values[i]))
	}
	return attribute.NewSet(all...)
}
