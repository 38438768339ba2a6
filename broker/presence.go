package broker

import (
	"context"

	"github.com/juggler-go/juggler/frame"
)

// An engine may know who is in channels, over all nodes: see [Presence].

// MaxMemberInfo is the greatest length of [Member].Info, in bytes.
const MaxMemberInfo = frame.MaxMemberInfo

// A Member is a user who is in a channel, never "", with a number of sessions, and an Info,
// which is as it was put last.
type Member = frame.Member

// A HereChange is that users came to a channel, or left it.
type HereChange struct {
	Channel string

	// Lost says that changes of the channel may have been missed, or that what is known of
	// it has begun anew. Who shows its members reads them. The others are zero then.
	Lost bool

	// Number counts the changes of the channel: it is one more than that of the change before.
	Number uint64

	Joined  []Member // those who were not there before
	Changed []Member // those who were, and have another number of sessions or another Info
	Left    []string // the users who are not there any more
	Count   int      // how many are there now

	// Mine says that this connection has made the change, by a Put or because it has
	// removed what a node that is gone had put. One connection of all gets it with Mine.
	Mine bool
}

// Here is who is in a channel, at one instant.
type Here struct {
	Number  uint64   // that of the last change
	Count   int      // how many users
	Members []Member // all of them, in any order; nil where they are more than was asked for
}

// Presence is an optional interface of a PubSub that knows which users are in channels.
//
// Members do not expire: a node has a lease, and what it has put counts as long as it
// lives. When its connection is closed, or its process dies, its members leave, for all, at
// once or within the lease. An engine that loses data has it again soon, since the nodes
// have what they put. What is read is right when a lease has passed since the last fault;
// that each change is seen, once, is not promised.
type Presence interface {
	// OpenPresence begins with no members. node is an ID that no other connection uses.
	// changed is told of changes of the channels that are watched, in order, and of those
	// of others with Mine. The context bounds the opening only.
	OpenPresence(ctx context.Context, node ID, changed func([]HereChange)) (PresenceConn, error)
}

// PresenceConn is what one node has put, and watches.
type PresenceConn interface {
	// Put says how many sessions each of users has in channel at this node, 0: none any
	// more. It replaces what was put for the same users before, and says nothing of others.
	// It does not wait for I/O: the engine writes it soon, and anew after it has lost data.
	// An Info of more than MaxMemberInfo bytes counts as nil.
	Put(channel string, users []Member)

	// Flush returns nil once all that was put before is written, or the error of ctx.
	Flush(ctx context.Context) error

	// Watch returns nil once the changes of channel are told from then on. Watching a
	// channel that is watched is no error.
	Watch(ctx context.Context, channel string) error

	// Unwatch ends that. Changes that are on their way may still be told.
	Unwatch(channel string)

	// ReadHere returns who is in channel; its Members if they are not more than most. What
	// is put here and written is in it. Of a channel that was watched before, each later
	// change is told, or that some are Lost.
	ReadHere(ctx context.Context, channel string, most int) (Here, error)

	// Close removes what was put. Changes are told no more.
	Close() error
}
