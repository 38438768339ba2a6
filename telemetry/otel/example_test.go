package jugglerotel_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// A client, a node and a callee, all traced. The exporter is one for tests: a program uses
// otlptracehttp, for example, with sdktrace.WithBatcher.
func Example() {
	ctx := context.Background()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	traces := jugglerotel.WithTracerProvider(provider) // or otel.SetTracerProvider, once for all

	b, err := memory.New()
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	callee, err := calleekit.New(b, jugglerotel.Callee(traces))
	if err != nil {
		log.Fatal(err)
	}
	callee.Handle("math.add", calleekit.Typed(func(_ context.Context, n []int) (int, error) { return n[0] + n[1], nil }))
	if err := callee.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer callee.Close()

	handler, err := juggler.New(juggler.WithBroker(b), juggler.WithAuthorizer(juggler.AllowAll()), jugglerotel.Handler(traces))
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	defer handler.Shutdown(ctx)

	c, err := client.Dial(ctx, server.URL, jugglerotel.Client(traces))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var sum int
	if err := c.Call(ctx, "math.add", []int{1, 2}, &sum); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum)
	for _, s := range spans.GetSpans() {
		fmt.Println(s.SpanKind, s.Name)
	}
	// Output:
	// 3
	// server math.add
	// server math.add
	// client math.add
}
