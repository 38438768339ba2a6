package jugglerotel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/juggler-go/juggler/internal/waiting"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recording makes spans, and keeps those that have ended.
type recording struct {
	t *testing.T
	*tracetest.SpanRecorder
	provider *sdktrace.TracerProvider
}

func record(t *testing.T, opts ...sdktrace.TracerProviderOption) *recording {
	r := &recording{t: t, SpanRecorder: tracetest.NewSpanRecorder()}
	r.provider = sdktrace.NewTracerProvider(append(opts, sdktrace.WithSpanProcessor(r))...)
	return r
}

// on is the option to trace with r.
func (r *recording) on() jugglerotel.TraceOption { return jugglerotel.WithTracerProvider(r.provider) }

// start starts a span of the application's own.
func (r *recording) start(name string) (ctx testContext) {
	ctx.Context, ctx.Span = r.provider.Tracer("test").Start(r.t.Context(), name)
	return ctx
}

// await returns the first n spans that have ended, outermost first, once there are so many.
func (r *recording) await(n int) []sdktrace.ReadOnlySpan {
	r.t.Helper()
	waiting.Until(r.t, fmt.Sprintf("%d spans", n), func() bool { return len(r.Ended()) >= n })
	spans := slices.Clone(r.Ended())
	slices.SortStableFunc(spans, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return spans
}

// tree writes spans as a tree, each with its kind, name and attributes but those whose
// values are times.
func tree(spans []sdktrace.ReadOnlySpan) string {
	var b strings.Builder
	known := map[trace.SpanID]bool{}
	for _, s := range spans {
		known[s.SpanContext().SpanID()] = true
	}
	var write func(parent trace.SpanID, depth int)
	write = func(parent trace.SpanID, depth int) {
		for _, s := range spans {
			above := s.Parent().SpanID()
			if !known[above] {
				above = trace.SpanID{}
			}
			if above != parent {
				continue
			}
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth), line(s))
			write(s.SpanContext().SpanID(), depth+1)
		}
	}
	write(trace.SpanID{}, 0)
	return b.String()
}

func line(s sdktrace.ReadOnlySpan) string {
	text := s.SpanKind().String() + " " + s.Name()
	if s.Status().Code == codes.Error {
		text += " ERROR"
		if s.Status().Description != "" {
			text += fmt.Sprintf("(%s)", s.Status().Description)
		}
	}
	attributes := slices.Clone(s.Attributes())
	slices.SortFunc(attributes, func(a, b attribute.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) })
	for _, a := range attributes {
		key := string(a.Key)
		switch {
		case strings.HasSuffix(key, "_time"), strings.HasSuffix(key, ".system"), strings.HasPrefix(key, "rpc.system"), strings.HasPrefix(key, "messaging.operation"):
		default:
			text += fmt.Sprintf(" %s=%s", key, a.Value.String())
		}
	}
	return text
}

// want checks a tree of spans.
func want(t *testing.T, spans []sdktrace.ReadOnlySpan, lines ...string) {
	t.Helper()
	if got, want := tree(spans), strings.Join(lines, "\n")+"\n"; got != want {
		t.Errorf("the spans are\n%swant\n%s", got, want)
	}
}

// number returns an attribute that is a number.
func number(s sdktrace.ReadOnlySpan, key string) (float64, bool) {
	for _, a := range s.Attributes() {
		if string(a.Key) == key {
			return a.Value.AsFloat64(), true
		}
	}
	return 0, false
}
