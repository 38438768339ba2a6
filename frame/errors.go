package frame

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

// Code is the code of a NACK or a RES. It is an error, so that errors.Is(err, code)
// tests for the code of an [Error].
type Code int

// Error implements error.
func (c Code) Error() string { return fmt.Sprintf("code %d", int(c)) }

// Error is the failure of a request or a call as all sides understand it: juggler.Error,
// calleekit.Error, client.Error and broker.Error are this type. What user code of a
// handler or a callee returns reaches the client with code, message, data and
// RetryAfter, also if it is wrapped or joined with others; so does one that a client of
// another server, or of the same, has got. The text of what wraps it, and that of every
// other error, stays with the process (docs/guide.md, "Errors").
//
// errors.Is(err, code) compares the [Code]. An Error with CodeExpired also is
// [context.DeadlineExceeded], one with CodeCancelled [context.Canceled].
//
// One that others may use, such as a variable of a package, is not to be changed:
// WithData and WithRetryAfter return copies.
type Error struct {
	Code    Code   // above 0, of those in this package or the application's own; else sent as 500
	Message string // for a person to read; bytes that are not UTF-8 are replaced

	// Data says more to a program: any JSON value, or nil. What is no JSON is left out
	// and logged. juggler.0 and a handshake that is refused do not carry it.
	Data json.RawMessage

	RetryAfter time.Duration // after which a retry is worth it; 0: absent

	// Refused is set by clients and callers: the request was certainly not done (a NACK). Other
	// errors are the outcome of a call that was accepted, or, with CodeInternal, of a
	// publication that may have been made, as far as the server knows; or an idempotent
	// call was refused when it was repeated. It does not travel.
	Refused bool

	cause error
}

// Errorf returns an Error with the code and a message formatted as by [fmt.Errorf]. An
// error given for the verb %w can be found in it by errors.Is and errors.As; whoever
// gets the Error reads its text only.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: err}
}

// WithData returns e with data: v as JSON. It panics if encoding/json refuses v.
func (e *Error) WithData(v any) *Error {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("juggler: data of an error: %v", err))
	}
	with := *e
	with.Data = data
	return &with
}

// WithRetryAfter returns e with the time after which a retry is worth it.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	with := *e
	with.RetryAfter = d
	return &with
}

// Error returns message and code.
func (e *Error) Error() string {
	if e == nil {
		return "nil *Error" // a mistake of user code, which is logged
	}
	return fmt.Sprintf("%s (%d)", e.Message, int(e.Code))
}

// Unwrap returns what [Errorf] wrapped, or nil.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.cause
}

// Is makes errors.Is work with codes and with the errors of package context.
func (e *Error) Is(target error) bool {
	if e == nil {
		return false
	}
	switch target {
	case context.DeadlineExceeded:
		return e.Code == CodeExpired
	case context.Canceled:
		return e.Code == CodeCancelled
	}
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Retryable reports whether the same request may succeed later and repeating it cannot do
// it twice. Errors with CodeExpired, CodeInternal and CodeCalleeLost may be retried too if
// doing the request twice does no harm.
func (e *Error) Retryable() bool {
	switch e.Code {
	case CodeNoCallee, CodeLimit, CodeUnavailable:
		return e.Refused
	}
	return false
}

// ErrorIn returns the Error that err is, or has in its chain, as it may be sent: its code
// is in range, its text UTF-8, its data JSON. It returns nil if there is none. badData
// says that the data had to be left out.
func ErrorIn(err error) (e *Error, badData bool) {
	if !errors.As(err, &e) || e == nil {
		return nil, false
	}
	badData = len(e.Data) > 0 && !ValidJSON(e.Data)
	if !badData && e.Code > 0 && e.Code <= math.MaxInt32 && utf8.ValidString(e.Message) {
		return e, false
	}
	fit := *e
	fit.Message = strings.ToValidUTF8(e.Message, "\uFFFD")
	if e.Code <= 0 || e.Code > math.MaxInt32 {
		fit.Code = CodeInternal
	}
	if badData {
		fit.Data = nil
	}
	return &fit, badData
}

// ErrorBody is the error of a NACK or a RES. Its slices are borrowed, as those of a
// [Frame] are.
type ErrorBody struct {
	Code       int
	Message    []byte
	Data       []byte        // any JSON value, or nil
	RetryAfter time.Duration // 0: absent
}

// Body returns e as it stands in a Frame. Its slices are those of e, and not to be changed.
func (e *Error) Body() ErrorBody {
	message := unsafe.Slice(unsafe.StringData(e.Message), len(e.Message))
	return ErrorBody{Code: int(e.Code), Message: message, Data: e.Data, RetryAfter: e.RetryAfter}
}

// Copy returns an Error of what b says.
func (b *ErrorBody) Copy() *Error {
	e := &Error{Code: Code(b.Code), Message: string(b.Message), RetryAfter: b.RetryAfter}
	if b.Data != nil {
		e.Data = append(json.RawMessage(nil), b.Data...)
	}
	return e
}
