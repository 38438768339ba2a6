package calleekit

import (
	"errors"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
)

// Codes of errors that mean the same to all clients (docs/protocol.md). A function may
// return any other positive code.
const (
	CodeBadRequest      = frame.CodeBadRequest // the arguments do not fit
	CodeUnauthenticated = frame.CodeUnauthenticated
	CodeForbidden       = frame.CodeForbidden
	CodeNoCallee        = frame.CodeNoCallee    // no function for the URI
	CodeExpired         = frame.CodeExpired     // the call's time was over
	CodeTooLarge        = frame.CodeTooLarge    // the result does not fit
	CodeLimit           = frame.CodeLimit       // too many calls
	CodeCancelled       = frame.CodeCancelled   // the caller cancelled
	CodeInternal        = frame.CodeInternal    // everything that has no code of its own
	CodeCalleeLost      = frame.CodeCalleeLost  // the callee died
	CodeUnavailable     = frame.CodeUnavailable // certainly not done
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

// An Error is a failure that its caller sees as it is, with code, message, data and the
// time after which a retry is worth it. A function returns one, or an error that wraps
// one: then too only the Error travels. It is what the handler and the clients of Go have
// under this name, too.
type Error = frame.Error

// Errorf returns an Error with the code and a message formatted as by [fmt.Errorf]. An
// error given for the verb %w can be found in it, here, by errors.Is and errors.As; the
// caller reads its text only.
func Errorf(code frame.Code, format string, args ...any) *Error {
	return frame.Errorf(code, format, args...)
}
