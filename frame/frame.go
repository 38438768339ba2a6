// Package frame is the message model of juggler and its two encodings, the
// subprotocols juggler.1 and juggler.0 (docs/protocol.md). It knows no
// network and no broker, and neither decoding nor encoding allocates.
//
// One [Frame] is one message, whatever its encoding and direction. Which
// fields a message has is said at its [Type]; a decoder leaves the others
// zero, an encoder ignores them.
package frame

import "time"

// Protocol is one of the two encodings.
type Protocol uint8

// The protocols, by the number in their names.
const (
	Juggler0 Protocol = 0
	Juggler1 Protocol = 1
)

// String returns the name in Sec-WebSocket-Protocol, "juggler.0" or "juggler.1"; of what is
// no protocol "invalid".
func (p Protocol) String() string {
	switch p {
	case Juggler0:
		return "juggler.0"
	case Juggler1:
		return "juggler.1"
	}
	return "invalid"
}

// Type says which message a Frame is.
type Type uint8

// The messages, with the fields that each has. Types marked 1 exist in
// juggler.1 only.
const (
	Invalid Type = iota

	// From client to server.
	Call   // ID, URI, Timeout, Args; Headers, Parts, Key with HasSince and N (1)
	Cancel // For, Stop (1)
	Sub    // ID, Channel, Pattern; Since or Last, Own, WantsHere (1)
	Unsb   // ID, Channel, Pattern
	Pub    // ID, Channel, Args; Headers, Key, Again (1)
	Auth   // ID, Token (1)
	More   // For, Parts (1)
	Pong   // nothing (1)

	// From server to client. In juggler.0 each of ACK, NACK, RES and EVNT
	// also has a UUID.
	Hello  // Hello (1)
	Ack    // For, ForType, URI or Channel; Expires, Keys, Keyed, Pos, Recovery, State with N, Members with Count (1)
	Nack   // For, ForType, URI or Channel; Err
	Part   // For, N, Args (1)
	Res    // For, URI; Args or Err
	Evnt   // Publication, Channel, Matched, Args; Headers, Pos, Own (1)
	Gap    // Channel, Pattern, Own, Pos (1)
	Subs   // Channel, Pattern, Own, Pos (1)
	Unss   // Channel, Pattern, Own, Err (1)
	Here   // Channel, Members, Joined, Left, Count (1)
	Ping   // nothing (1)
	GoAway // After, Message (1)
)

// IsRequest reports whether clients send this type.
func (t Type) IsRequest() bool { return t >= Call && t <= Pong }

// MaxID is the greatest length of a client's id in juggler.1, in bytes.
const MaxID = 64

// MaxKey is the greatest length of the key of a CALL or a PUB, in bytes.
const MaxKey = 64

// MaxPart is the greatest number of a part after which a CALL may go on.
const MaxPart = 1<<31 - 1

// MaxParts is how many parts a CALL or a MORE may ask for.
const MaxParts = 1_000_000

// MaxMemberInfo is the greatest length of what is told of a member besides its user, in bytes.
const MaxMemberInfo = 256

// MaxLast is how many kept events a SUB may ask for by Last.
const MaxLast = 1_000_000

// A Frame is one message. It is meant to be reused: its slices are borrowed.
// After decoding they point into the decoded buffer (in which escapes may
// have been replaced in place), so they are valid as long as that buffer is.
type Frame struct {
	Type Type

	// ID is the id that the client chose for its request: in juggler.1 a
	// string of 1 to MaxID bytes, in juggler.0 a UUID as 36 lower-case
	// characters, or empty.
	ID []byte

	// For is the ID of the request that is answered, or is to be cancelled.
	For []byte

	// ForType is the type of the request that an ACK or NACK answers, written
	// in juggler.0.
	ForType Type

	// UUID is the meta.uuid of a message of the server in juggler.0.
	UUID [16]byte

	// Publication is the id of the publication that an EVNT is about: a ULID
	// in juggler.1's id, a UUID in juggler.0's for. An absent or empty for is
	// all zeros.
	Publication [16]byte

	URI     []byte
	Channel []byte
	Pattern bool   // Channel is a pattern (SUB, UNSB, GAP, SUBS, UNSS)
	Own     bool   // Channel is one of the server's own, without the zero byte
	Matched []byte // the pattern that matched (EVNT), empty for an exact subscription

	Timeout time.Duration // of a CALL; 0: the server's default

	Parts int // how many parts a CALL takes at first, or a MORE takes besides, at most MaxParts; 0: a CALL wants none

	// N is the number of a PART of an answer, from 1; of a CALL with HasSince the part
	// after which it goes on, at most MaxPart; of an ACK with a State the first part that
	// is left, if earlier ones are gone.
	N int

	// Args is any JSON value as it stands in the message, nil if absent.
	Args []byte

	// Headers is a JSON object of strings as it stands in the message, or nil.
	// See [HeaderSeq] for reading it.
	Headers []byte

	// Key of a CALL or a PUB makes it safe to send the same once more; empty: none. Again says of a
	// PUB with a key that the first may have been made: it shall not be, where the key
	// would mean nothing.
	Key   []byte
	Again bool

	// Pos is where a channel whose events are kept stood: after the event (EVNT), where
	// it goes on (GAP), or when the subscription began (ACK). It is zero if unknown, if
	// the form is unknown, and always for patterns.
	Pos Position

	// Since is the position that a SUB wants to go on after, if HasSince says that there
	// is one. It is zero if its form is unknown. A CALL with HasSince goes on after part N.
	Since    Position
	HasSince bool

	Last     int      // how many of the newest kept events a SUB wants, at most MaxLast; 0: does not ask
	Recovery Recovery // of the ACK of a SUB with Since

	State State // of the ACK of a CALL with Key
	Stop  bool  // a CANCEL ends the call for all, not only for its sender

	WantsHere bool // of a SUB: who is there, too

	// Who is in a channel: Members are all, an array that [MemberSeq] reads, nil if absent;
	// Joined are those who came or changed, Left the users who are gone, an array that
	// [TextSeq] reads. Count is how many are there, if HasCount says that there is one.
	Members, Joined, Left []byte
	Count                 int
	HasCount              bool

	Token   []byte        // of AUTH
	After   time.Duration // of GOAWAY
	Expires time.Duration // of the ACK of an AUTH: when the credentials expire; 0: never
	Keys    bool          // of the ACK of an AUTH: the session's PUBs may have keys
	Keyed   bool          // of the ACK of an AUTH: the session's CALLs may have keys
	Message []byte        // of GOAWAY; of an answer of an unknown type, that type

	Err   ErrorBody // of NACK and UNSS, and of a RES that failed: Err.Code is not 0 then
	Hello HelloBody
}

// HelloBody is what the first message of the server says.
type HelloBody struct {
	Session [16]byte // a ULID
	Node    [16]byte // a ULID
	Ping    time.Duration
	Expires time.Duration // when the credentials expire; 0: never
	Keys    bool          // the session's PUBs may have keys
	Keyed   bool          // the session's CALLs may have keys
	Here    bool          // the session's SUBs may ask who is there

	MaxMessage       int // bytes
	MaxSubscriptions int
	MaxCalls         int
	MaxCallsPerURI   int           // 0: absent
	MaxCallTimeout   time.Duration // 0: absent
	Rates            HelloRates
}

// HelloRates are what a session may send. The zero Rate is absent, and no bound.
type HelloRates struct {
	Messages      Rate // of whatever type; one of n bytes counts 1 + n/1024 times
	Calls         Rate
	Publications  Rate
	Subscriptions Rate
}

// Rate bounds how often something may happen.
type Rate struct {
	PerSecond int
	Burst     int // at once
}

// Reset makes f a zero Frame.
func (f *Frame) Reset() { *f = Frame{} }

// A DecodeError says why a message was refused. A message that its sender can
// be told about, since its type allows an answer and its id was readable, has
// Nack set; the Frame then holds at least Type (Invalid if it is unknown) and
// ID. Any other ends the connection with the close code 1002 or, for text
// that is not UTF-8, 1007.
type DecodeError struct {
	Nack   bool
	Code   int    // of the NACK (400) or of the close frame (1002, 1007)
	Reason string // for the other side to read, at most 120 bytes
}

// Error implements error.
func (e *DecodeError) Error() string { return e.Reason }
