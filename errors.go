package juggler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
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
	CodeConflict        = frame.CodeConflict
	CodeGone            = frame.CodeGone
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

// ErrSessionEnded is returned by methods of a Session that has ended.
var ErrSessionEnded = errors.New("juggler: session has ended")

// Error refuses a request, or, from an authenticator, a connection. User code returns one
// to choose what the client sees. Any other error from user code is logged and reaches the
// client as code 500 without its text; see [WithErrorTexts].
type Error = frame.Error

// Errorf returns an Error with the code and a message formatted as by [fmt.Errorf]. An
// error given for the verb %w can be found in it by errors.Is and errors.As; the client
// reads its text only.
func Errorf(code frame.Code, format string, args ...any) *Error {
	return frame.Errorf(code, format, args...)
}

// Refusals that user code can return as they are.
var (
	ErrUnauthenticated = &Error{Code: CodeUnauthenticated, Message: "not authenticated"}
	ErrForbidden       = &Error{Code: CodeForbidden, Message: "not allowed"}
)

// errInternal is what a client sees of a failure that is not its business.
var errInternal = &Error{Code: CodeInternal, Message: "internal error"}

// crash is the error of user code that panicked or ended its goroutine, which is logged.
type crash struct {
	public *Error
	ended  bool // the goroutine
}

// Error implements error.
func (c *crash) Error() string { return "user code failed: " + c.public.Error() }

// Unwrap returns what the client sees of it.
func (c *crash) Unwrap() error { return c.public }

// errEnded is the crash of user code that ended its goroutine.
var errEnded = &crash{errInternal, true}

// hide returns what the client sees of what user code says that is not for it: nothing,
// unless [WithErrorTexts] is given.
func (c *config) hide(what string, value any) *Error {
	if !c.errorTexts {
		return errInternal
	}
	return &Error{Code: CodeInternal, Message: strings.ToValidUTF8(what+fmt.Sprint(value), "\uFFFD")}
}

// isLogged reports whether err has its line in the log already.
func isLogged(err error) bool {
	var c *crash
	return errors.As(err, &c) || err == errInternal
}

// goingAway refuses what comes too late for a handler that is shut down.
func goingAway() *Error {
	return &Error{Code: CodeUnavailable, Message: "going away", RetryAfter: retryAfter(nil)}
}

// unclear reports whether an error of the broker says that it may have done what it was
// asked for.
func unclear(err error) bool {
	return errors.Is(err, broker.ErrUnknownOutcome) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// publicError maps any error of the broker or of user code to what the client
// may see of it; unclear is what unclear said of the broker's. known is false for an error
// that deserves a log line, since the client does not see its text.
func (h *Handler) publicError(err error, unclear bool) (e *Error, known bool) {
	own := h.ownError(err)
	if own != nil {
		return own, true
	}
	refusal := broker.Refusal(err)
	switch {
	case refusal != nil && refusal.Code == CodeUnavailable:
		refusal.RetryAfter = retryAfter(err)
		return refusal, errors.Is(err, broker.ErrQueueFull)
	case refusal != nil:
		return refusal, true
	case !unclear: // user code may have time-outs and brokers of its own
	case errors.Is(err, broker.ErrUnknownOutcome):
		return &Error{Code: CodeInternal, Message: "outcome unknown: the broker connection was lost"}, false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeInternal, Message: "outcome unknown: the request took too long"}, false
	}
	return h.cfg.hide("", err), false
}

// ownError returns the Error that err is, or wraps, as it may be sent, or nil.
func (h *Handler) ownError(err error) *Error {
	e, badData := frame.ErrorIn(err)
	switch {
	case badData:
		h.log.Error("the data of an error is not JSON, and is left out", "error", e)
	case e != nil && len(e.Message)+len(e.Data) > h.maxPayload():
		h.log.Error("an error cannot be sent", "error", resultTooLarge(len(e.Message)+len(e.Data), h.maxPayload()))
		return errInternal
	}
	return e
}

// certainlyNotDone reports whether err, of user code or the broker, says that a
// call was not queued. What a broker leaves open counts as unknown.
func certainlyNotDone(err error) bool {
	if e, _ := frame.ErrorIn(err); e != nil {
		return true
	}
	return broker.Refusal(err) != nil
}

// retryAfter returns the engine's own advice, or about a second, with jitter
// so that those refused together do not come back together.
func retryAfter(err error) time.Duration {
	if d := broker.RetryAfter(err); d > 0 {
		return d
	}
	return time.Second/2 + time.Duration(rand.Int64N(int64(time.Second)))
}

// httpStatus is the status of a refused handshake.
func httpStatus(code frame.Code) int {
	if http.StatusText(int(code)) != "" && code >= http.StatusBadRequest {
		return int(code)
	}
	return http.StatusInternalServerError
}

// closeCode is the close code of a handshake that is refused after the
// upgrade, for a browser to see.
func closeCode(code frame.Code) uint16 {
	switch {
	case code == CodeUnauthenticated:
		return CloseUnauthenticated
	case code == CodeExpired, code == CodeLimit, code < CodeBadRequest, code >= CodeInternal:
		return CloseOverloaded
	}
	return CloseForbidden // trying again would not help
}
