package otlp

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
)

// An outage knows whether a collector takes what it gets.
type outage struct {
	mu   sync.Mutex // guards the following
	lost int        // of exports that failed, since the last that did not
}

// note takes note of an export of n things, n > 0, and says whether it is the first that
// failed, and how many things were lost if it is the first that did not.
func (o *outage) note(err error, n int) (begins bool, lost int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.lost
	if err != nil {
		o.lost += n
		return before == 0, 0
	}
	o.lost = 0
	return false, before
}

// watchedSpans is an exporter that logs once when the collector does not take spans, and once
// when it does again. Spans that wait meanwhile are dropped beyond a number
// (OTEL_BSP_MAX_QUEUE_SIZE); nothing waits for them.
type watchedSpans struct {
	sdktrace.SpanExporter
	log    *slog.Logger
	outage outage
}

// ExportSpans implements [sdktrace.SpanExporter].
func (w *watchedSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := w.SpanExporter.ExportSpans(ctx, spans)
	begins, lost := w.outage.note(err, len(spans))
	if begins {
		w.log.Warn("the collector of traces takes none", "error", errors.New(redact.Error(err)))
	}
	if lost > 0 {
		w.log.Info("the collector of traces takes them again", "spans", lost)
	}
	return nil // it was said
}

// watchedMetrics is an exporter that logs as watchedSpans does. Nothing is lost: the next export has
// what this one would have had, unless the environment asks for differences.
type watchedMetrics struct {
	sdkmetric.Exporter
	log    *slog.Logger
	outage outage
}

// Export implements [sdkmetric.Exporter].
func (w *watchedMetrics) Export(ctx context.Context, all *metricdata.ResourceMetrics) error {
	if len(all.ScopeMetrics) == 0 {
		return nil // of a process that did not come to start
	}
	err := w.Exporter.Export(ctx, all)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil // the process ends, and tries once more
	}
	begins, lost := w.outage.note(err, 1)
	if begins {
		w.log.Warn("the collector of metrics takes none", "error", errors.New(redact.Error(err)))
	}
	if lost > 0 {
		w.log.Info("the collector of metrics takes them again")
	}
	return nil // it was said
}
