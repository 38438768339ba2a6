package main

import (
	"context"
	"errors"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
	"github.com/juggler-go/juggler/cmd/juggler/internal/otlp"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// exportMetrics has what /metrics shows of a node exported, if the environment asks for it.
func (s *server) exportMetrics() error {
	m := s.export.Metrics
	if m == nil {
		return nil
	}
	_, err := m.Provider().Meter("github.com/juggler-go/juggler/cmd/juggler").Int64ObservableCounter("juggler.accept_failures",
		metric.WithDescription("Failures to accept a connection."), metric.WithUnit("{failure}"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(int64(listen.AcceptFailures()))
			return nil
		}))
	return errors.Join(err, started(jugglerotel.ObserveHandler(s, to(m))), exportBrokers(m, s.engine))
}

// exportCallee is exportMetrics of a callee.
func exportCallee(m *otlp.Metrics, c *calleekit.Callee, e *engine.Engine) error {
	if m == nil {
		return nil
	}
	return errors.Join(started(jugglerotel.ObserveCallee(c, to(m))), exportBrokers(m, e))
}

// exportDemo is exportMetrics of all that the demo has.
func exportDemo(m *otlp.Metrics, h *juggler.Handler, c *calleekit.Callee, b *memory.Broker) error {
	if m == nil {
		return nil
	}
	return errors.Join(started(jugglerotel.ObserveHandler(h, to(m))), started(jugglerotel.ObserveCallee(c, to(m))),
		started(jugglerotel.ObserveMemory(b, to(m))))
}

// exportBrokers exports what redisMetrics has, by the same names, or the embedded broker.
func exportBrokers(m *otlp.Metrics, e *engine.Engine) error {
	var errs []error
	if e.Memory != nil {
		errs = append(errs, started(jugglerotel.ObserveMemory(e.Memory, to(m))))
	}
	for i, b := range e.Redis {
		number := jugglerotel.WithAttributes(attribute.String("redis", strconv.Itoa(i+1)))
		errs = append(errs, started(jugglerotel.ObserveRedis(b, to(m), number)))
	}
	return errors.Join(errs...)
}

// to is the option to export by m.
func to(m *otlp.Metrics) jugglerotel.MetricOption { return jugglerotel.WithMeterProvider(m.Provider()) }

// started returns the error of what is observed until the process ends.
func started(_ func(), err error) error { return err }
