package peer

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/juggler-go/juggler"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
	jugglerprom "github.com/juggler-go/juggler/telemetry/prometheus"
)

// jugglerTraced is jugglerServer with node and callee traced: of the calls, whose clients
// send no context, the sampler takes a part. Spans are made into what a collector gets, in
// batches, which then get lost: so the collector's own work is not measured, nor the
// kernel's on the way.
func jugglerTraced(part float64) (string, error) {
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithInsecure(),
		otlptracehttp.WithHTTPClient(&http.Client{Transport: nowhere{}}))
	if err != nil {
		return "", err
	}
	traces := jugglerotel.WithTracerProvider(sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(part)))))
	b, err := memoryBroker()
	if err != nil {
		return "", err
	}
	if err := startCallee(b, []string{"echo"}, jugglerotel.Callee(traces)); err != nil {
		return "", err
	}
	return startNode(serveHTTP, b, jugglerotel.Handler(traces))
}

// nowhere is a collector that takes everything.
type nowhere struct{}

func (nowhere) RoundTrip(r *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, r.Body) //nolint:errcheck // it is in memory
	r.Body.Close()
	return &http.Response{StatusCode: http.StatusOK, Request: r, Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(nil))}, nil
}

// jugglerObserved is jugglerServer with the times of calls counted for Prometheus.
func jugglerObserved() (string, error) {
	return jugglerServer(serveHTTP, juggler.WithCallObserver(jugglerprom.NewCallObserver(100).Observe))
}
