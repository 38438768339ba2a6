package broker

import (
	"errors"

	"github.com/juggler-go/juggler/frame"
)

// Refusal returns what a caller or publisher is told of an error that means *certainly
// not done*, with the code that it has in the protocol; nil for any other error, nil
// included. The text is for everybody: that of err, with addresses and the like, is for
// the log.
func Refusal(err error) *Error {
	if err == nil {
		return nil
	}
	e := &Error{Code: frame.CodeUnavailable, RetryAfter: RetryAfter(err), Refused: true}
	switch {
	case errors.Is(err, ErrNoCallee):
		e.Code, e.Message = frame.CodeNoCallee, ErrUnserved.Message
	case errors.Is(err, ErrQueueFull):
		e.Message = "the queue of this URI is full"
	case errors.Is(err, ErrKeyConflict):
		e.Code, e.Message = frame.CodeConflict, ErrKeyConflict.Error()
	case errors.Is(err, ErrOtherArgs):
		e.Code, e.Message = frame.CodeConflict, ErrOtherArgs.Error()
	case errors.Is(err, ErrCallGone):
		e.Code, e.Message = frame.CodeGone, ErrCallGone.Error()
	case errors.Is(err, ErrTooManyKeys):
		e.Code, e.Message = frame.CodeLimit, ErrTooManyKeys.Error()
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrClosed):
		e.Message = "the broker is unavailable"
	default:
		return nil
	}
	return e
}
