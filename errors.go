package juggler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
)

// Codes of an [Error], as clients see them (docs/protocol.md).
const (
	CodeBadRequest      = frame.CodeBadRequest
	CodeUnauthenticated = frame.CodeUnauthenticated
	CodeForbidden       = frame.CodeForbidden
	CodeNoCallee        = frame.CodeNoCallee
	CodeExpired         = frame.CodeExpired
	CodeTooLarge        = frame.CodeTooLarge
	CodeLimit           = frame.CodeLimit
	CodeCancelled       = frame.CodeCancelled
	CodeInternal        = frame.CodeInternal
	CodeCalleeLost      = frame.CodeCalleeLost
	CodeUnavailable     = frame.CodeUnavailable
)

// Close codes of sessions, as a client of juggler.1 sees them. One of juggler.0 sees
// 1008 in place of 44xx and 45xx.
const (
	CloseGoingAway       = frame.CloseGoingAway
	CloseProtocolError   = frame.CloseProtocolError
	ClosePolicy          = frame.ClosePolicy
	CloseInternal        = frame.CloseInternal
	CloseOverloaded      = frame.CloseOverloaded
	CloseUnauthenticated = frame.CloseUnauthenticated
	CloseForbidden       = frame.CloseForbidden
	CloseSlowConsumer    = frame.CloseSlowConsumer
	CloseIdle            = frame.CloseIdle
	CloseExpired         = frame.CloseExpired
)

// ErrInvalidOption is wrapped by every error of [New] about an option. The other
// packages have the same error under this name.
var ErrInvalidOption = option.ErrInvalid

// ErrShutdown is returned by methods of a Handler that was shut down.
var ErrShutdown = errors.New("juggler: handler was shut down")

// Error refuses a request, or, from an authenticator, a connection. User code
// returns one to choose the code that the client sees. Any other error from
// user code is logged and reaches the client as code 500 without its text.
type Error struct {
	Code       int           // one of the Code constants, or the application's own; 0: 500
	Message    string        // for the client to read
	RetryAfter time.Duration // when a retry is worth it; 0: absent
}

// Error implements error.
func (e *Error) Error() string {
	if e == nil {
		return "nil *juggler.Error" // a mistake of user code, which is logged
	}
	return fmt.Sprintf("%s (code %d)", e.Message, e.Code)
}

// Refusals that user code can return as they are.
var (
	ErrUnauthenticated = &Error{Code: CodeUnauthenticated, Message: "not authenticated"}
	ErrForbidden       = &Error{Code: CodeForbidden, Message: "not allowed"}
)

// errInternal is what a client sees of a failure that is not its business.
var errInternal = &Error{Code: CodeInternal, Message: "internal error"}

// errEnded is errInternal where user code has ended its goroutine.
var errEnded = &Error{Code: CodeInternal, Message: errInternal.Message}

// goingAway refuses what comes too late for a handler that is shut down.
func goingAway() *Error {
	return &Error{Code: CodeUnavailable, Message: "going away", RetryAfter: retryAfter(nil)}
}

// publicError maps any error of the broker or of user code to what the client
// may see of it. known is false for an error that deserves a log line, since
// the client does not see its text.
func publicError(err error) (e *Error, known bool) {
	own, ok := ownError(err)
	switch {
	case ok:
		return own, true
	case errors.Is(err, broker.ErrNoCallee):
		return &Error{Code: CodeNoCallee, Message: "no callee for this URI"}, true
	case errors.Is(err, broker.ErrQueueFull):
		return &Error{Code: CodeUnavailable, Message: "the queue of this URI is full", RetryAfter: retryAfter(err)}, true
	case errors.Is(err, broker.ErrUnavailable), errors.Is(err, broker.ErrClosed):
		return &Error{Code: CodeUnavailable, Message: "the broker is unavailable", RetryAfter: retryAfter(err)}, false
	case errors.Is(err, broker.ErrUnknownOutcome):
		return &Error{Code: CodeInternal, Message: "outcome unknown: the broker connection was lost"}, false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeInternal, Message: "outcome unknown: the request took too long"}, false
	}
	return errInternal, false
}

// ownError returns the Error that err is, or wraps. One without a code has 500,
// and a nil pointer to one is an error that says nothing.
func ownError(err error) (e *Error, ok bool) {
	if !errors.As(err, &e) || e == nil {
		return nil, false
	}
	if e.Code == 0 {
		e = &Error{Code: CodeInternal, Message: e.Message, RetryAfter: e.RetryAfter}
	}
	return e, true
}

// certainlyNotDone reports whether err, of user code or the broker, says that a
// call was not queued. What a broker leaves open counts as unknown.
func certainlyNotDone(err error) bool {
	var own *Error
	if errors.As(err, &own) {
		return true
	}
	for _, refusal := range []error{broker.ErrNoCallee, broker.ErrQueueFull, broker.ErrUnavailable, broker.ErrClosed} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// retryAfter returns the engine's own advice, or about a second, with jitter
// so that those refused together do not come back together.
func retryAfter(err error) time.Duration {
	if d := broker.RetryAfter(err); d > 0 {
		return d
	}
	return time.Second/2 + time.Duration(rand.Int64N(int64(time.Second)))
}

// frameError writes e in the terms of package frame.
func (e *Error) frameError() frame.Error {
	return frame.Error{Code: e.Code, Message: []byte(e.Message), RetryAfter: e.RetryAfter}
}

// httpStatus is the status of a refused handshake.
func (e *Error) httpStatus() int {
	if http.StatusText(e.Code) != "" && e.Code >= http.StatusBadRequest {
		return e.Code
	}
	return http.StatusInternalServerError
}

// closeCode is the close code of a handshake that is refused after the
// upgrade, for a browser to see.
func (e *Error) closeCode() uint16 {
	switch {
	case e.Code == CodeUnauthenticated:
		return CloseUnauthenticated
	case e.Code == CodeExpired, e.Code == CodeLimit, e.Code < CodeBadRequest, e.Code >= CodeInternal:
		return CloseOverloaded
	}
	return CloseForbidden // trying again would not help
}
