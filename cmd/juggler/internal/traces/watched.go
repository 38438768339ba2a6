package traces

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
)

// watched is an exporter that logs once when the collector does not take spans, and once
// when it does again. Spans that wait meanwhile are dropped beyond a number
// (OTEL_BSP_MAX_QUEUE_SIZE); nothing waits for them.
type watched struct {
	sdktrace.SpanExporter
	log *slog.Logger

	mu   sync.Mutex // guards the following
	lost int        // spans of exports that failed, since the last that did not
}

// ExportSpans implements [sdktrace.SpanExporter].
func (w *watched) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := w.SpanExporter.ExportSpans(ctx, spans)
	w.mu.Lock()
	before := w.lost
	if err != nil {
		w.lost += len(spans)
	} else {
		w.lost = 0
	}
	w.mu.Unlock()
	switch {
	case err != nil && before == 0:
		w.log.Warn("the collector of traces takes none", "error", errors.New(redact.Error(err)))
	case err == nil && before > 0:
		w.log.Info("the collector of traces takes them again", "spans", before)
	}
	return nil // it was said
}
