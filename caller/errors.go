package caller

import (
	"context"
	"errors"
	"fmt"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
)

var (
	// ErrInvalidOption is wrapped by what [New] returns for an option that has a value
	// out of its bounds, and by the errors for options of a single call. It is
	// juggler.ErrInvalidOption.
	ErrInvalidOption = option.ErrInvalid

	// ErrClosed is wrapped by the errors of calls that a caller was closed before, or
	// during: those may have been done.
	ErrClosed = errors.New("caller closed")
)

// errEnded is returned inside the package for a call whose context has ended.
var errEnded = errors.New("ended")

// errLost ends a call whose result can come no more.
var errLost = fmt.Errorf("%w before the result came: %w", broker.ErrClosed, broker.ErrUnknownOutcome)

// Error is the failure of a call as its callee or the broker reported it.
type Error = broker.Error

// explained is an [Error] with the broker's reason, whose text is for this program only.
type explained struct {
	public *Error
	reason error
}

// Error implements error.
func (e *explained) Error() string { return fmt.Sprintf("%v (%d)", e.reason, int(e.public.Code)) }

// Unwrap returns both.
func (e *explained) Unwrap() []error { return []error{e.public, e.reason} }

// expired returns the error of a call whose time is over. reason is what the broker has
// returned for it, or nil.
func expired(reason error) error {
	public := &Error{Code: frame.CodeExpired, Message: "the call's time is over"}
	if reason == nil {
		return public
	}
	return &explained{public, fmt.Errorf("%s: %w", public.Message, reason)}
}

// notOpened returns the error of a call for which no connection could be opened, within
// ctx.
func notOpened(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errEnded
	}
	public := broker.Refusal(err)
	if public == nil {
		public = broker.Refusal(broker.ErrUnavailable)
	}
	return &explained{public, err}
}
