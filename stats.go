package juggler

import (
	"cmp"
	"sync/atomic"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/handshake"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// Stats is a snapshot of what a handler counts, for the metrics system of
// your choice. Totals count from New on. What is listed has a bounded number of
// entries, sorted, those only that were seen.
type Stats struct {
	Sessions            int // now
	EventLoopSessions   int // of those, served by event loops
	PortableConnections int // and by goroutines of their own
	Subscriptions       int // of sessions, now
	QueuedBytes         int // of memory, for what waits: see [WithMaxNodeQueueBytes]

	Connected      uint64 // sessions begun
	Disconnected   uint64 // sessions ended
	SlowConsumers  uint64 // of those, closed since the client did not read (4500; juggler.0: 1008)
	Refused        uint64 // handshakes refused
	Messages       uint64 // received from clients
	Results        uint64 // RES sent
	Nacks          uint64 // NACK sent
	Publications   uint64 // sent to the broker
	Repeated       uint64 // of those, not published as the broker knew their keys
	Events         uint64 // EVNT queued for sessions
	Streams        int    // calls without an outcome whose answers may come in parts, now
	Parts          uint64 // PART queued for sessions
	StreamsStalled uint64 // answers in parts that ended since the client asked for no more (429)
	StreamsBroken  uint64 // answers in parts that ended since the broker had lost one (502)
	KeyedMade      uint64 // calls with keys that were made
	KeyedJoined    uint64 // CALLs with keys that joined one that was there
	KeyedDone      uint64 // outcomes of these that were given to who waited, or asked
	KeyedLate      uint64 // waits for them that ended since the time of the call was over (408)
	KeyedGone      uint64 // times that nothing was kept of one (410)
	KeyedWaiting   int    // who waits for them, now
	Present        int    // users in channels by sessions of this node, each in each, now
	PresentAsked   int    // channels of which sessions ask who is there, now
	PresentReads   uint64 // times that it was read from the broker
	Heres          uint64 // HERE queued for sessions
	PresentUntold  uint64 // users of whom OnFirstIn or OnLastOut was not told, as it was too slow
	TakenAway      uint64 // subscriptions that the server ended (UNSS; juggler.0: close 1012)
	Gaps           uint64 // topics for which events may have been missed
	Replays        int    // subscriptions to which kept events are sent, now
	Replayed       uint64 // EVNT of these queued, among Events
	Recovered      uint64 // SUBs with a position that were told that all since then follows
	NotRecovered   uint64 // and that some may be missing
	LateResults    uint64 // results that came for calls that were over
	Revoked        uint64 // sessions closed since their credentials were revoked
	Commands       uint64 // of a [Cluster], done here
	Panics         uint64 // in user code, its runtime.Goexit included
	HeldUp         uint64 // event loops held up by a callee's function, which went on without it
	Deflating      int    // sessions that take compressed messages, now
	DeflatedFrom   uint64 // bytes of messages that were sent compressed, before that
	DeflatedTo     uint64 // and behind it
	InflatedFrom   uint64 // bytes of compressed messages from clients, as they came
	InflatedTo     uint64 // and inflated
	Blocked        uint64 // calls of functions that were declared never to wait, and took more than 100 ms

	Refusals      []RefusalCount // Refused, by status and reason
	ClosesByUs    []CodeCount    // Disconnected, by close code: those that the server closed
	ClosesByPeers []CodeCount    // those that the client closed, and 1006: the connection broke
	ResultCodes   []CodeCount    // Results, by code; 0: the call succeeded
	NackCodes     []NackCount    // Nacks, by the request's type and code
	Calls         []CallCount    // calls that have ended, by URI and code; see [WithCallStats]
}

// RefusalCount is how many handshakes were refused with an HTTP status, for a
// reason. A browser may have got a close code in place of the status; see
// [WithVisibleRefusals].
type RefusalCount struct {
	Status int
	Reason string // one of the Refused constants
	Count  uint64
}

func (a RefusalCount) compare(b RefusalCount) int {
	return cmp.Or(a.Status-b.Status, cmp.Compare(a.Reason, b.Reason))
}

// Reasons of a [RefusalCount].
const (
	RefusedRequest         = handshake.Malformed    // it is not in order
	RefusedMethod          = handshake.Method       // it is not a GET
	RefusedNotWebSocket    = handshake.NotWebSocket // it does not ask for a WebSocket
	RefusedSubprotocol     = handshake.Subprotocol  // it asks for no protocol of juggler
	RefusedOrigin          = handshake.Origin       // its origin is not allowed
	RefusedByUser          = "authenticator"        // the authenticator refused it
	RefusedByFailure       = "authenticator_failed" // or could not tell
	RefusedShutdown        = "shutdown"             // the handler shuts down
	RefusedMaxSessions     = "max_sessions"         // WithMaxSessions is reached
	RefusedMaxSignIns      = "max_sign_ins"         // it waited too long for its turn, see WithMaxSignIns
	RefusedRate            = "rate"                 // too many came from its address, see WithAddressRates
	RefusedUserSessions    = "max_user_sessions"    // the user has enough, see WithMaxUserSessions
	RefusedAddressSessions = "max_address_sessions" // so has its address, see WithMaxAddressSessions
	RefusedRevoked         = "revoked"              // its credentials were revoked, see Cluster.Revoke
	RefusedUnknown         = "revoked_unknown"      // it cannot be told whether they were
	RefusedBroker          = "broker"               // the broker cannot be reached
	RefusedTakeOver        = "take_over"            // the http.Server does not give the connection away
	RefusedNoDescriptor    = "no_descriptor"        // no file descriptor is left
)

// NackCount is how many NACKs with a code requests of a type got.
type NackCount struct {
	Type  frame.Type
	Code  int // or [OtherCodes]
	Count uint64
}

// counters are what Stats reads.
type counters struct {
	connected, disconnected, slowConsumers atomic.Uint64
	messages, publications, repeated       atomic.Uint64
	events, gaps, lateResults              atomic.Uint64
	panics, heldUp, blocked                atomic.Uint64
	revoked, commands                      atomic.Uint64
	subscriptions, replays                 atomic.Int64
	takenAway                              atomic.Uint64
	replayed, recovered, notRecovered      atomic.Uint64
	streams                                atomic.Int64
	heres, comingsLost                     atomic.Uint64
	parts, streamsStalled, streamsBroken   atomic.Uint64
	deflating                              atomic.Int64
	deflatedFrom, deflatedTo               atomic.Uint64

	refusals                  refusalTally
	results                   tally
	nacks                     [frame.Pong + 1]tally // by type of request
	closesByUs, closesByPeers tally
}

// init keeps places for the codes with which sessions end every day: clients
// may send any.
func (c *counters) init() {
	c.closesByPeers.reserve(frame.CloseNormal, frame.CloseGoingAway, frame.CloseProtocolError,
		frame.CloseNoCode, frame.CloseLost, frame.CloseInternal)
}

// closed counts the end of a session.
func (c *counters) closed(e *wsconn.CloseError) {
	c.disconnected.Add(1)
	if e.Remote || e.Code == frame.CloseLost {
		c.closesByPeers.add(int(e.Code))
	} else {
		c.closesByUs.add(int(e.Code))
	}
}

// nackCounts returns the counts of all types.
func (c *counters) nackCounts() (all []NackCount, sum uint64) {
	for i := range c.nacks {
		for _, n := range c.nacks[i].list() {
			all = append(all, NackCount{frame.Type(i), n.Code, n.Count})
			sum += n.Count
		}
	}
	return all, sum
}

// Stats returns the handler's counters.
func (h *Handler) Stats() Stats {
	c, conns, keyed := &h.stats, h.pool.Stats(), h.keyed.Counts()
	s := Stats{
		Sessions:            h.NumSessions(),
		EventLoopSessions:   conns.Loop,
		PortableConnections: conns.Portable,
		Subscriptions:       int(c.subscriptions.Load()),
		QueuedBytes:         int(h.pool.Backlog()),
		Connected:           c.connected.Load(),
		Disconnected:        c.disconnected.Load(),
		SlowConsumers:       c.slowConsumers.Load(),
		Messages:            c.messages.Load(),
		Publications:        c.publications.Load(),
		Repeated:            c.repeated.Load(),
		Events:              c.events.Load(),
		Streams:             int(c.streams.Load()),
		Parts:               c.parts.Load(),
		StreamsStalled:      c.streamsStalled.Load(),
		StreamsBroken:       c.streamsBroken.Load(),
		KeyedMade:           keyed.Made,
		KeyedJoined:         keyed.Joined,
		KeyedDone:           keyed.Done,
		KeyedLate:           keyed.Late,
		KeyedGone:           keyed.Gone,
		KeyedWaiting:        keyed.Open,
		Heres:               c.heres.Load(),
		PresentUntold:       c.comingsLost.Load(),
		TakenAway:           c.takenAway.Load(),
		Gaps:                c.gaps.Load(),
		Replays:             int(c.replays.Load()),
		Replayed:            c.replayed.Load(),
		Recovered:           c.recovered.Load(),
		NotRecovered:        c.notRecovered.Load(),
		LateResults:         c.lateResults.Load(),
		Revoked:             c.revoked.Load(),
		Commands:            c.commands.Load(),
		Panics:              c.panics.Load(),
		HeldUp:              c.heldUp.Load(),
		Deflating:           int(c.deflating.Load()),
		DeflatedFrom:        c.deflatedFrom.Load(),
		DeflatedTo:          c.deflatedTo.Load(),
		Blocked:             c.blocked.Load(),
		ClosesByUs:          c.closesByUs.list(),
		ClosesByPeers:       c.closesByPeers.list(),
		ResultCodes:         c.results.list(),
		Calls:               h.callStats.list(),
	}
	if h.here != nil {
		here := h.here.Counts()
		s.Present, s.PresentAsked, s.PresentReads = here.Members, here.Watched, here.Reads
	}
	s.InflatedFrom, s.InflatedTo = h.pool.Inflated()
	s.Results = sum(s.ResultCodes)
	s.Refusals, s.Refused = c.refusals.counts()
	s.NackCodes, s.Nacks = c.nackCounts()
	return s
}
