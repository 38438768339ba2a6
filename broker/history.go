package broker

import (
	"context"
	"errors"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// A HistoryRule says of which channels an engine keeps events, and how many. Engines
// that have [History] take rules as an option. Of several the first that matches a
// channel counts.
type HistoryRule struct {
	// Channels is the name of a channel, or how names begin and then a star, the only
	// one: "room.*" is all that begins with "room.", "*" is every channel but those of the
	// server's own, which "\x00*" is: see [OwnChannel].
	Channels string

	Events int           // how many of a channel's newest events are kept, 1 to 1,000,000
	For    time.Duration // for how long after the last of them, 1 s to 30 days
}

// A Position is where a channel whose events are kept stood.
type Position = frame.Position

// KeyLife is for how long the key of a [Publication] counts.
const KeyLife = 5 * time.Minute

// ErrKeyConflict: the key of a publication belongs to an earlier one with other Args.
// Certainly neither kept nor delivered (code 409).
var ErrKeyConflict = errors.New("the key belongs to another publication")

// ErrNotKept: no rule keeps the channel of a publication with a key, so that it would mean
// nothing. Certainly not published. What returns it are functions for programs, not engines.
var ErrNotKept = errors.New("no rule keeps the events of this channel, so a key means nothing")

// A Publication is an event to keep.
type Publication struct {
	Event Event

	// Key, if not empty, makes it safe to publish the same once more where it is not known
	// whether that succeeded. Within [KeyLife] of the first publication on this channel
	// that has the key, another with the same Args is neither kept nor delivered, whatever
	// its ID and Headers. The key belongs to all who publish on the channel; [KeyOf] makes
	// those of users, and of the application, which are never the same.
	//
	// An engine that has lost the first publication, or that had to forget the key for want
	// of memory, publishes the second like any other.
	Key string
}

// Published is what became of a [Publication].
type Published struct {
	// Pos is the event's position, of a repeated one that of the first. It is zero if the
	// event was published but not kept: no rule keeps its channel, or it could not be.
	//
	// A position from here says nothing of what came before: who has not received all of
	// it must not read on from there.
	Pos Position

	Repeated bool // the key was known: nothing was published
	Err      error
}

// A Read asks for kept events of a channel: those after a position, or the newest.
type Read struct {
	Channel string

	After Position // if not zero: the events after this one
	Last  int      // otherwise: this many of the newest

	// Max is how many events are wanted at most, the oldest of them; MaxBytes how many
	// bytes their Headers and Args may have together, though one event always comes. 0 is
	// as much as the engine gives at once, which a larger value does not change.
	Max, MaxBytes int
}

// A Page answers a [Read]. It shows the channel at one instant.
type Page struct {
	// Proven says that Events lacks nothing: it begins right after After, or with the
	// first of the Last newest that are kept, and has no hole. Otherwise it is empty. It
	// may end before Top, since Max or MaxBytes were reached: the next Read goes on after
	// its last event.
	//
	// It is false, without an error, where the engine does not know After: the event is
	// too old, was lost, is of another channel or made up; and where it keeps nothing of
	// the channel.
	Proven bool

	Events []KeptEvent // the oldest first; the reader may keep the slices, but not change what is in them
	Top    Position    // where the channel stands; zero if the engine does not know
	Err    error       // the others are zero
}

// A KeptEvent is an event with its position.
type KeptEvent struct {
	Pos   Position
	Event Event
}

// History is an optional interface of a PubSub that keeps the newest events of channels,
// by rules. Its SubscriberConns are [HistorySubscriber]s.
//
// On a channel that a rule keeps, an event is kept whichever method publishes it, and all
// events have one order for all, that of their numbers. What a subscription to the
// channel is delivered is a chain: each event follows the one before it, none comes
// twice, and where that is not so, a Gap stands between. Each has its position in
// [Delivery].Pos. Deliveries for a pattern have none.
//
// What an engine confirms, and loses before a subscription is delivered it, is missing there
// without a Gap only if nobody is left who can tell that it was there: as long as a process
// lives that has published such an event lately, or had it delivered, all subscriptions to
// the channel get a Gap, and no position from before it proves anything any more.
//
// The Pos of a Gap is where the chain goes on: the next event is the first after it, and
// a reader may read on from there. It is zero where nothing is known of what came before
// the next event. An event that could not be kept (it is larger than all that may be kept,
// or the engine is out of memory) comes after such a Gap and has a zero Pos; no position
// from before it proves anything any more.
type History interface {
	// Kept reports whether a rule keeps the events of channel. It never waits.
	Kept(channel string) bool

	// PublishKept does what Publish does for each of events, in order, minds their keys,
	// and sets done[i] to what became of events[i]. The slices have the same length.
	// Besides the errors of Publish there is [ErrKeyConflict].
	PublishKept(ctx context.Context, events []Publication, done []Published)

	// ReadKept answers reads[i] in pages[i], each for itself. The slices have the same
	// length. An event is read as soon as Publish has returned.
	ReadKept(ctx context.Context, reads []Read, pages []Page)
}

// HistorySubscriber is an optional interface of a SubscriberConn, which those of a
// [History] have.
type HistorySubscriber interface {
	// SubscribeKept is Subscribe of channel as a topic. It returns where the channel stood
	// before the subscription began: the first delivery is the event right after it, or
	// a Gap. A zero Position is that of a channel that no rule keeps, or of which the
	// engine knows nothing. For a topic that is there already, deliveries may have passed
	// the position.
	SubscribeKept(ctx context.Context, channel string) (Position, error)
}
