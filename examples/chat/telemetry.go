package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
)

// startTelemetry answers Prometheus at an address, and sends traces where OpenTelemetry's own
// variables say, such as OTEL_EXPORTER_OTLP_ENDPOINT. What is not set does not run.
func startTelemetry(ctx context.Context, metrics string) (stop func(context.Context) error, err error) {
	if metrics != "" {
		server := &http.Server{Addr: metrics, Handler: promhttp.Handler(), ReadHeaderTimeout: 5 * time.Second}
		go func() { slog.Error("no metrics", "error", server.ListenAndServe()) }()
	}
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, err
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	return provider.Shutdown, nil
}
