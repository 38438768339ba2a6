package calleekit

import (
	"errors"
	"fmt"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
)

// Codes of errors that mean the same to all clients. docs/protocol.md lists all; a
// function may return any other positive code.
const (
	CodeBadRequest = frame.CodeBadRequest // the arguments do not fit
	CodeForbidden  = frame.CodeForbidden
	CodeNoCallee   = frame.CodeNoCallee  // no function for the URI
	CodeExpired    = frame.CodeExpired   // the call's time was over
	CodeCancelled  = frame.CodeCancelled // the caller cancelled
	CodeInternal   = frame.CodeInternal  // everything that has no code of its own
)

var (
	// ErrInvalidOption is wrapped by what [New] returns for an option that
	// has a value out of its bounds. It is juggler.ErrInvalidOption.
	ErrInvalidOption = option.ErrInvalid

	// ErrCancelled is the [context.Cause] of a call whose caller cancelled it
	// or is gone. The context's Err is [context.Canceled].
	ErrCancelled = errors.New("calleekit: the caller cancelled the call")

	// ErrStopped is the [context.Cause] of a call that still ran when its
	// callee stopped, and what [Callee.Start] and [Callee.Run] return for a
	// callee that was stopped before. The context's Err is
	// [context.Canceled].
	ErrStopped = errors.New("calleekit: the callee was stopped")
)

// An Error is a failure that its caller sees as it is. A function returns one,
// or an error that wraps one: then too only the Error travels.
type Error struct {
	// Code is a number above 0; anything else is sent as 500. See the package
	// documentation for the codes that have a meaning.
	Code int

	// Message is for a person to read. Bytes that are not UTF-8 are replaced.
	Message string

	// Data says more to a program: nil, or a value that encoding/json takes.
	// One that it refuses is left out and logged.
	Data any

	cause error
}

// Errorf returns an [*Error] with the code and a message formatted as by
// [fmt.Errorf]. An error given for the verb %w can be found in it, here, by
// errors.Is and errors.As; the caller sees its text only.
func Errorf(code int, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: err}
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns what [Errorf] wrapped, or nil.
func (e *Error) Unwrap() error { return e.cause }
