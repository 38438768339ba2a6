package client

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
)

// Errors of the client itself. What the server or a callee answered is an
// [*Error], what ended a connection a [*CloseError], [*HandshakeError] or an
// error of the network.
var (
	// ErrInvalidOption is wrapped by every error that [New] returns for an
	// option, and by the errors for options of a single request.
	ErrInvalidOption = option.ErrInvalid

	// ErrClosed is wrapped by what a client returns after its Close, or after
	// it gave up: the server refused it in a way that another attempt cannot
	// mend. The reason is wrapped beside it.
	ErrClosed = errors.New("client closed")

	// ErrNotConnected: the request was not sent, because there was no
	// connection within its time, or at once with [FailFast].
	ErrNotConnected = errors.New("not connected")

	// ErrUnknownOutcome: the connection was lost after the request was sent
	// and before it was answered. It may have been done or not, so it was not
	// repeated; see [Idempotent] and [Key].
	ErrUnknownOutcome = errors.New("outcome unknown: connection lost before the answer")

	// ErrSlow ends a subscription whose reader did not keep up; see
	// [WithStallTimeout].
	ErrSlow = errors.New("subscription ended: its reader is too slow")

	// ErrUnsubscribed is what a subscription ends with after its Unsubscribe.
	ErrUnsubscribed = errors.New("unsubscribed")

	// ErrNotRestored ends a subscription of the server that it has not made for the
	// session of the next connection; see [WithServerSubscriptions].
	ErrNotRestored = errors.New("subscription ended: the server has not made it again")

	// ErrUnsupported: the server speaks juggler.0, which lacks what was asked
	// for, or the session cannot have calls with a [Key]. It is [errors.ErrUnsupported].
	ErrUnsupported = errors.ErrUnsupported
)

// gaveUpError is what a client ends with that nobody has closed. It wraps ErrClosed.
type gaveUpError struct{ why error }

func (e *gaveUpError) Error() string   { return "client gave up: " + e.why.Error() }
func (e *gaveUpError) Unwrap() []error { return []error{ErrClosed, e.why} }

// Code is the code of a NACK or a RES (docs/protocol.md). It is an error, so
// that errors.Is(err, client.CodeNoCallee) tests for it.
type Code = frame.Code

// The codes that juggler itself uses. Callees may use others of their own.
const (
	CodeBadRequest      Code = frame.CodeBadRequest // malformed request
	CodeUnauthenticated Code = frame.CodeUnauthenticated
	CodeForbidden       Code = frame.CodeForbidden
	CodeNoCallee        Code = frame.CodeNoCallee    // no callee for this URI
	CodeExpired         Code = frame.CodeExpired     // the call's time was over; it may have been done
	CodeConflict        Code = frame.CodeConflict    // the key belongs to another publication, or to a call with other args
	CodeGone            Code = frame.CodeGone        // nothing is kept of the call with this key
	CodeTooLarge        Code = frame.CodeTooLarge    // args, headers or the whole message
	CodeLimit           Code = frame.CodeLimit       // a rate or count limit of this session
	CodeCancelled       Code = frame.CodeCancelled   // cancelled by the caller
	CodeInternal        Code = frame.CodeInternal    // an unclassified failure
	CodeCalleeLost      Code = frame.CodeCalleeLost  // the callee that had taken the call died
	CodeUnavailable     Code = frame.CodeUnavailable // broker out of reach, or the URI's queue full
)

// Error is the failure of one request, as the server or the callee reported it. A callee
// or a handler that returns one passes it on to its own caller.
type Error = frame.Error

// wireError makes an Error of what a NACK or RES says.
func wireError(b *frame.ErrorBody, refused bool) *Error {
	e := b.Copy()
	e.Refused = refused
	return e
}

// CloseError says that the server closed the connection with a close frame.
type CloseError struct {
	Code   int
	Reason string

	proto frame.Protocol
	hasty bool // 4400 came before the session had signed in, as it was going to
}

// Error implements error.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("connection closed by the server with code %d", e.Code)
	}
	return fmt.Sprintf("connection closed by the server with code %d: %s", e.Code, e.Reason)
}

// Reconnect reports whether the client connects anew: after all codes but refusals
// (docs/protocol.md).
func (e *CloseError) Reconnect() bool {
	return e.hasty || e.proto.MayReconnect(e.Code)
}

// HandshakeError says that the server, or something before it, answered the handshake
// with other than a WebSocket.
type HandshakeError struct {
	Status     int    // of HTTP
	Body       string // the beginning of the response, for people
	RetryAfter time.Duration

	// Own says that the server itself refused, and not a proxy that answers in its
	// place while it is replaced.
	Own bool

	// Location is where a redirect leads, which is not followed, or "".
	Location string
}

// Error implements error.
func (e *HandshakeError) Error() string {
	who, to, why := "something other than juggler", "", ""
	if e.Own {
		who = "server"
	}
	if e.Location != "" {
		to = " to " + e.Location + " (not followed)"
	}
	if e.Body != "" {
		why = ": " + e.Body
	}
	return fmt.Sprintf("%s refused the connection with HTTP status %d%s%s", who, e.Status, to, why)
}

// Reconnect reports whether the client connects anew: whatever something before the
// server has answered, and after 408, 425, 429 and any 5xx of the server itself.
func (e *HandshakeError) Reconnect() bool {
	if !e.Own {
		return true
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.Status >= http.StatusInternalServerError
}

// protocolError says that the server sent what it must not. The connection is
// closed with the code and the reason; another one may do better.
type protocolError struct {
	code   int
	reason string
}

func (e *protocolError) Error() string { return "server broke the protocol: " + e.reason }

// errWrongProtocol: what accepted the handshake is no server of juggler, or one of another
// version.
var errWrongProtocol = errors.New("server agreed to none of the offered subprotocols")

// errNoUpgrade ends a client that can never have a connection.
var errNoUpgrade = errors.New("the Transport of WithHTTPClient does not upgrade connections")

// errGone is returned inside the package by a connection that has failed.
var errGone = errors.New("connection gone")

// isFinal reports whether err, which ended a connection or an attempt at one,
// says that further attempts are useless.
func isFinal(err error) bool {
	var token *tokenError
	var closed *CloseError
	var refused *HandshakeError
	var answer *Error
	switch {
	case errors.As(err, &token):
		return false
	case errors.As(err, &closed):
		return !closed.Reconnect()
	case errors.As(err, &refused):
		return !refused.Reconnect()
	case errors.As(err, &answer): // of AUTH
		return answer.Code == CodeUnauthenticated || answer.Code == CodeForbidden
	}
	return errors.Is(err, errNoUpgrade)
}

// maxRetryAfter bounds the pause that a server can ask for.
const maxRetryAfter = time.Hour

// retryAfter returns the pause that err asks for, or 0.
func retryAfter(err error) time.Duration {
	var refused *HandshakeError
	var answer *Error
	switch {
	case errors.As(err, &refused):
		return min(refused.RetryAfter, maxRetryAfter)
	case errors.As(err, &answer):
		return min(answer.RetryAfter, maxRetryAfter)
	}
	return 0
}
