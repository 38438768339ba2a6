package jugglerotel

import (
	"context"
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
)

// Callee is the option of [calleekit.New] that traces the functions of a callee: a span for
// each call, in the trace that its headers carry. The context that a function gets has the
// span, so that what the function asks of others goes on in the trace.
//
// The headers of a call are what its node says if that traces ([Handler]), else what
// the client says.
func Callee(opts ...TraceOption) calleekit.Option {
	t := newTracing(opts)
	return calleekit.WithMiddleware(func(next calleekit.Handler) calleekit.Handler {
		return calleekit.HandlerFunc(func(ctx context.Context, c *calleekit.Call) (any, error) {
			return t.answer(ctx, c, next)
		})
	})
}

// answer has next answer c, in a span.
func (t *tracing) answer(ctx context.Context, c *calleekit.Call, next calleekit.Handler) (v any, err error) {
	ctx = t.propagator.Extract(ctx, headersOf(c))
	if isUnsampled(ctx) {
		return next.ServeCall(ctx, c)
	}
	ctx, span := t.tracer.Start(ctx, cut(c.URI), kindServer, trace.WithAttributes(callAttributes(c.URI)...))
	if !span.IsRecording() {
		return next.ServeCall(ctx, c)
	}
	if attempt := c.Attempt(); attempt > 0 {
		span.SetAttributes(keyAttempt.Int(attempt))
	}
	parts := countParts(c)
	returned := false
	defer func() { // also when the function panics or ends its goroutine
		if n := parts.Load(); n > 0 {
			span.SetAttributes(keyParts.Int64(n))
		}
		switch {
		case !returned:
			endServed(span, frame.CodeInternal, "the function panicked, or ended its goroutine")
		case err != nil:
			endServed(span, codeOf(err, contextCode(ctx, err)), err.Error())
		default:
			endServed(span, 0, "")
		}
	}()
	v, err = next.ServeCall(ctx, c)
	returned = true
	return v, err
}

// countParts counts the parts that are sent for c, which may be done by another goroutine
// than the function's.
func countParts(c *calleekit.Call) *atomic.Int64 {
	parts := new(atomic.Int64)
	c.WrapSend(func(next calleekit.SendFunc) calleekit.SendFunc {
		return func(ctx context.Context, v any) error {
			err := next(ctx, v)
			if err == nil {
				parts.Add(1)
			}
			return err
		}
	})
	return parts
}

// codeOf returns the code of the error that travels, or else the one given.
func codeOf(err error, otherwise int) int {
	if e, ok := errors.AsType[*frame.Error](err); ok {
		return int(e.Code)
	}
	return otherwise
}

// contextCode is the code of err if it is that of a call's context.
func contextCode(ctx context.Context, err error) int {
	switch end := ctx.Err(); {
	case end == nil || !errors.Is(err, end):
		return frame.CodeInternal
	case end == context.DeadlineExceeded:
		return frame.CodeExpired
	}
	return frame.CodeCancelled
}

// callHeaders are the headers of a call, as a propagator wants them. They are not decoded
// as [calleekit.Call.Header] does, which would be half of what a call costs that is not
// sampled.
type callHeaders []byte

// headersOf returns the headers of c, if others than nodes have not spoilt them.
func headersOf(c *calleekit.Call) callHeaders {
	if !frame.ValidJSON(c.RawHeaders) {
		return nil
	}
	return callHeaders(c.RawHeaders)
}

func (h callHeaders) Get(name string) string {
	value, _ := frame.Header(h, name)
	return value
}

func (h callHeaders) Set(string, string) {}

func (h callHeaders) Keys() (names []string) {
	for name := range frame.HeaderSeq(h) {
		names = append(names, name)
	}
	return names
}
