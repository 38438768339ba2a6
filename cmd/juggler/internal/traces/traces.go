// Package traces exports the spans of a process by OTLP, as the standard environment
// variables of OpenTelemetry say. Most of these the packages of OpenTelemetry read
// themselves; here is what says whether there is an export at all, and what must not fail
// in silence.
package traces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// closeTime is what Close takes at most, whatever the collector does.
const closeTime = 2 * time.Second

// An Export sends the spans of a process to a collector. A nil Export does nothing.
type Export struct {
	provider   *sdktrace.TracerProvider
	propagator propagation.TextMapPropagator
}

// Open returns the export that the environment asks for, or nil if it asks for none. Unless
// that names it, the process is called service.
func Open(service, version string, log *slog.Logger) (*Export, error) {
	on, err := wanted()
	if err != nil || !on {
		return nil, err
	}
	propagator, err := propagators()
	if err != nil {
		return nil, err
	}
	// What the packages of OpenTelemetry make of wrong variables, and of errors that have
	// no caller, would go to the standard error.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("what exports traces reports an error", "error", errors.New(redact.Error(err)))
	}))
	ctx := context.Background()
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_…: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetTextMapPropagator(propagator) // for what programs and webhooks get
	return &Export{
		provider: sdktrace.NewTracerProvider(sdktrace.WithResource(about),
			sdktrace.WithBatcher(&watched{SpanExporter: exporter, log: log})),
		propagator: propagator,
	}, nil
}

// Options are the options to trace with.
func (e *Export) Options() []jugglerotel.TraceOption {
	return []jugglerotel.TraceOption{jugglerotel.WithTracerProvider(e.provider), jugglerotel.WithPropagator(e.propagator)}
}

// Context returns ctx with the trace that the process was started in: that of the variables
// TRACEPARENT and the like.
func (e *Export) Context(ctx context.Context) context.Context {
	if e == nil {
		return ctx
	}
	carrier := propagation.MapCarrier{}
	for _, field := range e.propagator.Fields() {
		carrier[field] = os.Getenv(strings.ToUpper(field))
	}
	return e.propagator.Extract(ctx, carrier)
}

// Close sends the spans that are left, for two seconds at most.
func (e *Export) Close() {
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	_ = e.provider.Shutdown(ctx) // a failed export was logged
}

// variable returns the value of the first variable that is set, and its name.
func variable(names ...string) (name, value string) {
	for _, name := range names {
		if value := strings.TrimSpace(os.Getenv(name)); value != "" {
			return name, value
		}
	}
	return "", ""
}

// wanted reports whether there is an export, and checks what says how.
func wanted() (bool, error) {
	if _, off := variable("OTEL_SDK_DISABLED"); strings.EqualFold(off, "true") {
		return false, nil
	}
	endpointName, endpoint := variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	switch name, exporter := variable("OTEL_TRACES_EXPORTER"); exporter {
	case "otlp":
	case "":
		if endpoint == "" {
			return false, nil
		}
	case "none":
		return false, nil
	default:
		return false, fmt.Errorf("%s=%s: want otlp or none", name, exporter)
	}
	name, protocol := variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	if !slices.Contains([]string{"", "http/protobuf", "http/json"}, protocol) {
		return false, fmt.Errorf("%s=%s: want http/protobuf or http/json, whose port is 4318 as a rule", name, protocol)
	}
	if endpoint == "" {
		return true, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return false, errors.New(endpointName + ": want http://HOST:PORT or https://HOST:PORT") // without the text, which may have a password
	}
	return true, nil
}

// propagators returns the propagator of OTEL_PROPAGATORS.
func propagators() (propagation.TextMapPropagator, error) {
	name, list := variable("OTEL_PROPAGATORS")
	if list == "" {
		list = "tracecontext,baggage"
	}
	var all []propagation.TextMapPropagator
	for one := range strings.SplitSeq(list, ",") {
		switch strings.TrimSpace(one) {
		case "tracecontext":
			all = append(all, propagation.TraceContext{})
		case "baggage":
			all = append(all, propagation.Baggage{})
		default:
			return nil, fmt.Errorf("%s=%s: want tracecontext, baggage or both", name, list)
		}
	}
	return propagation.NewCompositeTextMapPropagator(all...), nil
}
