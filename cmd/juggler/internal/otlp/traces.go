package otlp

import (
	"context"
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// Traces sends the spans of a process to a collector. A nil Traces does nothing.
type Traces struct {
	provider   *sdktrace.TracerProvider
	propagator propagation.TextMapPropagator
}

// OpenTraces returns the export of traces that the environment asks for, or nil if it asks
// for none.
func OpenTraces(p Process) (*Traces, error) {
	on, err := traces.wanted()
	if err != nil || !on {
		return nil, err
	}
	propagator, err := propagators()
	if err != nil {
		return nil, err
	}
	about, err := p.start()
	if err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(context.Background())
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_…: %w", err)
	}
	otel.SetTextMapPropagator(propagator) // for what programs and webhooks get
	return &Traces{
		provider: sdktrace.NewTracerProvider(sdktrace.WithResource(about),
			sdktrace.WithBatcher(&watchedSpans{SpanExporter: exporter, log: p.Log})),
		propagator: propagator,
	}, nil
}

// Options are the options to trace with.
func (t *Traces) Options() []jugglerotel.TraceOption {
	return []jugglerotel.TraceOption{jugglerotel.WithTracerProvider(t.provider), jugglerotel.WithPropagator(t.propagator)}
}

// Context returns ctx with the trace that the process was started in: that of the variables
// TRACEPARENT and the like.
func (t *Traces) Context(ctx context.Context) context.Context {
	if t == nil {
		return ctx
	}
	carrier := propagation.MapCarrier{}
	for _, field := range t.propagator.Fields() {
		carrier[field] = os.Getenv(strings.ToUpper(field))
	}
	return t.propagator.Extract(ctx, carrier)
}

// Close sends the spans that are left, for two seconds at most.
func (t *Traces) Close() {
	if t != nil {
		shut(t.provider.Shutdown)
	}
}
