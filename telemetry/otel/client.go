package jugglerotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/juggler-go/juggler/caller"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// Client is the option of [client.New] and [client.Dial] that traces calls, streams and
// publications: a span for each, a child of that in the context that the application
// gives it, whose context travels in the headers. For events see [EventContext].
func Client(opts ...TraceOption) client.Option {
	return client.WithRequestHook(newTracing(opts).send)
}

// send is a [client.RequestHook].
func (t *tracing) send(ctx context.Context, r client.RequestInfo) (map[string]string, func(client.RequestEnd)) {
	if r.Type == frame.Pub {
		headers, span := t.startRequest(ctx, namePublish, kindProducer,
			trace.WithAttributes(publishAttributes(r.Name)...))
		return headers, ifRecording(span, func(e client.RequestEnd) { endRequest(span, e.Err) })
	}
	headers, span := t.startCall(ctx, r.Name)
	if r.Stream {
		span.SetAttributes(keyStream.Bool(true))
	}
	return headers, ifRecording(span, func(e client.RequestEnd) {
		if e.Parts > 0 {
			span.SetAttributes(keyParts.Int(e.Parts))
		}
		endRequest(span, e.Err)
	})
}

// ifRecording returns end, or nil if nobody would see what it does.
func ifRecording[End any](span trace.Span, end func(End)) func(End) {
	if !span.IsRecording() {
		return nil
	}
	return end
}

// Caller is the option of [caller.New] that traces calls, as [Client] does.
func Caller(opts ...TraceOption) caller.Option {
	t := newTracing(opts)
	return caller.WithCallHook(func(ctx context.Context, uri string) (map[string]string, func(error)) {
		headers, span := t.startCall(ctx, uri)
		return headers, ifRecording(span, func(err error) { endRequest(span, err) })
	})
}

// startCall starts the span of a call that a program makes, which knows what it calls.
func (t *tracing) startCall(ctx context.Context, uri string) (headers map[string]string, span trace.Span) {
	return t.startRequest(ctx, cut(uri), kindClient, trace.WithAttributes(callAttributes(uri)...))
}

// startRequest starts a span and returns the headers that carry its context.
func (t *tracing) startRequest(ctx context.Context, name string, opts ...trace.SpanStartOption) (headers map[string]string, span trace.Span) {
	ctx, span = t.tracer.Start(ctx, name, opts...)
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	return carrier, span
}

// endRequest ends the span of what was asked of a server. For who asks, every failure is an error.
func endRequest(span trace.Span, err error) {
	if err != nil {
		if code := codeOf(err, 0); code != 0 {
			span.SetAttributes(keyStatus.String(codeText(code)), keyErrorType.String(codeText(code)))
		} else {
			span.SetAttributes(keyErrorType.String(errorType(err)))
		}
		span.SetStatus(codes.Error, cut(err.Error()))
	}
	span.End()
}

// errorType names an error that has no code.
func errorType(err error) string {
	switch {
	case errors.Is(err, client.ErrUnknownOutcome):
		return "unknown_outcome"
	case errors.Is(err, client.ErrNotConnected):
		return "not_connected"
	case errors.Is(err, client.ErrClosed), errors.Is(err, caller.ErrClosed):
		return "closed"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "_OTHER"
}
