package jugglerotel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/frame"
)

// Handler is the option of [juggler.New] that traces what clients ask of the server: a span
// for each CALL, from when it was read until its end, and one for each PUB until it was
// accepted. It goes on in the trace that the client's headers carry, as far as
// [WithClientRate] lets it; one that the client has not sampled has no spans here, whatever
// the sampler. Callees and subscribers get the context of the server's span in place of
// the client's: headers that carry no valid context, or stand there in another case of
// letters, do not pass, nor does that of a publication that is not sampled. The span of a
// CALL tells apart what the callee's function took and what the ways and queues took. Give
// it before other middleware, which then finds that context in the headers.
//
// It never waits. A request that is not sampled costs a few allocations and has no span.
func Handler(opts ...TraceOption) juggler.Option {
	return juggler.WithNonBlockingMiddleware(newTracing(opts).request)
}

// RequestContext returns ctx with the trace that the headers of a CALL or PUB carry: in
// middleware and authorizers behind [Handler], that of the server's span.
func RequestContext(ctx context.Context, r *juggler.Request, opts ...TraceOption) context.Context {
	return propagator(opts).Extract(ctx, requestHeaders{r})
}

// request is a [juggler.NonBlockingMiddleware].
func (t *tracing) request(_ context.Context, r *juggler.Request) (func(error) error, error) {
	switch r.Type() {
	case frame.Call:
		if span := t.start(r, nameCall, kindServer, callAttributes(r.URI())); span.IsRecording() {
			r.OnCallEnd(func(e juggler.CallEnd) { endCall(span, e) })
		}
	case frame.Pub:
		if span := t.start(r, namePublish, kindProducer, publishAttributes(r.Channel())); span.IsRecording() {
			return func(err error) error { return endPublication(span, err) }, nil
		}
	}
	return nil, nil
}

// start starts a span for r and has its context go on with r.
func (t *tracing) start(r *juggler.Request, name string, kind trace.SpanStartOption, attributes []attribute.KeyValue) (span trace.Span) {
	headers := requestHeaders{r}
	// Not the session's context, which would be told of nothing and kept by the span.
	ctx := t.propagator.Extract(context.Background(), headers)
	if parent := trace.SpanContextFromContext(ctx); parent.IsSampled() && !t.believes() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent.WithTraceFlags(parent.TraceFlags()&^trace.FlagsSampled))
	}
	if isUnsampled(ctx) {
		span = trace.SpanFromContext(ctx)
	} else {
		ctx, span = t.tracer.Start(ctx, name, kind, trace.WithAttributes(attributes...))
	}
	for _, field := range t.fields {
		r.DeleteHeader(field)
	}
	// A callee has to know that a call is not sampled. What is published goes to many, for whom
	// that would be bytes for nothing.
	if r.Type() == frame.Call || span.SpanContext().IsSampled() {
		t.propagator.Inject(ctx, headers)
	}
	return span
}

// endCall ends the span of a call.
func endCall(span trace.Span, e juggler.CallEnd) {
	if e.Refused {
		// Nobody has said that there is such a URI: it may be anything.
		span.SetAttributes(keyMethod.String(methodOther), keyMethodOriginal.String(cut(e.URI)), keyRefused.Bool(true))
	} else {
		span.SetName(cut(e.URI))
	}
	if e.Ran > 0 {
		span.SetAttributes(keyRunTime.Float64(e.Ran.Seconds()), keyWaitTime.Float64(max(0, e.Total-e.Ran).Seconds()))
	}
	if e.Parts > 0 {
		span.SetAttributes(keyParts.Int(e.Parts))
	}
	if e.Untold {
		span.SetAttributes(keyUntold.Bool(true))
	}
	endServed(span, e.Code, "")
}

// endServed ends the span of what was served with a code, 0 if it succeeded. What clients
// do wrong is no error of the server's.
func endServed(span trace.Span, code int, text string) {
	if code != 0 {
		span.SetAttributes(keyStatus.String(codeText(code)), keyErrorType.String(codeText(code)))
	}
	if code != 0 && (code/100 != 4 || code == frame.CodeExpired) {
		span.SetStatus(codes.Error, cut(text))
	}
	span.End()
}

// endPublication ends the span of a publication, and returns its error.
func endPublication(span trace.Span, err error) error {
	code := 0
	if err != nil {
		code = codeOf(err, frame.CodeInternal)
	}
	endServed(span, code, "")
	return err
}

// requestHeaders are the headers of a request, as a propagator wants them.
type requestHeaders struct{ *juggler.Request }

func (h requestHeaders) Get(name string) string { return h.Header(name) }
func (h requestHeaders) Set(name, value string) { h.SetHeader(name, value) }
func (h requestHeaders) Keys() []string         { return nil } // of propagators that look for prefixes, which do not matter here
