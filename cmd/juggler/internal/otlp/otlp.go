// Package otlp exports the spans and metrics of a process by OTLP, as the standard environment
// variables of OpenTelemetry say. Most of these the packages of OpenTelemetry read
// themselves; here is what says whether there is an export at all, and what must not fail
// in silence.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
)

// closeTime is what Close takes at most, whatever the collector does.
const closeTime = 2 * time.Second

// A Process is what exports.
type Process struct {
	Service string // its name, unless the environment has another one
	Version string
	Log     *slog.Logger
}

// An Export sends what a process does to a collector.
type Export struct {
	Traces  *Traces  // nil: none are exported
	Metrics *Metrics // nil: none are exported
}

// Open returns the exports that the environment asks for.
func Open(p Process) (e Export, err error) {
	if e.Traces, err = OpenTraces(p); err != nil {
		return Export{}, err
	}
	if e.Metrics, err = openMetrics(p); err != nil {
		e.Traces.Close()
		return Export{}, err
	}
	return e, nil
}

// Close sends what is left, for two seconds at most.
func (e Export) Close() {
	var both sync.WaitGroup
	both.Go(e.Traces.Close)
	both.Go(e.Metrics.close)
	both.Wait()
}

// shut shuts a provider down within closeTime. That an export failed was logged.
func shut(down func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	_ = down(ctx)
}

// instance tells this process from others that run the same: without it, metrics of two on
// one host would be the same time series.
var instance = sync.OnceValue(uuid.NewString)

// start returns what the exports of p say of it, and has errors logged that have no caller:
// the packages of OpenTelemetry would write them to the standard error.
func (p Process) start() (*resource.Resource, error) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if !errors.Is(err, context.Canceled) { // by the end of the process
			p.Log.Warn("what exports telemetry reports an error", "error", errors.New(redact.Error(err)))
		}
	}))
	about, err := resource.New(context.Background(),
		resource.WithAttributes(semconv.ServiceName(p.Service), semconv.ServiceVersion(p.Version), semconv.ServiceInstanceID(instance())),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return about, nil
}
