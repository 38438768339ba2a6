// Package exit has the exit codes of the command, and errors that carry one.
package exit

import "errors"

// The exit codes. docs/operations.md lists them for people.
const (
	OK          = 0
	Failure     = 1   // it failed, and no other code says how
	Usage       = 2   // a wrong argument, flag, variable or configuration file
	Unreachable = 3   // no connection to the server or to Redis, or it was lost
	Refused     = 4   // the server refused the request (NACK), or the client (401, 403)
	CallFailed  = 5   // the call was accepted and ended in an error
	Expired     = 6   // the time of the call was over: it may have been done
	Interrupted = 130 // ended by a signal before it was done, as shells say it
)

// Error is an error with the exit code that it means.
type Error struct {
	Code int
	Err  error
}

// With returns err with an exit code, or nil if err is nil.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error without the code.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the exit code of err: OK for nil, Failure for one without code.
func Code(err error) int {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Failure
}
