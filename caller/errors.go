package caller

import (
	"context"
	"errors"
	"fmt"

	"github.com/juggler-go/juggler/broker"
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

// refused is an [Error] for a call that was certainly not queued, with the broker's
// reason, whose text is for this program only.
type refused struct {
	public *Error
	reason error
}

// Error implements error.
func (r *refused) Error() string { return r.reason.Error() }

// Unwrap returns both.
func (r *refused) Unwrap() []error { return []error{r.public, r.reason} }

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
	return &refused{public, err}
}
