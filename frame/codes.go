package frame

// Codes of NACK and RES (docs/protocol.md). Callees may use others of their own.
const (
	CodeBadRequest      = 400 // malformed request
	CodeUnauthenticated = 401
	CodeForbidden       = 403
	CodeNoCallee        = 404 // no callee for this URI
	CodeExpired         = 408 // the call's time was over; it may have been done
	CodeConflict        = 409 // the key belongs to another publication, or to a call with other args
	CodeGone            = 410 // nothing is kept of the call that the key names
	CodeTooLarge        = 413 // args or headers
	CodeLimit           = 429 // a rate or count limit of this session
	CodeCancelled       = 499 // cancelled by the caller
	CodeInternal        = 500 // a failure without a code of its own
	CodeCalleeLost      = 502 // the callee that had taken the call died
	CodeUnavailable     = 503 // broker out of reach, or the URI's queue full
)

// Close codes: those of RFC 6455, section 7.4, and its registry that juggler uses, and
// its own (docs/protocol.md).
const (
	CloseNormal          = 1000
	CloseGoingAway       = 1001
	CloseProtocolError   = 1002
	CloseUnsupported     = 1003 // a binary message
	CloseNoCode          = 1005 // never sent: the close frame had no code
	CloseLost            = 1006 // never sent: there was no close frame
	CloseInvalidText     = 1007 // not UTF-8
	ClosePolicy          = 1008 // in juggler.0 in place of the codes from 4400 to 4599
	CloseTooBig          = 1009 // a message beyond the limit
	CloseInternal        = 1011
	CloseRestart         = 1012
	CloseOverloaded      = 1013
	CloseUnauthenticated = 4400
	CloseForbidden       = 4403
	CloseSlowConsumer    = 4500
	CloseIdle            = 4501
	CloseExpired         = 4502 // the credentials
)

// CloseCode returns the code that a session of p is closed with: juggler.0 has
// [ClosePolicy] in place of juggler's own.
func (p Protocol) CloseCode(code uint16) uint16 {
	if p == Juggler0 && code >= CloseUnauthenticated && code < 4600 {
		return ClosePolicy
	}
	return code
}

// MayReconnect reports whether a client of p connects anew after a close code: after all
// but refusals, since others may be the word of something between it and the server.
func (p Protocol) MayReconnect(code int) bool {
	if p == Juggler0 && code == ClosePolicy {
		return false
	}
	return code < 4100 || code >= CloseSlowConsumer
}

// RefusalHeader marks the response to a handshake that juggler itself refuses. Its value
// is the code of the refusal.
const RefusalHeader = "Juggler-Refusal"
