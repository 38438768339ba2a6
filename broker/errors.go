package broker

import (
	"errors"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// The errors of the contract. Engines return them as they are or wrapped,
// with the operation and its object, e.g. "redis: call math.add: …".
var (
	// ErrNoCallee: the URI has no callee. Certainly not queued (code 404).
	ErrNoCallee = errors.New("no callee for this URI")

	// ErrQueueFull: the URI's queue is at its capacity. Certainly not queued
	// (code 503); see [RetryAfter].
	ErrQueueFull = errors.New("queue is full")

	// ErrUnavailable: the engine is out of reach. Certainly not done (code
	// 503); see [RetryAfter].
	ErrUnavailable = errors.New("broker unavailable")

	// ErrUnknownOutcome: the engine lost its connection after the request was
	// written; it may have been done. A call ends in its result or in 408.
	ErrUnknownOutcome = errors.New("outcome unknown: connection lost after the request was sent")

	// ErrCallOver: nothing more of the answer to a call is taken. See [StreamCalleeConn].
	ErrCallOver = errors.New("the call is over")

	// ErrClosed: the connection or the engine was closed.
	ErrClosed = errors.New("broker closed")
)

// Codes of an [Error] that an engine itself reports.
const (
	// CodeCalleeLost: the callee that had taken the call died or closed.
	CodeCalleeLost = frame.CodeCalleeLost

	// CodeNoCallee: the call waited in its queue when the grace of its URI was over.
	// It was not taken, and will not be.
	CodeNoCallee = frame.CodeNoCallee
)

// ErrCalleeLost is the [Error] that an engine reports for a call whose callee
// died or closed before it answered.
var ErrCalleeLost = &Error{Code: CodeCalleeLost, Message: "the callee that had taken the call is gone"}

// ErrUnserved is the [Error] that an engine reports for a call that still waits when
// the grace of its URI is over: what [ErrNoCallee] says of a call that is made then.
var ErrUnserved = &Error{Code: CodeNoCallee, Message: ErrNoCallee.Error()}

// WithRetryAfter wraps err with the time after which a retry is worth it.
func WithRetryAfter(err error, after time.Duration) error {
	return &retryError{err, after}
}

// RetryAfter returns the time that [WithRetryAfter] put into err's chain, or 0.
func RetryAfter(err error) time.Duration {
	var r *retryError
	if errors.As(err, &r) {
		return r.after
	}
	return 0
}

type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }
