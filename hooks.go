package juggler

import (
	"context"
	"net/netip"

	"github.com/juggler-go/juggler/broker"
)

// Hooks are functions that are told what happens; see [WithHooks]. Any may be
// nil. Those of a session run one after the other and in order with its
// requests, those of different sessions concurrently. They may block, which
// holds up that session only. A panic is logged, and so is runtime.Goexit, which
// FailNow of a test calls. The context ends with the session, OnDisconnect's with
// the handler.
type Hooks struct {
	// OnConnect is called before the first request of a session is handled, and behind its
	// subscriptions to the [Identity].Channels.
	OnConnect func(ctx context.Context, s Session)

	// OnDisconnect is called when the session is gone. It comes last.
	OnDisconnect func(ctx context.Context, s Session, d Disconnect)

	// OnSignIn is called after an AUTH succeeded, one that renews credentials
	// included.
	OnSignIn func(ctx context.Context, s Session)

	// OnSubscribe is called when a topic was added to those of the session, by the client
	// or the server.
	OnSubscribe func(ctx context.Context, s Session, t broker.Topic)

	// OnUnsubscribe is called when a topic was removed from those of the session:
	// once for each that OnSubscribe was called for, also when the session ends,
	// then before OnDisconnect and with a context that has ended.
	OnUnsubscribe func(ctx context.Context, s Session, t broker.Topic, why SubscriptionEnd)

	// OnGap is called once for each topic of the node of which the broker may
	// have missed events: one call at a time, while sessions go on.
	OnGap func(ctx context.Context, t broker.Topic)

	// OnFirstIn is called for a user who has come to a channel that has a rule of
	// [WithPresence]: with the first session on any node, but not for one who comes back
	// within the grace. It is called on one node, that of the session as a rule, with what
	// was there then; one call at a time, in order, with OnLastOut. That each is told
	// once is not promised, as nodes and brokers may fail: [Handler.Here] says who is there.
	OnFirstIn func(ctx context.Context, channel string, m broker.Member)

	// OnLastOut is called for a user who has left such a channel with the last session: when
	// the grace is over, or the node that had it is gone. Then another node calls it, if
	// there is one.
	OnLastOut func(ctx context.Context, channel, user string)
}

// A SubscriptionEnd says why a subscription ended.
type SubscriptionEnd string

// The ends of subscriptions.
const (
	EndedByUnsb    SubscriptionEnd = "unsb"          // the client sent UNSB
	EndedByServer  SubscriptionEnd = "server"        // the server took it away: the client got UNSS
	EndedBySession SubscriptionEnd = "session_ended" // its session ended
)

// Disconnect says how a session ended.
type Disconnect struct {
	// Code is the close code that was sent or received (RFC 6455, section
	// 7.4; docs/protocol.md), 1006 when the connection broke without one.
	Code   int
	Reason string

	// ByClient is set when the client closed.
	ByClient bool

	// Err is the network error that ended the connection, or nil.
	Err error

	// RemoteAddr is what that of the [Session] was.
	RemoteAddr netip.Addr
}
