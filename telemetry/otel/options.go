package jugglerotel

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/juggler-go/juggler/internal/rate"
)

// A TraceOption changes how [Handler], [Callee], [Client] and [Caller] trace.
type TraceOption interface{ applyTrace(*tracing) }

type traceOption func(*tracing)

func (f traceOption) applyTrace(t *tracing) { f(t) }

// WithTracerProvider says who makes spans. nil is the default: the global one
// ([otel.GetTracerProvider]), also if that is set later. Its span processors must not
// wait: use a batcher, which drops spans when the collector is slow, never a syncer.
func WithTracerProvider(p trace.TracerProvider) TraceOption {
	return traceOption(func(t *tracing) { t.provider = p })
}

// WithPropagator says in which headers the context of a trace travels. nil is the default:
// the global one ([otel.GetTextMapPropagator]) as it is at this call, or W3C's
// traceparent and tracestate if there is none.
func WithPropagator(p propagation.TextMapPropagator) TraceOption {
	return traceOption(func(t *tracing) { t.propagator = p })
}

// ClientRate is how many sampled traces of clients a node takes in a second, unless
// [WithClientRate] says otherwise.
const ClientRate = 100

// WithClientRate bounds, for [Handler], in how many calls and publications a second, as
// many at once, the node believes clients that their trace is sampled; those beyond it go
// on in their trace as not sampled, for the callee, too. A client is a stranger: without
// a bound it decides what the collector has to take. 0: clients are never believed; below
// 0: always. Requests without a context of a trace are the sampler's own matter. Default:
// [ClientRate].
func WithClientRate(perSecond int) TraceOption {
	return traceOption(func(t *tracing) { t.clientRate = perSecond })
}

// tracing is what all that trace share.
type tracing struct {
	provider   trace.TracerProvider
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	fields     []string // of the propagator

	clientRate int
	rate       rate.Rate
	sampled    rate.SharedAccount
	began      time.Time
}

func newTracing(opts []TraceOption) *tracing {
	t := &tracing{clientRate: ClientRate, began: time.Now()}
	t.apply(opts)
	if t.provider == nil {
		t.provider = otel.GetTracerProvider()
	}
	t.tracer = t.provider.Tracer(scope)
	t.fields = slices.Clone(t.propagator.Fields())
	t.rate = rate.New(max(t.clientRate, 0), max(t.clientRate, 0))
	return t
}

func (t *tracing) apply(opts []TraceOption) {
	for _, o := range opts {
		if o != nil {
			o.applyTrace(t)
		}
	}
	if t.propagator == nil {
		t.propagator = otel.GetTextMapPropagator()
		if len(t.propagator.Fields()) == 0 {
			t.propagator = propagation.TraceContext{}
		}
	}
}

// propagator returns the propagator of the options.
func propagator(opts []TraceOption) propagation.TextMapPropagator {
	var t tracing
	t.apply(opts)
	return t.propagator
}

// believes reports whether a client that says that its trace is sampled is believed.
func (t *tracing) believes() bool {
	if t.clientRate <= 0 {
		return t.clientRate < 0
	}
	now := int64(time.Since(t.began)) + 1
	return t.sampled.Spend(t.rate, now, 1) == 0
}

// What spans are.
var (
	kindServer   = trace.WithSpanKind(trace.SpanKindServer)
	kindProducer = trace.WithSpanKind(trace.SpanKindProducer)
	kindClient   = trace.WithSpanKind(trace.SpanKindClient)
)

// isUnsampled reports whether ctx has a trace of elsewhere that is not sampled. It is gone on
// in without asking the sampler, which has been asked where it began: most calls are such.
func isUnsampled(ctx context.Context) bool {
	parent := trace.SpanContextFromContext(ctx)
	return parent.IsRemote() && !parent.IsSampled()
}

// Headers returns the headers that carry the trace of ctx: for what a program publishes by
// [juggler.Handler.Publish] or on the broker itself.
func Headers(ctx context.Context, opts ...TraceOption) map[string]string {
	headers := propagation.MapCarrier{}
	propagator(opts).Inject(ctx, headers)
	return headers
}

// EventContext returns ctx with the trace that the headers of an event carry, if they carry
// one. A span that is started with it is a child of the publication's; where a subscriber
// reads many events for one piece of work, let that be linked to each:
//
//	tracer.Start(ctx, "work", trace.WithLinks(trace.LinkFromContext(jugglerotel.EventContext(ctx, e.Headers))))
//
// Who publishes may say what it likes in them, unless its node traces.
func EventContext(ctx context.Context, headers map[string]string, opts ...TraceOption) context.Context {
	return propagator(opts).Extract(ctx, propagation.MapCarrier(headers))
}
