package calleekit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// A Handler answers calls.
type Handler interface {
	// ServeCall returns the result of a call, or an error; see the package
	// documentation for what becomes of either. It is called by many
	// goroutines at a time. ctx ends when the call is not wanted any more, and
	// when ServeCall returns.
	ServeCall(ctx context.Context, c *Call) (any, error)
}

// A HandlerFunc is a function that is a [Handler].
type HandlerFunc func(ctx context.Context, c *Call) (any, error)

// ServeCall calls f.
func (f HandlerFunc) ServeCall(ctx context.Context, c *Call) (any, error) { return f(ctx, c) }

// A route is a URI with its function.
type route struct {
	uri        string
	handler    Handler // what was registered, then with all middleware
	middleware []func(Handler) Handler
	limit      int // when limited
	limited    bool
	strictArgs bool
	about      Function // its types and what was said of it; see Callee.Functions
	pace       pace     // guarded by pool.mu
}

var (
	failed         = &broker.Error{Code: CodeInternal, Message: "internal error"} // the log says more
	failedInTime   = &broker.Error{Code: CodeExpired, Message: "the call's time was over"}
	failedByCancel = &broker.Error{Code: CodeCancelled, Message: "the call was cancelled"}
	failedToSend   = &broker.Error{Code: CodeCalleeLost, Message: "the broker took no more of the answer"}
	failedToRoute  = &broker.Error{Code: CodeNoCallee, Message: "no callee for this URI"}
)

// serve answers t at the time start: t.result is set when it returns, and also
// when the function ends its goroutine. It reports whether the function was
// called.
func (c *Callee) serve(t *task, start time.Duration) (called bool) {
	switch err := t.ctx.errAt(start); {
	case t.route == nil:
		t.result.Err = failedToRoute
		return false
	case err == context.DeadlineExceeded:
		t.result.Err = failedInTime
		return false
	case err != nil:
		t.result.Err = failedByCancel
		return false
	}
	if len(c.observers) > 0 {
		defer c.observeEnd(t, start)
	}
	c.callFunction(t)
	return true
}

// callFunction runs t's function and turns whatever comes of it into t.result.
func (c *Callee) callFunction(t *task) {
	t.result.Err = failed // until it returned
	returned := false
	defer func() {
		if !returned {
			c.logPanic(t, recover())
		}
		t.ctx.returned()
		if t.stream != nil {
			t.result.Parts = t.stream.finish()
		}
	}()
	c.observeStart(t)
	v, err := t.route.handler.ServeCall(t.ctx, &t.call)
	if err != nil {
		t.result.Err = c.encodeError(t, err)
	} else {
		t.result.Args, t.result.Err = c.encodeResult(t, v)
	}
	returned = true
}

// logPanic logs a panic with value v, or, if v is nil, a function that ended
// its goroutine: a panic never has the value nil.
func (c *Callee) logPanic(t *task, v any) {
	c.panics.Add(1)
	if v == nil {
		c.log.Error("a function ended its goroutine", "uri", t.route.uri)
		return
	}
	c.log.Error("a function panicked", "uri", t.route.uri, "panic", v, "stack", string(debug.Stack()))
	t.result.Err = c.hide("panic: ", v)
}

// hide returns the error that a caller gets of what went wrong here: one that says
// nothing, unless [WithErrorTexts] is given.
func (c *Callee) hide(what string, value any) *broker.Error {
	if !c.errorTexts {
		return failed
	}
	return &broker.Error{Code: CodeInternal, Message: strings.ToValidUTF8(what+fmt.Sprint(value), "\uFFFD")}
}

// encodeResult makes JSON of what a function returned.
func (c *Callee) encodeResult(t *task, v any) ([]byte, *broker.Error) {
	args, err := encode(v, t.call.Args)
	if err != nil {
		c.log.Error("a result cannot be encoded", "uri", t.route.uri, "error", err)
		return nil, c.hide("the result cannot be encoded: ", err)
	}
	return args, nil
}

// encodeError makes the error of a result of what a function returned.
func (c *Callee) encodeError(t *task, err error) *broker.Error {
	e, badData := frame.ErrorIn(err)
	if badData {
		c.log.Error("the data of an error is not JSON, and is left out", "uri", t.route.uri, "error", e)
	}
	if e != nil {
		return e
	}
	switch end := t.ctx.Err(); {
	case end == nil || !errors.Is(err, end):
	case end == context.DeadlineExceeded:
		return failedInTime
	case t.stream != nil && t.stream.refused.Load():
		// A caller that has cancelled the call does not look at its result. If none has, the
		// broker took the call for over, or its time is.
		return failedToSend
	default:
		return failedByCancel
	}
	c.log.Error("a function failed", "uri", t.route.uri, "error", err)
	return c.hide("", err)
}

var (
	null       = []byte("null")
	errNotJSON = errors.New("calleekit: a json.RawMessage that is not valid JSON")
	errNotUTF8 = errors.New("calleekit: JSON that is not UTF-8")
)

// encode returns v as JSON. Raw messages are checked, except args, which the
// node has checked. What of them is inside of v is checked by encoding/json,
// which however does not mind bytes that are not UTF-8.
func encode(v any, args json.RawMessage) ([]byte, error) {
	var raw json.RawMessage
	switch v := v.(type) {
	case json.RawMessage:
		raw = v
	case *json.RawMessage:
		if v != nil {
			raw = *v
		}
	default:
		var err error
		if raw, err = json.Marshal(v); err != nil {
			return nil, err
		}
		return asUTF8(raw)
	}
	if len(raw) == 0 {
		return null, nil
	}
	if len(raw) == len(args) && &raw[0] == &args[0] {
		return raw, nil
	}
	if !json.Valid(raw) {
		return nil, errNotJSON
	}
	return asUTF8(raw)
}

func asUTF8(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, errNotUTF8
	}
	return text, nil
}
