package calleekit

import (
	"errors"
	"fmt"

	"github.com/juggler-go/juggler/internal/option"
)

// Codes that the kit itself puts into results. docs/protocol.md lists all.
const (
	codeMalformed = 400 // the arguments do not fit
	codeUnknown   = 404 // no function for the URI
	codeExpired   = 408 // the call's time was over
	codeCancelled = 499 // the caller cancelled
	codeFailed    = 500 // everything that has no code of its own
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
