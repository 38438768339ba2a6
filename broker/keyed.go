package broker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// A call with a key outlives its caller's connection: the engine keeps a record of it, and
// in that its outcome. See [KeyedCaller].

// A CallKey names a call whose outcome is kept. The zero CallKey is none.
type CallKey [16]byte

// NewCallKey returns the name of the call that the application of scope, a user for
// example, makes to uri with key. No two of uri, scope and key have the same: it is the
// beginning of a SHA-256 of them with their lengths.
func NewCallKey(uri, scope, key string) CallKey {
	var b []byte
	for _, s := range []string{uri, scope, key} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(b)
	return CallKey(sum[:16])
}

// IsZero reports whether k is none.
func (k CallKey) IsZero() bool { return k == CallKey{} }

// String returns k as 22 characters of base64url.
func (k CallKey) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// The errors of [KeyedCallerConn.Attach] besides those of [CallerConn.Call]. With each of
// them nothing was queued.
var (
	// ErrOtherArgs: the key belongs to a call with other Args (code 409).
	ErrOtherArgs = errors.New("the key belongs to a call with other args")

	// ErrCallGone: nothing is kept of a call with this key (code 410).
	ErrCallGone = errors.New("nothing is kept of a call with this key")

	// ErrTooManyKeys: as many calls as allowed are kept for this owner (code 429).
	ErrTooManyKeys = errors.New("too many calls are kept for this owner")
)

// CallState says how far a call with a key is.
type CallState = frame.State

// What a record says of its call.
const (
	CallGone    = frame.NoState // there is no record, or not any more
	CallNew     = frame.New     // an Attach has just made it
	CallRunning = frame.Running // it waits for a callee, or one has taken it
	CallDone    = frame.Done    // its outcome is kept
)

// An Attachment joins a call with a key, or makes it.
type Attachment struct {
	// Call is the call. Its Key names the record; its ReplyTo does not count, as the
	// engine makes one for the record. Its Window, if not zero, says that the parts of the
	// answer are kept, for all who ask for them: nobody paces the callee then, and the
	// numbers in it do not count. Timeout is the time of the call from when it is made.
	// Only an Attachment that makes the call has an effect by Window, Timeout and Headers.
	Call *Call

	// Owner is for whom the record is counted: NewCallKey of the URI, the scope, and no
	// key. MaxOwned is how many records an owner may have, from their making to their end.
	Owner    CallKey
	MaxOwned int

	// Keep is for how long the outcome is kept from when it is stored, at least a second.
	// MaxPartBytes is how many bytes the Args of the parts that are kept may have together:
	// of more the oldest go.
	Keep         time.Duration
	MaxPartBytes int

	// Join says that the call is not made if there is no record of it, and that its Args
	// are not compared.
	Join bool

	// Repeat says that the callees of the URI recognize keys, so that a call may run again: an
	// Attachment that does not Join makes it anew in the place of one whose callee was lost
	// ([ErrCalleeLost]), or whose time is over without an outcome. What the one before brings
	// from then on is ignored.
	Repeat bool

	// State is what the engine sets: CallNew, CallRunning or CallDone.
	State CallState
}

// A CallRead asks what became of a call with a key.
type CallRead struct {
	URI string
	Key CallKey

	// After is the number of the part after which those that are kept are wanted, at most
	// MaxParts of them (0: none), with at most MaxBytes of Args, though one part always
	// comes.
	After              uint32
	MaxParts, MaxBytes int
}

// A CallRecord answers a [CallRead]. It shows the record at one instant.
type CallRecord struct {
	State CallState // CallGone, CallRunning or CallDone

	// Attempt is that of the call, as its callee sees it. Parts of another attempt are those of
	// another answer, though they have the same numbers.
	Attempt uint8

	// Parts have numbers that follow After without a hole, and no To. Of a call that has
	// parts beyond them the next read brings more. First is the number of the oldest part
	// that is kept, 0 if none is: above After+1 parts are gone that the reader lacks, and
	// Parts begins with First.
	Parts []Part
	First uint32

	// Left is how much time the call has, by the engine's clock. With CallRunning and none
	// left, who waits ends with code 408: whatever comes later is Late.
	Left time.Duration

	// Result is the outcome of a call that is CallDone, without To. Late says that it was
	// stored when the time of the call was over: it is for whoever attached later than
	// that, and who had waited ended with 408.
	Result Result
	Late   bool

	Err error // the others are zero
}

// KeyedCaller is an optional interface of a Caller that keeps calls under keys, for all
// nodes. Its Callees are [StreamCallee]s, and tell callees the Key of a call.
//
// The record of a call is made with it. Its outcome is the first Result, from wherever it
// comes: the callee, the engine for a callee that is gone ([ErrCalleeLost]), or
// [KeyedCallerConn.Stop]. All later ones are ignored, also for the callee, as [CalleeConn.Reply]
// says; a Result that is too late for who waits is an outcome all the same. Nobody's clock
// counts but the engine's.
//
// A call that was certainly never taken ends with an [Error] that is Refused: with code 408
// if its time was over in the queue, 499 if it was stopped there, or as [ErrUnserved] is. Its
// record is for who waits; an Attach that does not Join makes the call anew in its place,
// also with other Args, unless an attempt before it ([Attachment].Repeat) was taken.
//
// While there is another record, the call runs at most once, but for [Attachment].Repeat. An
// engine that loses data may lose records, and then runs the call of a key again.
type KeyedCaller interface {
	// OpenKeyedCaller is [StreamCaller].OpenStreamCaller for a node that makes calls with
	// keys, too. news is told of keys to which this node has attached, soon after a part or
	// the outcome was stored. It is a hint: it may come late, twice or not at all, so a node
	// reads the records of its open keys now and then, too.
	OpenKeyedCaller(ctx context.Context, node ID, deliver func([]Result), parts func([]Part), news func([]CallKey)) (KeyedCallerConn, error)
}

// KeyedCallerConn is the connection of one node to a KeyedCaller.
type KeyedCallerConn interface {
	StreamCallerConn

	// Attach makes the call of a, or joins it, and sets a.State; from then on news are told of
	// the key, until the record ends. After [ErrUnknownOutcome] the same Attach may be made
	// once more: it joins what the first has made. All other errors say that no call was made.
	Attach(ctx context.Context, a *Attachment) error

	// ReadCalls answers reads[i] in records[i], each for itself. The slices have the same
	// length. What is in records belongs to the reader, but the bytes of Args and Data, and
	// the Error, are not to be changed.
	ReadCalls(ctx context.Context, reads []CallRead, records []CallRecord)

	// Stop ends a call for all who are attached: it is not taken any more, or its callee's
	// cancelled callback runs, and its outcome is an [Error] with code 499, unless it has one.
	// A call that no callee had taken is refused (above).
	// A key without a record is [ErrCallGone].
	Stop(ctx context.Context, uri string, key CallKey) error
}
