package jugglerotel_test

import (
	"context"
	"encoding/json"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/jugglertest"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// What a call costs that is traced at its node and callee, and not sampled.
func BenchmarkUnsampledCall(b *testing.B) {
	never := jugglerotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))))
	for name, on := range map[string]bool{"off": false, "on": true} {
		b.Run(name, func(b *testing.B) {
			var forNode []juggler.Option
			var forCallee []calleekit.Option
			if on {
				forNode, forCallee = append(forNode, jugglerotel.Handler(never)), append(forCallee, jugglerotel.Callee(never))
			}
			srv := jugglertest.New(b, forNode...)
			callee := srv.NewCallee(forCallee...)
			callee.Handle("echo", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil })
			srv.Start(callee)
			c := srv.Client()
			args := json.RawMessage(`{"n":1}`)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Call(b.Context(), "echo", args, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
