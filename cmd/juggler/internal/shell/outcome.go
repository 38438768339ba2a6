package shell

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/frame"
)

// CodeOf returns the exit code for the error of a request or connection.
func CodeOf(err error) int {
	var coded *exit.Error
	var refusal *client.Error
	var closed *client.CloseError
	var handshake *client.HandshakeError
	switch {
	case errors.As(err, &coded):
		return coded.Code
	case errors.As(err, &refusal) && refusal.Refused:
		return exit.Refused
	case errors.Is(err, client.CodeExpired), errors.Is(err, context.DeadlineExceeded):
		return exit.Expired
	case errors.As(err, &refusal), errors.Is(err, context.Canceled):
		return exit.CallFailed
	case errors.As(err, &closed):
		switch closed.Code {
		case frame.CloseUnauthenticated, frame.CloseForbidden, frame.ClosePolicy:
			return exit.Refused
		}
		return exit.Unreachable
	case errors.As(err, &handshake):
		if handshake.Status == http.StatusUnauthorized || handshake.Status == http.StatusForbidden {
			return exit.Refused
		}
		return exit.Unreachable
	case errors.Is(err, client.ErrNotConnected), errors.Is(err, client.ErrUnknownOutcome), errors.Is(err, client.ErrClosed):
		return exit.Unreachable
	case errors.Is(err, client.ErrInvalidOption), errors.Is(err, client.ErrUnsupported):
		return exit.Usage
	}
	return exit.Failure
}

// Describe returns an error in one line, in the words of the protocol.
func Describe(err error) string {
	var e *client.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.Canceled):
		return "cancelled"
	default:
		return strings.TrimPrefix(err.Error(), "juggler: ")
	}
	kind := "RES"
	if e.Refused {
		kind = "NACK"
	}
	text := fmt.Sprintf("%s %d %s", kind, e.Code, e.Message)
	if len(e.Data) > 0 {
		text += " " + string(e.Data)
	}
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(" (retry after %v)", e.RetryAfter)
	}
	return text
}

// dialHint is the error of an attempt to connect, with what to do about it.
func dialHint(url string, err error) string {
	var handshake *client.HandshakeError
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "there is no host " + dns.Name
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused; is the server running there?"
	case errors.As(err, &handshake) && handshake.Status < http.StatusBadRequest:
		return fmt.Sprintf("no juggler server answers there (HTTP %d)", handshake.Status)
	case errors.As(err, &handshake) && handshake.Status == http.StatusNotFound:
		return "HTTP 404; is the path of the URL right?"
	}
	text := strings.TrimPrefix(Describe(err), "dial "+url+": ")
	return strings.TrimPrefix(text, client.ErrClosed.Error()+": ")
}
